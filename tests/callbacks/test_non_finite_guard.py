"""Training that reaches NaN: the stop, its message, and the restored model."""

from __future__ import annotations

import gc
import re

import keras
import numpy as np
import pytest

from symae_keras.callbacks import NonFiniteGuard
from symae_keras.data import GroupedData, batches
from symae_keras.data.sampling import Sampler
from symae_keras.errors import InputError, NonFiniteError
from symae_keras.layers import DenseEncoder
from symae_keras.models import SegResNetVAE, SymAE
from symae_keras.training import Training, train
from symae_keras.training.checkpoint import sync_state

PLAIN = {"batch_size": 4, "shuffle": False, "verbose": 0}


@pytest.fixture(autouse=True)
def _collected():
    """Collect the iterators of stopped trainings: many of them take long to end."""
    yield
    gc.collect()


def _groups(n: int = 12, masked: bool = False) -> GroupedData:
    x = np.random.default_rng(0).normal(size=(n, 4, 12)).astype("float32")
    mask = None
    if masked:
        mask = np.ones((n, 4), bool)
        mask[:, 3] = False
        x[:, 3] = np.nan
    return GroupedData(x, mask=mask)


def _model(noise: str = "variational") -> SymAE:
    encoder = DenseEncoder(8, units=(16,))
    return SymAE((12,), 3, 2, encoder=encoder, nuisance_noise=noise, seed=0)


def _weights(model) -> list[np.ndarray]:
    return [np.array(each) for each in model.get_weights()]


class _Record(keras.callbacks.Callback):
    """The weights and the optimiser after each step."""

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[list[np.ndarray]] = []

    def on_train_batch_end(self, batch, logs=None):
        sync_state(self.model)
        self.steps.append(_everything(self.model))


def _everything(model) -> list[np.ndarray]:
    variables = [*model.trainable_variables, *model.optimizer.variables]
    return [np.array(keras.ops.convert_to_numpy(each.value)) for each in variables]


def _same(one: list[np.ndarray], other: list[np.ndarray]) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def _message(model, x, y, **options) -> str:
    """Return the message of the guard after training on one batch."""
    guard = NonFiniteGuard(**{"batch_at": lambda epoch, step: (x, y), **options})
    with pytest.raises(NonFiniteError) as caught:
        model.fit(x, y, callbacks=[guard], **PLAIN)
    return str(caught.value)


# === One poisoned batch ===


def _fit_poisoned(model, **options) -> tuple[NonFiniteError, _Record]:
    """Make twelve groups in three steps; the second step is poisoned in epoch 2."""
    clean, bad = _groups().x, _groups().x.copy()
    bad[6, 1, 5] = np.nan
    record, seen = _Record(), [clean, bad]

    def batch_at(epoch: int, step: int):
        x = seen[epoch][4 * step : 4 * step + 4]
        return x, x

    model.compile(keras.optimizers.Adam(1e-2), "mse")
    guard = NonFiniteGuard(batch_at=batch_at, **options)
    model.fit(clean, clean, callbacks=[record], **PLAIN)
    with pytest.raises(NonFiniteError) as caught:
        model.fit(
            bad, bad, initial_epoch=1, epochs=3, callbacks=[guard, record], **PLAIN
        )
    return caught.value, record


@pytest.mark.large
@pytest.mark.jax
def test_a_poisoned_batch_stops_training_within_its_step(tmp_path) -> None:
    model = _model()
    error, record = _fit_poisoned(model)
    # The guard comes first, so that the step that failed is not recorded.
    assert len(record.steps) == 4
    assert str(error) == (
        "coherent_kl_loss and nuisance_kl_loss became nan in epoch 2, step 2: "
        "inputs[2, 1, 5] is nan, in group 2 of the batch, instance 1, pixel 5; correct "
        "or mask the data; the last finite weights were restored."
    )
    assert isinstance(error, ArithmeticError) and isinstance(error, InputError)
    # The same as at the start of epoch 2, including the optimiser.
    assert _same(_everything(model), record.steps[2])
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    x = _groups().x
    output = np.asarray(again.reconstruct(x))
    assert np.isfinite(output).all()
    np.testing.assert_allclose(output, np.asarray(model.reconstruct(x)), atol=1e-6)
    # And training can be resumed from there.
    assert np.isfinite(again.fit(x, x, **PLAIN).history["loss"]).all()


@pytest.mark.large
@pytest.mark.jax
def test_a_backup_after_every_step() -> None:
    model = _model("gaussian")
    _, record = _fit_poisoned(model, backup_every=1)
    assert _same(_everything(model), record.steps[3])


def test_the_first_step_of_all_leaves_the_initial_model() -> None:
    """Moments of the optimiser are restored even if the first step makes them."""
    x = _groups().x.copy()
    x[0, 0, 0] = np.inf
    model = _model("gaussian")
    before = _weights(model)
    model.compile("adam", "mse")
    found = "loss became (nan|inf) in epoch 1, step 1"
    assert re.match(found, _message(model, x, x, batch_at=None))
    assert _same(_weights(model), before)
    slots = [np.array(each.value) for each in model.optimizer.variables]
    assert all(np.isfinite(each).all() for each in slots)
    assert int(model.optimizer.iterations) == 0


@pytest.mark.jax
def test_steps_that_are_executed_at_once() -> None:
    if keras.backend.backend() == "torch":
        pytest.skip("PyTorch takes one step at a time")
    x = _groups(24).x.copy()
    x[9, 3, 7] = np.nan  # in step 3 of 6, of which 4 are taken at once
    model = _model("gaussian")
    model.compile("sgd", "mse", steps_per_execution=4)
    message = _message(
        model, x, x, batch_at=lambda epoch, step: (x[4 * step :][:4],) * 2
    )
    assert "in epoch 1, steps 1 to 4: inputs[1, 3, 7]" in message
    assert np.isfinite(np.concatenate([w.ravel() for w in _weights(model)])).all()


# === Other causes ===


@keras.saving.register_keras_serializable(package="tests")
class _Root(keras.layers.Layer):
    """Return NaN for negative values."""

    def call(self, inputs):
        return keras.ops.log(keras.ops.maximum(inputs, -1e-3))


@pytest.mark.jax
def test_the_first_layer_whose_output_is_not_finite_is_named() -> None:
    inner = keras.Sequential([keras.layers.Dense(3), _Root(name="root")], name="inner")
    model = keras.Sequential([keras.Input((3,)), inner, keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    x = np.random.default_rng(0).normal(size=(4, 3)).astype("float32")
    assert re.match(
        "loss became nan in epoch 1, step 1: the _Root '.*root' is the first layer "
        "whose output is not finite; normalise the data, lower the learning rate",
        _message(model, x, x[:, :1]),
    )
    # All patches of the check are removed.
    assert "call" not in vars(model.layers[0])


def test_an_infinite_loss_term_is_named() -> None:
    model = _model()
    model.coherent_sampling.set_kl_weight(3e38)
    model.coherent_head[-1].bias.assign(np.full(6, 100.0))
    model.compile("sgd", "mse")
    x = _groups(4).x
    found = r"coherent_kl_loss became inf.*GaussianSampling 'gaussian_.*whose loss is"
    assert re.match(found, _message(model, x, x))


def test_terms_beside_the_loss_of_a_segmentation() -> None:
    """The remaining loss, which has another name in this model, is not blamed."""
    model = SegResNetVAE((8, 8, 1), 2, filters=(2, 4), code_dim=2, seed=0)
    x = np.zeros((2, 8, 8, 1), "float32")
    x[1, 3, 3] = np.nan
    model.compile("sgd", "sparse_categorical_crossentropy")
    terms = _message(model, x, x[..., 0] > 0, batch_at=None).partition(" became")[0]
    assert sorted(terms.split(" and ")) == ["kl_loss", "reconstruction_loss"]


def test_targets_that_no_loss_can_square() -> None:
    model = _model("gaussian")
    model.compile("sgd", "mse")
    x = _groups(4).x
    message = _message(model, x, x * np.float32(1e30))
    assert "it is the loss of a finite recons" in message


@pytest.mark.jax
def test_gradients_that_overflow_while_the_loss_is_finite() -> None:
    """The guard also checks the weights, since no loss shows the last step's effect."""
    x = np.full((4, 3), 1e10, "float32")
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(1e30), "mae")
    before = _weights(model)
    assert _message(model, x, x[:, :1]).startswith(
        "the weights or the optimiser became nan or inf in epoch 1, step 1: the batch "
        "is finite, and so are the outputs of the last good model on it, so the "
        "gradients have overflowed since; lower the learning rate or clip gradients"
    )
    assert _same(_weights(model), before)


def test_without_the_batch_or_with_a_wrong_one() -> None:
    x = _groups(4).x * np.float32(np.nan)
    for batch_at, cause in (
        (None, "the cause is unknown without the batch"),
        (lambda epoch, step: 1 / 0, "so the gradients have overflowed"),
    ):
        model = _model("gaussian")
        model.compile("sgd", "mse", run_eagerly=True)
        assert cause in _message(model, x, x, batch_at=batch_at)
    with pytest.raises(ValueError, match="`backup_every`.*backup_every=0"):
        NonFiniteGuard(backup_every=0)


# === In `train` ===

TRAINING = Training(epochs=2, batch_size=4, instances=3, learning_rate=1e-3)


def test_any_batch_of_a_dataset_by_itself() -> None:
    groups = _groups(masked=True)
    dataset = batches(groups, 4, 3, seed=3, first_epoch=2)
    for step, batch in enumerate(dataset):
        keras.tree.map_structure(
            np.testing.assert_array_equal, dataset.batch_at(2, step), batch
        )
    assert step == 2


@pytest.mark.jax
def test_train_names_the_place_in_the_draw(monkeypatch) -> None:
    # For shards, only a sample is checked before training.
    monkeypatch.setattr("symae_keras.training.fit.data_variance", lambda groups: 1.0)
    groups, model = _groups(masked=True), _model("gaussian")
    groups.x[7, 1, 4] = np.nan
    with pytest.raises(NonFiniteError) as caught:
        train(model, groups, TRAINING, seed=3)
    place = r"epoch (\d), step (\d): inputs\[(\d), (\d), 4\] is nan"
    found = re.match(f"loss became nan in {place}", str(caught.value))
    assert found, caught.value
    # The same draw as in training.
    epoch, step, row, column = map(int, found.groups())
    draw = Sampler(groups.present, 4, 3, seed=3).draw(epoch - 1, step - 1)
    assert (draw.group[row], draw.place[row, column]) == (7, 1)
    assert np.isfinite(np.asarray(model.reconstruct(_groups().x))).all()


@pytest.mark.jax
def test_nan_behind_a_mask_is_no_reason() -> None:
    groups = _groups(masked=True)
    history = train(_model("gaussian"), groups, TRAINING, seed=3)
    assert np.isfinite(history.history["loss"]).all() and len(history.epoch) == 2
