"""Recipes, losses and training in units of the data."""

from __future__ import annotations

import dataclasses
import functools

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from symae_keras._utils.arrays import swaps_codes
from symae_keras._utils.presets import preset_names
from symae_keras.data import (
    GroupedData,
    simulate_beats,
    simulate_exposures,
    simulate_gathers,
    simulate_shapes,
)
from symae_keras.layers import DenseEncoder
from symae_keras.losses import RelativeMeanSquaredError
from symae_keras.models import SymAE
from symae_keras.training import (
    Budget,
    Training,
    data_variance,
    normalization,
    train,
)
from symae_keras.training.checkpoint import HistoryFile, read_history
from symae_keras.zoo.recipes import load_recipe

# === Loss ===


@given(
    seed=st.integers(0, 100),
    # Far from 1, but the square is still in the range of float32.
    scale=st.sampled_from([1e-17, 1e-3, 1.0, 1e12]),
    shape=st.sampled_from([(3, 4), (2, 3, 5), (2, 2, 3, 3, 1)]),
)
def test_loss_is_the_relative_mean_squared_error(seed, scale, shape):
    rng = np.random.default_rng(seed)
    truth = scale * rng.normal(size=shape)
    guess = scale * rng.normal(size=shape)
    variance = float(np.var(truth))
    loss = RelativeMeanSquaredError(variance)(
        truth.astype("float32"), guess.astype("float32")
    )
    expected = np.mean((truth - guess) ** 2) / variance
    np.testing.assert_allclose(float(loss), expected, rtol=1e-4)


def test_loss_survives_its_config_and_refuses_bad_variances():
    loss = RelativeMeanSquaredError(3.0, reduction="sum", name="mine")
    config = keras.saving.serialize_keras_object(loss)
    again = keras.saving.deserialize_keras_object(config)
    assert again.get_config() == loss.get_config()
    assert (again.variance, again.reduction, again.name) == (3.0, "sum", "mine")
    for variance in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="`variance`.*Received: variance="):
            RelativeMeanSquaredError(variance)


# === Scaling ===


def masked_groups(rng: np.random.Generator) -> GroupedData:
    x = 5.0 + rng.normal(size=(6, 4, 10)) * np.linspace(0.1, 3.0, 10)
    mask = rng.random((6, 4)) < 0.7
    mask[:, 0] = True
    x[~mask] = np.nan
    return GroupedData(x, mask=mask)


def test_variance_is_that_of_present_instances(rng):
    groups = masked_groups(rng)
    expected = np.nanvar(groups.x.reshape(-1, 10), axis=0).mean()
    assert data_variance(groups) == pytest.approx(expected)
    # The mean instance does not count as variance: there are no offsets between pixels.
    offsets = GroupedData(np.broadcast_to(np.arange(10.0), (6, 4, 10)))
    assert data_variance(offsets) == 0.0


def test_normalization_has_the_constants_of_the_groups(rng):
    """Closed forms are tested with the layer."""
    groups = masked_groups(rng)
    layer = normalization(groups)
    mean = groups.x[groups.present].mean(axis=0)
    np.testing.assert_allclose(layer.mean, mean, rtol=1e-6)
    assert float(layer.scale) ** 2 == pytest.approx(data_variance(groups))
    images = rng.normal([10.0, -10.0], size=(4, 3, 6, 7, 2))
    mean = np.reshape(normalization(GroupedData(images)).mean, -1)
    np.testing.assert_allclose(mean, images.mean(axis=(0, 1, 2, 3)), rtol=1e-5)


# === train ===


@pytest.fixture
def eager(monkeypatch):
    """Skip tracing, which takes most of the time of a tiny run."""
    compile_eagerly = functools.partialmethod(SymAE.compile, run_eagerly=True)
    monkeypatch.setattr(SymAE, "compile", compile_eagerly)


def tiny(groups: GroupedData, seed: int) -> SymAE:
    keras.utils.set_random_seed(seed)
    return SymAE(
        groups.instance_shape,
        coherent_dim=2,
        nuisance_dim=2,
        encoder=DenseEncoder(8, units=(16,)),
        normalization=normalization(groups),
        seed=seed,
    )


TRAINING = Training(epochs=3, batch_size=4, instances=2, learning_rate=1e-2)
ONCE = dataclasses.replace(TRAINING, epochs=1)


@pytest.mark.large
def test_train_follows_its_settings_and_lowers_the_loss():
    groups = simulate_exposures(n_states=20, n_instances=4, seed=0)
    fit, held_out = groups.split(0.8)
    model, training = tiny(fit, 0), dataclasses.replace(TRAINING, epochs=12)
    seen = []
    spy = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: seen.append(epoch)
    )
    history = train(model, fit, training, 0, held_out, callbacks=[spy])
    assert seen == list(range(12)) and set(history.history) == {"loss", "val_loss"}
    assert history.history["loss"][-1] < 0.8 * history.history["loss"][0]
    # Sixteen groups in batches of four; the rate ends at 1 % of the first.
    optimizer = model.optimizer
    assert int(optimizer.iterations) == 48
    assert float(optimizer.learning_rate) == pytest.approx(1e-4, rel=1e-3)
    # The loss is a relative error, like the held-out error.
    output = np.asarray(model.reconstruct(held_out.x))
    expected = np.mean((output - held_out.x) ** 2) / data_variance(fit)
    assert history.history["val_loss"][-1] == pytest.approx(expected, rel=1e-3)


def test_masked_instances_do_not_count(eager):
    x = simulate_exposures(4, 3, seed=0).x.copy()
    mask = np.array([[1, 1, 1], [1, 0, 1], [1, 1, 0], [1, 0, 0]], bool)
    x[~mask] = np.nan
    groups = GroupedData(x, mask=mask)
    model = tiny(groups, 0)
    history = train(model, groups, ONCE, validation=groups).history
    output = np.asarray(model.reconstruct(x, mask))
    expected = np.mean((output - x)[mask] ** 2) / data_variance(groups)
    assert history["val_loss"][0] == pytest.approx(expected, rel=1e-3)


@pytest.mark.large
@pytest.mark.parametrize("scale", [2.0**-18, 2.0**40])
def test_train_is_the_same_in_all_units(eager, scale):
    losses = []
    for factor in (1.0, scale):
        x = simulate_exposures(4, 3, seed=0).x
        groups = GroupedData(x * np.float32(factor))
        keras.utils.set_random_seed(0)
        history = train(tiny(groups, 0), groups, TRAINING).history
        losses.append(history["loss"])
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-3)


def test_train_takes_as_many_instances_as_there_are(eager):
    groups = simulate_exposures(n_states=4, n_instances=2, seed=0)
    training = dataclasses.replace(ONCE, instances=8)
    history = train(tiny(groups, 0), groups, training).history
    assert np.isfinite(history["loss"]).all() and "val_loss" not in history


def test_train_counts_its_updates(eager, monkeypatch):
    monkeypatch.setattr("symae_keras.training.fit.EPOCHS", 1)
    monkeypatch.setattr("symae_keras.training.fit.MIN_UPDATES", 7)
    groups = simulate_exposures(5, 3, seed=0)
    model = tiny(groups, 0)
    training = Training(batch_size=4, instances=2)
    assert Budget.of(groups, training).steps == 2
    history = train(model, groups, training)
    assert len(history.epoch) == 4 and int(model.optimizer.iterations) == 8
    assert Budget.of(groups, training, single=True).steps == 3  # ten instances


def test_epochs_of_small_data_have_several_passes(eager, monkeypatch):
    """Updates and random draws are those of epochs with one pass."""
    groups = simulate_exposures(5, 3, seed=0)
    training = Training(epochs=1, batch_size=4, instances=2, min_updates=12)
    weights = []
    for epochs, passes in ((6, 1), (2, 3)):
        monkeypatch.setattr("symae_keras.training.fit._LONG_EPOCHS", epochs)
        model = tiny(groups, 0)
        history = train(model, groups, training)
        assert len(history.epoch) == epochs
        assert Budget.of(groups, training).passes == passes
        assert int(model.optimizer.iterations) == 12
        weights.append(model.get_weights())
    for one, other in zip(*weights, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("states", "given", "epochs", "passes", "at_least"),
    [
        (24, {}, 40, 25, True),  # 2 updates per pass
        (40, {}, 40, 17, True),  # 3; 667 passes are enough, 680 are made
        (900, {}, 36, 1, True),
        (2000, {}, 32, 1, False),
        (24, {"epochs": 32}, 32, 1, False),
        (24, {"epochs": 32, "min_updates": 500}, 36, 7, True),
        (2000, {"epochs": 32, "min_updates": 500}, 32, 1, False),
        (24, {"min_updates": 0}, 32, 1, False),
    ],
)
def test_budget(states, given, epochs, passes, at_least):
    groups = GroupedData(np.zeros((states, 4, 3), "float32"))
    training = Training(**given)
    budget = Budget.of(groups, training)
    assert (budget.epochs, budget.passes) == (epochs, passes)
    assert budget.at_least == at_least
    assert budget.updates == epochs * passes * -(-states // 16)
    # A resumed run uses the epochs of the first one.
    if at_least:
        least = given.get("min_updates", 2000)
        again = dataclasses.replace(training, epochs=epochs, min_updates=least)
        assert Budget.of(groups, again) == budget


@pytest.mark.parametrize(
    "given",
    [
        {"min_updates": -1},
        {"kl_annealing": 1.5},
        {"weight_decay": -0.1},
        {"optimizer": "sgd"},
        {"final_noise": -0.1},
    ],
)
def test_training_refuses(given):
    with pytest.raises(ValueError, match=f"`{next(iter(given))}`.*Received: "):
        Training(**given)


def test_budget_in_words():
    groups = GroupedData(np.zeros((2000, 12, 3), "float32"))
    grouped, few = Training(), Training(instances=None, batch_size=4000)
    of = functools.partial(Budget.of, groups)
    assert str(of(grouped)) == "2,000 groups, 4,000 updates of 16 groups x 8 instances"
    assert str(of(few)) == "2,000 groups, 2,000 updates of 2,000 groups x 12 instances"
    single = of(grouped, single=True)
    assert str(single) == "2,000 groups, 32,000 updates of 16 instances"


def test_history_file_keeps_and_mends(tmp_path):
    path = tmp_path / "history.csv"
    assert read_history(path) == []
    callback = HistoryFile(path)
    callback.on_epoch_end(0, {"loss": 0.5, "val_loss": 0.25})
    callback.on_epoch_end(1, {"loss": 0.25, "val_loss": 0.125})
    callback.on_epoch_end(2, {"loss": 9.0, "val_loss": 9.0})
    resumed = HistoryFile(path)
    resumed.on_epoch_end(2, {"loss": 0.125, "val_loss": 0.0625})
    assert path.read_text(encoding="utf-8").split() == [
        *("epoch,loss,val_loss", "0,0.5,0.25", "1,0.25,0.125", "2,0.125,0.0625"),
    ]


# === Presets ===


def _noise(*shape: int) -> GroupedData:
    return GroupedData(np.random.default_rng(0).normal(size=shape))


#: By the suffix of the preset name after the kind of model.
SMALL = {
    "exposures": lambda: simulate_exposures(4, 3, seed=0),
    "shapes": lambda: simulate_shapes(4, 3, seed=0),
    "fashion": lambda: _noise(4, 3, 28, 28, 1),
    "tablets": lambda: _noise(4, 2, 597),
    "beats": lambda: simulate_beats(4, 3, seed=0),
    "gathers": lambda: simulate_gathers(4, 3, seed=0),
}


@pytest.mark.large
@pytest.mark.parametrize("name", preset_names())
def test_every_preset_makes_a_model_for_its_data(name):
    groups = SMALL[name.split("_")[1]]()
    # Another instance shape of the same rank comes from the data, not the recipe.
    shape = tuple(n + 3 for n in groups.instance_shape[:-1])
    shape += groups.instance_shape[-1:] if shape else (100,)
    for each in (groups, _noise(4, 3, *shape)):
        model = load_recipe(name).recipe.model(each, 0)
        x = each.x if swaps_codes(model) else each.x[:, 0]
        assert tuple(model(x).shape) == x.shape
    if isinstance(model, SymAE):
        assert model.conditional_nuisance is not name.endswith("_original")


# === Clipping ===


def _moments(model) -> float:
    """Return the norm of Adam's first moments, 10 % of that of the first gradient."""
    slots = [v for v in model.optimizer.variables if "momentum" in v.path]
    return float(np.sqrt(sum(np.square(np.asarray(v.value)).sum() for v in slots)))


def test_clipping_bounds_what_a_step_can_do(eager):
    groups = simulate_exposures(4, 3, seed=0)
    norms, weights = {}, {}
    for clip_norm in (None, 1e6, 1e-3):
        model = tiny(groups, 0)
        train(model, groups, dataclasses.replace(ONCE, clip_norm=clip_norm))
        norms[clip_norm], weights[clip_norm] = _moments(model), model.get_weights()
    assert norms[1e-3] == pytest.approx(0.1 * 1e-3, rel=1e-4)
    assert norms[None] > 10.0 * norms[1e-3]
    # A bound that is never reached has no effect, like no bound.
    model = tiny(groups, 0)
    train(model, groups, ONCE)
    assert model.optimizer.global_clipnorm is None
    for plain, none, wide in zip(
        model.get_weights(), weights[None], weights[1e6], strict=True
    ):
        np.testing.assert_array_equal(none, plain)
        np.testing.assert_allclose(wide, plain, rtol=1e-6)
