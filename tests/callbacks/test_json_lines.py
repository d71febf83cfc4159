"""A file with one JSON object a line."""

from __future__ import annotations

import json
import time

import keras
import numpy as np
import pytest

from symae_keras.callbacks import JSONLines
from symae_keras.errors import InputError

pytestmark = pytest.mark.jax


def _model() -> keras.Model:
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    return model


def _fit(model, path, *callbacks, **options):
    x = np.ones((8, 3), "float32")
    callbacks = [*callbacks, JSONLines(path)]
    return model.fit(
        x, x[:, :1], batch_size=4, verbose=0, callbacks=callbacks, **options
    )


def _lines(path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_an_object_an_epoch(tmp_path) -> None:
    path, seen = tmp_path / "logs" / "history.jsonl", []
    # Each line is on disk before the next epoch begins.
    spy = keras.callbacks.LambdaCallback(
        on_epoch_begin=lambda epoch, logs: seen.append(
            len(_lines(path)) if path.exists() else 0
        )
    )
    before = time.time()
    history = _fit(_model(), path, spy, epochs=3).history
    lines = _lines(path)
    assert seen == [0, 1, 2]
    assert [line["epoch"] for line in lines] == [0, 1, 2]
    assert [line["step"] for line in lines] == [2, 4, 6]
    assert [line["loss"] for line in lines] == pytest.approx(history["loss"])
    times = [line["time"] for line in lines]
    assert before - 1.0 < times[0] <= times[1] <= times[2] < time.time() + 1.0


def test_a_resumed_run_goes_on_in_the_file(tmp_path) -> None:
    """Epochs that are done again are there once, and half a line is gone."""
    path, model = tmp_path / "history.jsonl", _model()
    _fit(model, path, epochs=3)
    first = _lines(path)
    with path.open("a", encoding="utf-8") as file:
        file.write('{"epoch": 3, "lo')
    _fit(model, path, initial_epoch=2, epochs=4)
    lines = _lines(path)
    assert [line["epoch"] for line in lines] == [0, 1, 2, 3]
    assert lines[:2] == first[:2]
    assert [line["step"] for line in lines[2:]] == [8, 10]
    _fit(model, path, epochs=1)
    assert [line["epoch"] for line in _lines(path)] == [0]


def test_what_is_not_finite_is_null(tmp_path) -> None:
    callback = JSONLines(tmp_path / "history.jsonl")
    callback.set_model(_model())
    callback.on_train_begin()
    callback.on_epoch_end(0, {"loss": np.float32(np.nan), "val_loss": 0.5})
    (line,) = _lines(callback.path)
    assert line["loss"] is None and line["val_loss"] == 0.5


def test_a_path_that_cannot_be_written(tmp_path) -> None:
    (tmp_path / "history.jsonl").mkdir()
    with pytest.raises(InputError, match="history.jsonl cannot be written"):
        _fit(_model(), tmp_path / "history.jsonl")
