"""Callbacks that tell how a training run is getting on, on screen and in a file."""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from types import TracebackType
from typing import Any

import keras
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from symae_keras._utils.files import written_aside


class EpochProgress(keras.callbacks.Callback):
    """A progress bar over epochs on a terminal; elsewhere a line for every tenth.

    Use it as a context, so that the bar ends even where training fails.

    Args:
        title: What is being trained.
    """

    def __init__(self, title: str) -> None:
        super().__init__()
        self.title = title
        self._console = Console(stderr=True)
        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("epoch {task.completed:.0f}/{task.total:.0f}"),
            TextColumn("{task.fields[losses]}", markup=False),
            TimeRemainingColumn(elapsed_when_finished=True),
            console=self._console,
            # Epochs may be longer than the half minute over which speed is measured.
            speed_estimate_period=3600.0,
        )

    def __enter__(self) -> EpochProgress:
        """Start the bar."""
        if self._console.is_terminal:
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End the bar."""
        if self._console.is_terminal:
            self._bar.stop()

    def on_train_begin(self, logs: Any = None) -> None:
        """Say how long the training is."""
        epochs, steps = self.params["epochs"], self.params["steps"]
        print(
            f"{self.title}: epochs x updates per epoch: {epochs:,} x {steps:,} = "
            f"{epochs * steps:,} updates",
            file=sys.stderr,
            flush=True,
        )

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Show the bar, which starts where a resumed run does."""
        if not self._bar.tasks:
            self._bar.add_task(
                self.title, total=self.params["epochs"], completed=epoch, losses=""
            )

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Show the losses."""
        done, total = epoch + 1, self.params["epochs"]
        values = (logs or {}).items()
        losses = ", ".join(f"{k} {v:.4f}" for k, v in values if k.endswith("loss"))
        if self._console.is_terminal:
            self._bar.update(self._bar.task_ids[0], completed=done, losses=losses)
        elif done * 10 // total > epoch * 10 // total:
            print(
                f"{self.title}: epoch {done}/{total}: {losses}",
                file=sys.stderr,
                flush=True,
            )


class HistoryFile(keras.callbacks.Callback):
    """Keeps a CSV file of the logs of all epochs, in the form of Keras's `CSVLogger`.

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
        """Add the row of an epoch, or put it in the place of what was there."""
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
    """Rows of a history file, none where there is no file."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))
