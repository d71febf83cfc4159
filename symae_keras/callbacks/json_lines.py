"""Training logs as a file with one JSON object per line."""

from __future__ import annotations

import json
import math
import time
from os import PathLike
from pathlib import Path
from typing import Any

import keras

from symae_keras._utils.files import written_atomically
from symae_keras.errors import InputError
from symae_keras.training.checkpoint import sync_state


class JSONLines(keras.callbacks.Callback):
    """Log file with one JSON object per epoch and line.

    An object contains the number `epoch`, from 0 as in Keras's `CSVLogger`, the `step`
    of the optimiser, the `time` in seconds since 1970, and all logs. Non-finite values
    are written as `null`. Each line is on disk before the next epoch begins, so the
    file can be followed with `tail -f` or read with
    `pandas.read_json(path, lines=True)`.

    If the file exists, new lines are appended. Lines of epochs that are repeated and
    incomplete lines are removed.

    Args:
        path: The file; a missing folder is made.

    Example:
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "history.jsonl"
    >>> model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    >>> model.compile("sgd", "mse")
    >>> x = keras.ops.ones((8, 3))
    >>> _ = model.fit(x, x[:, :1], epochs=2, verbose=0, callbacks=[JSONLines(path)])
    >>> [json.loads(line)["step"] for line in path.read_text().splitlines()]
    [1, 2]
    """

    def __init__(self, path: str | PathLike[str]) -> None:
        super().__init__()
        self.path = Path(path)
        self._begun = False

    def on_train_begin(self, logs: Any = None) -> None:
        """Prepare to check an existing file after the first epoch."""
        self._begun = False

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Append the line of an epoch."""
        sync_state(self.model)
        steps = keras.ops.convert_to_numpy(self.model.optimizer.iterations)
        values = {name: float(value) for name, value in (logs or {}).items()}
        line = {
            "epoch": epoch,
            "step": int(steps),
            "time": round(time.time(), 3),
            **{k: v if math.isfinite(v) else None for k, v in values.items()},
        }
        if not self._begun:
            self._drop_from(epoch)
            self._begun = True
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
        except OSError as error:
            raise InputError(
                f"{self.path} cannot be written: {error.strerror or error}; choose "
                "another path."
            ) from None

    def _drop_from(self, epoch: int) -> None:
        """Keep only the lines of earlier epochs."""
        kept = []
        if self.path.is_file():
            for line in self.path.read_text(encoding="utf-8").splitlines():
                try:
                    if json.loads(line)["epoch"] < epoch:
                        kept.append(line + "\n")
                except (ValueError, KeyError, TypeError):
                    continue  # incomplete
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with written_atomically(self.path) as partial:
            partial.write_text("".join(kept), encoding="utf-8")
