"""Annealed divergences of nuisance codes in `train`."""

from __future__ import annotations

import dataclasses

import keras
import numpy as np
import pytest

from symae_keras.callbacks import KLSchedule
from symae_keras.data import GroupedData, batches
from symae_keras.layers import DenseEncoder, GaussianSampling
from symae_keras.models import (
    MLVAE,
    VAE,
    AdversarialGVAE,
    LatentMeanSwap,
    NeuralStatistician,
    SymAE,
    SymVAE,
)
from symae_keras.training import Checkpoint, Training, train
from symae_keras.training.checkpoint import sync_state

pytestmark = [pytest.mark.jax, pytest.mark.usefixtures("eager")]

FINAL = 1e-3
#: Two updates per epoch.
TRAINING = Training(epochs=4, batch_size=4, instances=2, kl_annealing=0.5)


@pytest.fixture
def groups(rng) -> GroupedData:
    return GroupedData(rng.normal(size=(8, 3, 12)).astype("float32"))


def _model(cls=SymAE, **arguments):
    keras.utils.set_random_seed(0)
    encoder = DenseEncoder(8, units=(16,))
    if cls is SymAE:
        arguments = {"nuisance_noise": "variational", **arguments}
    return cls((12,), 3, 2, encoder=encoder, seed=0, **arguments)


class _Watch(keras.callbacks.Callback):
    """Callback that records the weights of the KL terms in every step."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[list[float]] = []

    def on_train_batch_end(self, batch, logs=None):
        sync_state(self.model)
        self.seen.append(_weights(self.model))

    @property
    def coherent(self) -> list[float]:
        return [weights[0] for weights in self.seen]

    @property
    def nuisance(self) -> list[float]:
        return [weights[-1] for weights in self.seen]


def _weights(model) -> list[float]:
    """Return the weights, with that of the group code first, if there is one."""
    layers = [e for e in model._flatten_layers() if isinstance(e, GaussianSampling)]
    layers.sort(key=lambda layer: layer.term_name)
    return [float(keras.ops.convert_to_numpy(layer.kl_weight)) for layer in layers]


def _expected(final: float, steps: int = 4, total: int = 8) -> np.ndarray:
    """The weight falls from 0.1 to its final value by a constant factor per step."""
    left = np.clip(1.0 - np.arange(total) / steps, 0.0, 1.0)
    return np.exp(np.log(final) + left * (np.log(0.1) - np.log(final)))


@pytest.mark.large
@pytest.mark.parametrize(
    "cls", [SymAE, NeuralStatistician, MLVAE, AdversarialGVAE, SymVAE]
)
def test_the_weight_falls_to_that_of_the_model(cls, groups) -> None:
    model, watch = _model(cls), _Watch()
    train(model, groups, TRAINING, callbacks=[watch])
    np.testing.assert_allclose(watch.nuisance, _expected(FINAL), rtol=1e-5)
    assert watch.coherent == [np.float32(FINAL)] * 8
    assert _weights(model) == [np.float32(FINAL)] * 2  # to the last digit


@pytest.mark.parametrize(
    ("final", "expected"),
    [(0.0, np.zeros(8)), (2.0, [2.0] * 8)],
)
def test_the_weight_never_rises(final, expected, groups) -> None:
    """A KL term that is not part of the loss is not added to it."""
    model, watch = _model(noise_strength=final), _Watch()
    train(model, groups, TRAINING, callbacks=[watch])
    np.testing.assert_allclose(watch.nuisance, expected, rtol=1e-5)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_the_share_of_the_updates(share, groups) -> None:
    model, watch = _model(), _Watch()
    training = dataclasses.replace(TRAINING, kl_annealing=share)
    train(model, groups, training, callbacks=[watch])
    expected = _expected(FINAL, int(8 * share)) if share else [FINAL] * 8
    np.testing.assert_allclose(watch.nuisance, expected, rtol=1e-5)
    assert _weights(model) == [np.float32(FINAL)] * 2


def test_a_schedule_of_the_user_replaces_annealing(groups) -> None:
    model, watch = _model(), _Watch()
    train(model, groups, TRAINING, callbacks=[KLSchedule(lambda step: 0.5), watch])
    np.testing.assert_allclose(watch.seen, 0.5)


def test_fit_and_models_without_a_group_code_do_not_anneal(groups) -> None:
    model, watch = _model(), _Watch()
    model.compile("adam", "mse")
    model.fit(batches(groups, 4, 2), callbacks=[watch], shuffle=False, verbose=0)
    vae = VAE((12,), 3, encoder=DenseEncoder(8, units=(16,)), kl_weight=FINAL, seed=0)
    train(LatentMeanSwap(vae), groups, TRAINING, callbacks=[watch])
    assert len(watch.seen) == 2 + 8
    np.testing.assert_allclose(watch.nuisance, FINAL, rtol=1e-5)


def test_an_interrupted_training_leaves_the_weights_of_the_model(groups) -> None:
    model, watch = _model(), _Watch()
    with pytest.raises(KeyboardInterrupt):
        train(model, groups, TRAINING, callbacks=[watch, _Interrupt(0)])
    assert watch.nuisance[-1] > 10.0 * FINAL
    assert _weights(model) == [np.float32(FINAL)] * 2


class _Interrupt(keras.callbacks.Callback):
    def __init__(self, after: int) -> None:
        super().__init__()
        self.after = after

    def on_epoch_end(self, epoch, logs=None):
        if epoch == self.after:
            raise KeyboardInterrupt


@pytest.mark.large
def test_a_resumed_training_gives_the_same_weights(groups, tmp_path) -> None:
    """Interrupt during annealing; `test_best_weights.py` interrupts later."""
    alone = _model()
    train(alone, groups, TRAINING)
    state = Checkpoint(tmp_path / "state.npz")
    with pytest.raises(KeyboardInterrupt):
        train(_model(), groups, TRAINING, callbacks=[state, _Interrupt(0)])
    resumed, watch = _model(), _Watch()
    train(resumed, groups, TRAINING, callbacks=[state, watch])
    expected = _expected(FINAL)[2:]
    np.testing.assert_allclose(watch.nuisance, expected, rtol=1e-5)
    for one, other in zip(alone.get_weights(), resumed.get_weights(), strict=True):
        np.testing.assert_array_equal(other, one)
    assert _weights(resumed) == [np.float32(FINAL)] * 2
