"""Saved training state: copies in memory, a checkpoint to resume from, the history."""

from __future__ import annotations

import csv
import math
from os import PathLike
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import backend

from symae_keras._utils.files import written_atomically
from symae_keras.errors import InputError

__all__ = ["Checkpoint", "HistoryFile", "Snapshot", "read_history", "sync_state"]

_EPOCHS = "epochs_done"
_RUN = "run"
_UPDATES = "updates"


def sync_state(model: Any) -> None:
    """Set the variables of a model to those of the last training step.

    On JAX, `fit` keeps the variables itself. Syncing copies them into the model and
    makes `fit` read them again before the next step.
    """
    if hasattr(model, "jax_state_sync"):
        model.jax_state_sync()


class Snapshot:
    """Copies in memory of the variables of a model and of its optimiser.

    Attributes:
        finite: Whether all trained variables and those of the optimiser are finite.
    """

    def __init__(self, model: Any) -> None:
        sync_state(model)
        trained = [*model.trainable_variables, *model.optimizer.variables]
        variables = [*trained, *model.non_trainable_variables]
        self._copies = [(each, each.numpy()) for each in variables]
        self.finite = all(
            np.isfinite(copy).all()
            for each, copy in self._copies[: len(trained)]
            if backend.is_float_dtype(each.dtype)
        )

    def restore(self, model: Any) -> None:
        """Restore the copies."""
        sync_state(model)
        for variable, copy in self._copies:
            variable.assign(copy)


class Checkpoint(keras.callbacks.Callback):
    """Checkpoint file of the training state, written at the end of every epoch.

    The state contains everything that the next step depends on: weights, states of
    random generators, and the optimiser's moments and step, which determine learning
    rate and noise schedules. Draws of data depend only on seed, epoch and step, see
    `symae_keras.data.batches`. The file is replaced in one step, so it is complete even
    if the process is killed.

    Keras's `BackupAndRestore` does not save the states of random generators, so a
    resumed run would repeat the noise of its first epochs.

    Args:
        path: The file, `.npz`.
        writes: Whether to write the file. If several workers resume from the same file,
            only one of them writes it.

    Attributes:
        companion: A callback, or `None`. Its `state()`, arrays by names that start with
            `best_`, is also saved and passed to its `restore(state, model)`.
        run: Text that identifies data and seed, or `None`. `restore` refuses a file
            with another one.
        updates: Number of updates in all epochs of the training, or `None`.
    """

    def __init__(self, path: str | PathLike[str], writes: bool = True) -> None:
        super().__init__()
        self.path = Path(path)
        self.writes = writes
        self.companion: Any = None
        self.run: str | None = None
        self.updates: int | None = None

    def saved_updates(self) -> int | None:
        """Return `updates` of the file, `None` if there is none or no file."""
        try:
            with np.load(self.path, allow_pickle=False) as file:
                return int(file[_UPDATES])
        # A damaged file can raise any exception; `restore` describes it.
        except Exception:
            return None

    def restore(self, model: keras.Model) -> int:
        """Restore the state of a compiled model from the file.

        Args:
            model: The model, compiled and built.

        Returns:
            Number of completed epochs, 0 if there is no file.

        Raises:
            InputError: The file is damaged, or belongs to another model, other data or
                another seed.
        """
        if not self.path.exists():
            return 0
        model.optimizer.build(model.trainable_variables)
        variables = _variables(model)
        again = "start again with --force"
        try:
            with np.load(self.path, allow_pickle=False) as file:
                arrays = dict(file)
            epochs = int(arrays.pop(_EPOCHS))
            run = str(arrays.pop(_RUN, self.run))
            arrays.pop(_UPDATES, None)
            best = {k: arrays.pop(k) for k in [*arrays] if k.startswith("best_")}
        # Parsers raise errors of many classes for damaged files.
        except Exception as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise InputError(
                f"The checkpoint {self.path} is damaged ({reason.rstrip('.')}); "
                f"{again}."
            ) from None
        if self.run is not None and run != self.run:
            raise InputError(
                f"The checkpoint {self.path} is of another training ({run}), not of "
                f"this one ({self.run}); remove it, or give another path."
            )
        found = [arrays[key].shape for key in sorted(arrays)]
        expected = [tuple(each.shape) for each in variables]
        if found != expected:
            raise InputError(
                f"The checkpoint {self.path} is of another model: it holds "
                f"{_sizes(found)}, but the recipe makes {_sizes(expected)}; {again}."
            )
        if self.companion is not None and best:
            try:
                self.companion.restore(best, model)
            except (KeyError, ValueError):
                raise InputError(
                    f"The checkpoint {self.path} is damaged (weights of the best epoch "
                    f"are missing); {again}."
                ) from None
        for variable, key in zip(variables, sorted(arrays), strict=True):
            variable.assign(arrays[key])
        return epochs

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Write the file."""
        if not self.writes:
            return
        sync_state(self.model)
        arrays: dict[str, Any] = {
            f"{n:06d}": each.numpy() for n, each in enumerate(_variables(self.model))
        }
        arrays[_EPOCHS] = np.array(epoch + 1)
        if self.run is not None:
            arrays[_RUN] = np.array(self.run)
        if self.updates is not None:
            arrays[_UPDATES] = np.array(self.updates)
        if self.companion is not None:
            arrays |= self.companion.state()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with written_atomically(self.path) as partial, partial.open("wb") as stream:
            np.savez(stream, **arrays)


def _variables(model: keras.Model) -> list[Any]:
    """Return the variables that training changes, in the order of the architecture."""
    metrics = {id(each) for each in model.metrics_variables}
    own = [each for each in model.variables if id(each) not in metrics]
    return [*own, *model.optimizer.variables]


def _sizes(shapes: list[tuple[int, ...]]) -> str:
    numbers = sum(math.prod(each) for each in shapes)
    return f"{len(shapes)} arrays of {numbers} numbers"


class HistoryFile(keras.callbacks.Callback):
    """CSV file of the logs of all epochs, in the format of Keras's `CSVLogger`.

    The file is replaced in one step after each epoch. With `CSVLogger(append=True)`, an
    epoch could appear twice or incompletely if a run is killed between writing a row
    and saving the state.

    Args:
        path: The file; existing epochs are kept.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self._rows = read_history(path)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Add the row of an epoch, after removing rows of it and of later epochs."""
        row = {"epoch": epoch, **{k: float(v) for k, v in (logs or {}).items()}}
        self._rows = [each for each in self._rows if int(each["epoch"]) < epoch]
        self._rows.append({name: str(value) for name, value in row.items()})
        # Not every epoch has to be validated.
        names = dict.fromkeys(name for each in self._rows for name in each)
        with (
            written_atomically(self.path) as partial,
            partial.open("w", newline="", encoding="utf-8") as file,
        ):
            writer = csv.DictWriter(file, names)
            writer.writeheader()
            writer.writerows(self._rows)


def read_history(path: Path) -> list[dict[str, str]]:
    """Return the rows of a history file, or none if the file does not exist."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))
