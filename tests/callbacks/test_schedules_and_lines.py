"""Schedules of the noise and of the divergence, and a file with a line per epoch."""

from __future__ import annotations

import json
import time

import keras
import numpy as np
import pytest

from symae_keras.callbacks import JSONLines, KLSchedule, NoiseSchedule
from symae_keras.errors import InputError
from symae_keras.layers import DenseEncoder, GaussianSampling, NuisanceDropout
from symae_keras.models import SymAE
from symae_keras.training.checkpoint import sync_state

pytestmark = pytest.mark.jax


# === Schedules ===


class _Watch(keras.callbacks.Callback):
    """Records a variable after every step."""

    def __init__(self, variable) -> None:
        super().__init__()
        self.variable = variable
        self.seen: list[float] = []

    def on_train_batch_end(self, batch, logs=None):
        sync_state(self.model)
        self.seen.append(float(self.variable.value))


def _model(noise: str = "gaussian") -> SymAE:
    encoder = DenseEncoder(8, units=(16,))
    model = SymAE((12,), 3, 2, encoder=encoder, nuisance_noise=noise, seed=0)
    model.compile(keras.optimizers.SGD(1e-3), "mse")
    return model


def _fit(model, *callbacks, epochs=2):
    """Fit in three steps per epoch."""
    x = np.random.default_rng(0).normal(size=(9, 4, 12)).astype("float32")
    return model.fit(x, x, batch_size=3, epochs=epochs, verbose=0, callbacks=callbacks)


def _cosine(step: int) -> float:
    return 0.1 + 0.2 * (1.0 + np.cos(np.pi * min(step, 4) / 4))


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        pytest.param(
            lambda step: 0.5 - 0.05 * step,
            lambda step: 0.5 - 0.05 * step,
            marks=pytest.mark.compiles,
        ),
        (keras.optimizers.schedules.CosineDecay(0.5, 4, alpha=0.2), _cosine),
    ],
)
def test_noise_follows_the_schedule_step_by_step(schedule, expected) -> None:
    model = _model()
    watch = _Watch(model.noise.strength)
    history = _fit(model, NoiseSchedule(schedule), watch)
    np.testing.assert_allclose(watch.seen, [*map(expected, range(6))], rtol=1e-5)
    assert np.isfinite(history.history["loss"]).all()
    # It keeps the value of the last step, also after saving.
    assert float(model.noise.strength.value) == pytest.approx(expected(5))


def test_noise_acts_on_the_compiled_step(tmp_path) -> None:
    """The noise itself changes, not only the variable: the training loss increases."""
    losses = {}
    for strength in (0.0, 50.0):
        keras.utils.set_random_seed(0)
        model = _model()
        model.optimizer.learning_rate.assign(0.0)
        history = _fit(model, NoiseSchedule(lambda step, s=strength: s), epochs=1)
        losses[strength] = history.history["loss"][0]
    assert losses[50.0] > 1.01 * losses[0.0]


def test_divergence_follows_the_schedule() -> None:
    model = _model("variational")
    watch = _Watch(model.noise.kl_weight)
    stranger = GaussianSampling(0.7)
    _fit(model, KLSchedule(lambda step: 1e-3 * step), watch)
    np.testing.assert_allclose(watch.seen, 1e-3 * np.arange(6), rtol=1e-5)
    # A layer outside of the model does not change.
    assert float(stranger.kl_weight.value) == pytest.approx(0.7)


def test_a_resumed_run_goes_on_in_step(tmp_path) -> None:
    """The schedule uses the optimiser's step count, which is saved with the model."""
    schedule = NoiseSchedule(lambda step: 0.01 * step)
    model = _model()
    _fit(model, schedule, epochs=1)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert float(again.noise.strength.value) == pytest.approx(0.02)
    watch = _Watch(again.noise.strength)
    _fit(again, schedule, watch, epochs=1)
    np.testing.assert_allclose(watch.seen, [0.03, 0.04, 0.05], rtol=1e-5)


def test_steers_every_layer_of_its_kind() -> None:
    """The callback finds layers in any model, including nested ones."""
    nested, outer = NuisanceDropout("additive"), NuisanceDropout("gaussian")
    inner = keras.Sequential([keras.layers.Dense(3), nested])
    model = keras.Sequential([keras.Input((3,)), inner, outer])
    model.compile(optimizer="sgd", loss="mse")
    x = np.ones((4, 3), "float32")
    model.fit(x, x, verbose=0, callbacks=[NoiseSchedule(lambda step: 0.125)])
    assert float(nested.strength.value) == float(outer.strength.value) == 0.125


def test_a_model_without_such_a_layer() -> None:
    with pytest.raises(ValueError, match="`NoiseSchedule` found no `NuisanceDropout`"):
        _fit(_model("variational"), NoiseSchedule(lambda step: 0.1))
    with pytest.raises(ValueError, match="`KLSchedule` found no `GaussianSampling`"):
        _fit(_model("gaussian"), KLSchedule(lambda step: 0.1))


def test_a_bad_value_stops_the_run() -> None:
    with pytest.raises(ValueError, match="strength=-1.0"):
        _fit(_model(), NoiseSchedule(lambda step: -1.0))


# === JSONLines ===


def _line() -> keras.Model:
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    return model


def _fit_line(model, path, *callbacks, **options):
    x = np.ones((8, 3), "float32")
    every = {"callbacks": [*callbacks, JSONLines(path)], **options}
    return model.fit(x, x[:, :1], batch_size=4, verbose=0, **every)


def _lines(path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_an_object_per_epoch(tmp_path) -> None:
    path, seen = tmp_path / "logs" / "history.jsonl", []
    # Each line is on disk before the next epoch begins.
    spy = keras.callbacks.LambdaCallback(
        on_epoch_begin=lambda epoch, logs: seen.append(
            len(_lines(path)) if path.exists() else 0
        )
    )
    before = time.time()
    history = _fit_line(_line(), path, spy, epochs=3).history
    lines = _lines(path)
    assert seen == [0, 1, 2]
    assert [line["epoch"] for line in lines] == [0, 1, 2]
    assert [line["step"] for line in lines] == [2, 4, 6]
    assert [line["loss"] for line in lines] == pytest.approx(history["loss"])
    times = [line["time"] for line in lines]
    assert before - 1.0 < times[0] <= times[1] <= times[2] < time.time() + 1.0


def test_a_resumed_run_continues_the_file(tmp_path) -> None:
    """Repeated epochs appear once, and an incomplete line is removed."""
    path, model = tmp_path / "history.jsonl", _line()
    _fit_line(model, path, epochs=3)
    first = _lines(path)
    with path.open("a", encoding="utf-8") as file:
        file.write('{"epoch": 3, "lo')
    _fit_line(model, path, initial_epoch=2, epochs=4)
    lines = _lines(path)
    assert [line["epoch"] for line in lines] == [0, 1, 2, 3]
    assert lines[:2] == first[:2]
    assert [line["step"] for line in lines[2:]] == [8, 10]
    _fit_line(model, path, epochs=1)
    assert [line["epoch"] for line in _lines(path)] == [0]


def test_what_is_not_finite_is_null(tmp_path) -> None:
    callback = JSONLines(tmp_path / "history.jsonl")
    callback.set_model(_line())
    callback.on_train_begin()
    callback.on_epoch_end(0, {"loss": np.float32(np.nan), "val_loss": 0.5})
    (line,) = _lines(callback.path)
    assert line["loss"] is None and line["val_loss"] == 0.5


def test_a_path_that_cannot_be_written(tmp_path) -> None:
    (tmp_path / "history.jsonl").mkdir()
    with pytest.raises(InputError, match="history.jsonl cannot be written"):
        _fit_line(_line(), tmp_path / "history.jsonl")
