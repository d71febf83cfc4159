"""The history of a training in a CSV file."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import keras

from symae_keras._utils.files import written_aside

__all__ = ["HistoryFile", "read_history"]


class HistoryFile(keras.callbacks.Callback):
    """CSV file of the logs of all epochs, in the form of Keras's `CSVLogger`.

    The file is replaced as a whole after each epoch. `CSVLogger(append=True)` would
    leave an epoch twice, or half of one, where a run is killed between writing a row
    and saving the state.

    Args:
        path: The file; the epochs in it are kept.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self._rows = read_history(path)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Add the row of an epoch, and drop the rows of it and of later epochs."""
        row = {"epoch": epoch, **{k: float(v) for k, v in (logs or {}).items()}}
        self._rows = [each for each in self._rows if int(each["epoch"]) < epoch]
        self._rows.append({name: str(value) for name, value in row.items()})
        with (
            written_aside(self.path) as aside,
            aside.open("w", newline="", encoding="utf-8") as file,
        ):
            writer = csv.DictWriter(file, self._rows[-1], extrasaction="ignore")
            writer.writeheader()
            writer.writerows(self._rows)


def read_history(path: Path) -> list[dict[str, str]]:
    """Return the rows of a history file, none if the file does not exist."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))
