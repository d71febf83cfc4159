"""Optimizer and falling noise of `Training`."""

from __future__ import annotations

import functools

import fast_adam
import keras
import numpy as np
import pytest

from symae_keras.callbacks import NoiseSchedule
from symae_keras.data import GroupedData
from symae_keras.errors import InputError
from symae_keras.layers import DenseEncoder, NuisanceDropout
from symae_keras.models import SymAE
from symae_keras.training import Checkpoint, Training, train
from symae_keras.training.checkpoint import sync_state

pytestmark = [pytest.mark.jax, pytest.mark.usefixtures("eager")]

#: Two updates per epoch.
SHORT = functools.partial(Training, epochs=4, batch_size=4, instances=2)


@pytest.fixture
def groups(rng) -> GroupedData:
    return GroupedData(rng.normal(size=(8, 3, 12)).astype("float32"))


def _model(**arguments) -> SymAE:
    keras.utils.set_random_seed(0)
    encoder = DenseEncoder(8, units=(16,))
    return SymAE((12,), 3, 2, encoder=encoder, seed=0, **arguments)


class _Watch(keras.callbacks.Callback):
    """Callback that records the strength of the noise in every step."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[float] = []

    def on_train_batch_end(self, batch, logs=None):
        self.seen.append(_strength(self.model))


def _strength(model) -> float:
    sync_state(model)
    layers = [e for e in model._flatten_layers() if isinstance(e, NuisanceDropout)]
    return float(keras.ops.convert_to_numpy(layers[0].strength))


def test_adam_of_the_tests_is_that_of_keras(tf, rng) -> None:
    class Usual(keras.optimizers.Adam):
        update_step = fast_adam.AS_EVER

    gradients = rng.normal(size=(3, 2, 4))

    def trained(cls: type[keras.optimizers.Adam]) -> np.ndarray:
        variable, optimizer = keras.Variable(np.ones((2, 4))), cls(0.1)
        for each in gradients:
            optimizer.apply([tf.constant(each, "float32")], [variable])
        return variable.numpy()

    assert keras.optimizers.Adam.update_step is not fast_adam.AS_EVER
    usual = trained(Usual)
    assert np.abs(usual - 1.0).min() > 0.01
    np.testing.assert_allclose(trained(keras.optimizers.Adam), usual, atol=1e-5)


# === Falling noise ===


def test_noise_falls_from_the_models_to_the_final_strength(groups) -> None:
    model, watch = _model(noise_strength=0.4), _Watch()
    train(model, groups, SHORT(final_noise=0.2), callbacks=[watch])
    expected = 0.4 - 0.2 * np.arange(8) / 8
    np.testing.assert_allclose(watch.seen, expected, rtol=1e-5)


def test_noise_is_constant_by_default(groups) -> None:
    model, watch = _model(noise_strength=0.4), _Watch()
    train(model, groups, SHORT(), callbacks=[watch])
    np.testing.assert_allclose(watch.seen, 0.4, rtol=1e-6)


def test_a_second_training_starts_from_the_models_noise(groups) -> None:
    model, watch = _model(noise_strength=0.4), _Watch()
    train(model, groups, SHORT(final_noise=0.0))
    train(model, groups, SHORT(final_noise=0.2), callbacks=[watch])
    np.testing.assert_allclose(watch.seen[0], 0.4, rtol=1e-6)


def test_a_schedule_of_the_user_replaces_falling_noise(groups) -> None:
    model, watch = _model(), _Watch()
    callbacks = [NoiseSchedule(lambda step: 0.3), watch]
    train(model, groups, SHORT(final_noise=0.1), callbacks=callbacks)
    np.testing.assert_allclose(watch.seen, 0.3, rtol=1e-6)


def test_a_resumed_training_goes_on_with_falling_noise(groups, tmp_path) -> None:
    def run(epochs: int, name: str) -> list[float]:
        watch = _Watch()
        callbacks = [_Stop(epochs), Checkpoint(tmp_path / name), watch]
        training = SHORT(final_noise=0.1, optimizer="muon", learning_rate=1e-2)
        train(_model(), groups, training, callbacks=callbacks)
        return watch.seen

    whole = run(4, "whole")
    assert run(2, "parts") + run(4, "parts") == whole


class _Stop(keras.callbacks.Callback):
    """Callback that ends training early."""

    def __init__(self, epochs: int) -> None:
        super().__init__()
        self.epochs = epochs

    def on_epoch_end(self, epoch, logs=None):
        self.model.stop_training = epoch + 1 >= self.epochs


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"noise_strength": 0.1}, "at most 0.1"),
        ({"nuisance_noise": "variational", "noise_strength": 0.1}, "that can fall"),
    ],
)
def test_noise_that_cannot_fall_is_refused(arguments, expected, groups) -> None:
    with pytest.raises(InputError, match=f"`final_noise=0.2`.*{expected}"):
        train(_model(**arguments), groups, SHORT(final_noise=0.2))


# === Optimizer ===


def test_muon_trains_matrices_and_vectors(groups) -> None:
    model = _model()
    model(groups.x)  # builds it
    before = {each.path: each.numpy() for each in model.trainable_variables}
    training = SHORT(optimizer="muon", clip_norm=1.0, weight_decay=0.1)
    history = train(model, groups, training).history
    assert history["loss"][-1] < history["loss"][0]
    optimizer = model.optimizer
    assert isinstance(optimizer, keras.optimizers.Muon)
    assert optimizer.global_clipnorm == 1.0
    assert optimizer.weight_decay == optimizer.adam_weight_decay == 0.1
    for each in model.trainable_variables:
        assert np.isfinite(each.numpy()).all()
        assert np.abs(each.numpy() - before[each.path]).max() > 0.0


def test_muon_moves_a_matrix_equally_in_all_directions(groups) -> None:
    """Newton-Schulz leaves singular values of the first update between 0.5 and 1.5."""
    model = _model()
    model(groups.x)
    kernel = next(v for v in model.trainable_variables if v.shape == (12, 16))
    before = keras.ops.convert_to_numpy(kernel)
    training = SHORT(epochs=1, batch_size=8, optimizer="muon")
    train(model, groups, training)
    moved = keras.ops.convert_to_numpy(kernel) - before
    singular = np.linalg.svd(moved, compute_uv=False)
    assert singular.max() < 4.0 * singular.min()


def test_muon_needs_no_weight_decay(groups) -> None:
    """Keras's own default of 0.004 would decay weights that nobody asked to decay."""
    model = _model()
    train(model, groups, SHORT(epochs=1, optimizer="muon"))
    assert not model.optimizer.weight_decay
    assert not model.optimizer.adam_weight_decay
