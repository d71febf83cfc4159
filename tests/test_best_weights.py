"""Small data: enough updates, and the weights of the best epoch."""

from __future__ import annotations

import dataclasses

import keras
import numpy as np
import pytest

from symae_keras.data import GroupedData
from symae_keras.errors import InputError
from symae_keras.layers import DenseEncoder
from symae_keras.losses import RelativeMeanSquaredError
from symae_keras.models import SymAE
from symae_keras.training import Checkpoint, Training, data_variance, train
from symae_keras.training.fit import _fit

pytestmark = [pytest.mark.jax, pytest.mark.usefixtures("eager")]

#: Two updates per epoch.
TRAINING = Training(
    epochs=1,
    batch_size=4,
    instances=2,
    learning_rate=5e-2,
    min_updates=16,
    kl_annealing=0.5,
)
EPOCHS = 8


@pytest.fixture
def parts(rng) -> tuple[GroupedData, GroupedData]:
    """Return groups of pure noise, on which any training overfits."""
    groups = GroupedData(rng.normal(size=(12, 3, 12)).astype("float32"))
    return groups[:8], groups[8:]


def _model(noise: str = "gaussian") -> SymAE:
    keras.utils.set_random_seed(0)
    encoder = DenseEncoder(8, units=(16,))
    return SymAE((12,), 3, 2, encoder=encoder, nuisance_noise=noise, seed=0)


def _loss(model: SymAE, fit: GroupedData, held_out: GroupedData) -> float:
    loss = RelativeMeanSquaredError(data_variance(fit))
    return float(loss(held_out.x, np.asarray(model.reconstruct(held_out.x))))


def test_the_best_epoch_is_kept(parts) -> None:
    model = _model()
    history = train(model, parts[0], TRAINING, 0, parts[1]).history
    losses = history["val_loss"]
    assert len(history["loss"]) == len(losses) == EPOCHS
    assert min(losses) < 0.999 * losses[-1]  # the last epoch is another
    assert _loss(model, *parts) == pytest.approx(min(losses), rel=1e-5)


def test_a_given_number_of_epochs_ends_with_the_last(parts) -> None:
    model = _model()
    training = dataclasses.replace(TRAINING, epochs=EPOCHS, min_updates=0)
    losses = train(model, parts[0], training, 0, parts[1]).history["val_loss"]
    assert min(losses) < 0.999 * losses[-1]
    assert _loss(model, *parts) == pytest.approx(losses[-1], rel=1e-5)


def test_the_linear_solution_can_be_best(parts) -> None:
    """Training on noise makes it worse."""
    keras.utils.set_random_seed(0)
    model = SymAE(
        (12,), 3, 2, encoder=DenseEncoder(8, units=(16,)), backbone="linear", seed=0
    )
    model.adapt_backbone(parts[0])
    before = model.get_weights()
    model.compile(loss=RelativeMeanSquaredError(data_variance(parts[0])))
    start = model.evaluate(parts[1].x, parts[1].x, verbose=0)
    losses = train(model, parts[0], TRAINING, 0, parts[1]).history["val_loss"]
    assert start < min(losses)
    for one, other in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.fixture
def noise_only(rng) -> GroupedData:
    return GroupedData(rng.normal(size=(14, 3, 12)).astype("float32"))


def test_few_groups_choose_the_number_of_updates(noise_only, monkeypatch) -> None:
    """A first run finds it; then all groups are trained on from the start."""
    sizes = []

    def fit_briefly(model, groups, *args, **kwargs):
        history = _fit(model, groups, *args, **kwargs)
        sizes.append(len(groups))
        if len(sizes) == 1:
            history.best_epoch = 0
        return history

    monkeypatch.setattr("symae_keras.training.fit._fit", fit_briefly)
    chosen = _model()
    history = train(chosen, noise_only, TRAINING)
    assert sizes == [11, 14]
    # Twice the three updates of an epoch with 11 groups, in epochs of four updates.
    assert (history.updates, history.best_epoch) == (8, None)
    monkeypatch.setattr("symae_keras.training.fit.FEW_GROUPS", 0)
    alone = _model()
    train(alone, noise_only, dataclasses.replace(TRAINING, min_updates=8))
    for one, other in zip(chosen.variables, alone.variables, strict=True):
        np.testing.assert_array_equal(*map(keras.ops.convert_to_numpy, (one, other)))


def test_few_groups_may_choose_the_linear_solution(noise_only) -> None:
    keras.utils.set_random_seed(0)
    model, other = (
        SymAE((12,), 3, 2, encoder=DenseEncoder(8, units=(16,)), backbone="linear")
        for _ in range(2)
    )
    history = train(model, noise_only, TRAINING)
    assert (history.best_epoch, history.updates, history.epoch) == (-1, 0, [])
    other.set_weights(model.get_weights())
    other.adapt_backbone(noise_only)
    for one, two in zip(model.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_allclose(one, two, atol=1e-6)


def test_a_resumed_training_does_not_choose_again(
    noise_only, tmp_path, monkeypatch
) -> None:
    path = tmp_path / "state.npz"
    whole, resumed = _model(), _model()
    history = train(whole, noise_only, TRAINING)
    assert history.updates > 4 * 1  # more than one epoch
    with pytest.raises(KeyboardInterrupt):
        callbacks = [Checkpoint(path), _Interrupt(0)]
        train(_model(), noise_only, TRAINING, callbacks=callbacks)
    monkeypatch.setattr("symae_keras.training.fit._enough_updates", None)
    again = train(resumed, noise_only, TRAINING, callbacks=[Checkpoint(path)])
    assert (again.updates, again.epoch[0]) == (history.updates, 1)
    for one, other in zip(whole.get_weights(), resumed.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_groups_of_one_state_keep_all_updates(noise_only) -> None:
    same = dataclasses.replace(noise_only, ids=np.zeros(14, int))
    assert train(_model(), same, TRAINING).updates == TRAINING.min_updates


@pytest.mark.large
def test_annealed_losses_are_not_compared(parts) -> None:
    model = _model("variational")
    losses = train(model, parts[0], TRAINING, 0, parts[1]).history["val_loss"]
    # The weights are final in the last step of epoch 4.
    best = 4 + int(np.argmin(losses[4:]))
    variance = data_variance(parts[0])
    model.compile(loss=RelativeMeanSquaredError(variance))
    loss = model.evaluate(parts[1].x, parts[1].x, verbose=0, return_dict=True)["loss"]
    assert loss == pytest.approx(losses[best], rel=1e-4)


class _Interrupt(keras.callbacks.Callback):
    def __init__(self, after: int) -> None:
        super().__init__()
        self.after = after

    def on_epoch_end(self, epoch, logs=None):
        if epoch == self.after:
            raise KeyboardInterrupt


@pytest.mark.large
def test_a_resumed_training_gives_the_same_weights(
    parts, tmp_path, monkeypatch
) -> None:
    """The best epoch may be before the interruption."""
    monkeypatch.setattr("symae_keras.training.fit._LONG_EPOCHS", EPOCHS)
    noise, last = "variational", 6
    fit, held_out = parts
    alone = _model(noise)
    train(alone, fit, TRAINING, 0, held_out)
    state = Checkpoint(tmp_path / "state.npz")
    with pytest.raises(KeyboardInterrupt):
        callbacks = [state, _Interrupt(last)]
        train(_model(noise), fit, TRAINING, 0, held_out, callbacks=callbacks)
    seen = []
    spy = keras.callbacks.LambdaCallback(
        on_epoch_begin=lambda epoch, logs: seen.append(epoch)
    )
    resumed = _model(noise)
    train(resumed, fit, TRAINING, 0, held_out, callbacks=[state, spy])
    assert seen == list(range(last + 1, EPOCHS))
    for one, other in zip(alone.get_weights(), resumed.get_weights(), strict=True):
        np.testing.assert_array_equal(other, one)
    # This also holds for a complete training.
    again = _model(noise)
    train(again, fit, TRAINING, 0, held_out, callbacks=[state])
    for one, other in zip(alone.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(other, one)


def test_a_checkpoint_of_another_training_is_refused(parts, tmp_path) -> None:
    fit, _ = parts
    path, training = tmp_path / "state.npz", Training(epochs=1)
    train(_model(), fit, training, 0, callbacks=[Checkpoint(path)])
    other = dataclasses.replace(fit, x=2.0 * fit.x)
    for groups, seed in ((fit, 1), (other, 0)):
        with pytest.raises(InputError, match="of another training .* seed 0"):
            train(_model(), groups, training, seed, callbacks=[Checkpoint(path)])
    again = train(_model(), fit, training, 0, callbacks=[Checkpoint(path)])
    assert not again.epoch


@pytest.mark.large
def test_a_checkpoint_without_a_best_epoch(parts, tmp_path) -> None:
    """For example, a checkpoint of version 0.1; a damaged one is rejected."""
    fit, held_out = parts
    path = tmp_path / "state.npz"
    with pytest.raises(KeyboardInterrupt):
        callbacks = [Checkpoint(path), _Interrupt(3)]
        train(_model(), fit, TRAINING, 0, held_out, callbacks=callbacks)
    with np.load(path) as file:
        arrays = dict(file)
    old = {k: v for k, v in arrays.items() if not k.startswith("best_")}
    assert len(old) < len(arrays)
    np.savez(path, **old)
    model = _model()
    history = train(model, fit, TRAINING, 0, held_out, callbacks=[Checkpoint(path)])
    losses = history.history["val_loss"]
    assert _loss(model, *parts) == pytest.approx(min(losses), rel=1e-5)
    del arrays["best_weight_000001"]
    np.savez(path, **arrays)
    with pytest.raises(InputError, match="damaged"):
        train(_model(), fit, TRAINING, 0, held_out, callbacks=[Checkpoint(path)])
