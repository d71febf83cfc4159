"""Result of a comparison: rows, tables, a figure, and the folder that keeps them."""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import io
import json
import logging
import math
import os
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np

from symae_keras._utils.files import write_json, written_atomically
from symae_keras._utils.lock import FolderLock
from symae_keras._utils.markers import is_own, read_marker, write_marker
from symae_keras._utils.text import one_line
from symae_keras.data.groups import GroupedData
from symae_keras.errors import InputError
from symae_keras.evaluation.contenders import CONTENDERS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_log = logging.getLogger("symae_keras")

_SETTINGS: Final = "settings.json"
_ROWS: Final = "rows.csv"
#: Version of the settings. Version 1 did not record masks, weights and labels.
VERSION: Final = 2
_KIND: Final = {"kind": "comparison"}

#: Headings of the columns, by the attribute of a row.
COLUMNS: Final = {
    "parameters": "parameters",
    "seconds_per_step": "s / step",
    "seconds": "s / training",
    "reconstruction": "reconstruction error",
    "redatuming": "redatuming error",
    "estimated": "redatuming error, estimated",
    "state_from_nuisance": "state from nuisance code",
    "nuisance_from_coherent": "nuisance from coherent code",
    "state_from_coherent": "state from coherent code",
}


@dataclasses.dataclass(frozen=True)
class Row:
    """One model, trained once.

    Attributes:
        model: Name from `CONTENDERS`.
        seed: Seed of weights, noise and sampler.
        parameters: Number of trainable parameters; `None` for classical references.
        seconds_per_step: Training time per step; `None` for classical references.
        reconstruction: Mean squared reconstruction error over the variance.
        redatuming: The same for virtual instances; `None` without ground truth.
        estimated: The estimate of `redatuming` without ground truth, see
            `estimate_redatuming_error`; `None` for models that do not swap codes.
        state_from_nuisance: Leakage: score of probes that predict the state from one
            nuisance code (R2 for numbers, accuracy for labels, negative scores count as
            0), averaged over parameters. This and the next two are `None` if no state
            is known.
        nuisance_from_coherent: Leakage: the same for the mean nuisance of a group,
            predicted from its coherent code.
        state_from_coherent: The same for the state, predicted from the coherent code;
            it should be high.
        seconds: Wall time of the training, or of the fit of a classical reference.
    """

    model: str
    seed: int
    parameters: int | None
    seconds_per_step: float | None
    reconstruction: float
    redatuming: float | None
    estimated: float | None
    state_from_nuisance: float | None
    nuisance_from_coherent: float | None
    state_from_coherent: float | None
    seconds: float | None = None

    @classmethod
    def from_text(cls, values: dict[str, str]) -> Self:
        """Return a row of a CSV file; older files have no estimates and no seconds."""
        read: dict[str, Any] = {
            name: float(text) if text else None
            for name, text in {"estimated": "", "seconds": "", **values}.items()
            if name != "model"
        }
        for name in ("seed", "parameters"):
            read[name] = None if read[name] is None else int(read[name])
        return cls(model=values["model"], **read)


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Rows of a comparison, one for each model and seed.

    Attributes:
        rows: In the order of the models.
    """

    rows: tuple[Row, ...]

    @property
    def models(self) -> list[str]:
        """Names of the models, in order."""
        return list(dict.fromkeys(row.model for row in self.rows))

    def values(self, model: str, column: str) -> list[Any]:
        """Return the measured values of a column for a model, one per seed."""
        found = (getattr(row, column) for row in self.rows if row.model == model)
        return [value for value in found if value is not None]

    def median(self, model: str, column: str) -> float | None:
        """Return the median over seeds, `None` if there is no value."""
        values = self.values(model, column)
        return float(np.median(values)) if values else None

    @property
    def leader(self) -> str | None:
        """The model with the lowest median redatuming error.

        Without ground truth, it is the model with the lowest estimate of this error.
        """
        known = self.errors()
        return min(known, key=lambda name: known[name]) if known else None

    def error(self, model: str) -> float | None:
        """Return the median error for the ranking.

        It is `None` if it is unknown or not finite, and for models in `not_estimable`.
        """
        if model in self.not_estimable:
            return None
        value = self.median(model, self.judged_by)
        return None if value is None or not math.isfinite(value) else value

    def errors(self) -> dict[str, float]:
        """Return the errors of all models that have one, see `error`."""
        errors = {name: self.error(name) for name in self.models}
        return {name: error for name, error in errors.items() if error is not None}

    @property
    def judged_by(self) -> str:
        """Column that models are ranked by: the estimate if the truth is unknown."""
        known = any(self.values(name, "redatuming") for name in self.models)
        return "redatuming" if known else "estimated"

    @property
    def not_estimable(self) -> list[str]:
        """Models without a rank, because only an estimate is known that may be wrong.

        Without ground truth, these are the models that hide the state in their nuisance
        codes, see `Contender.estimable`.
        """
        if self.judged_by == "redatuming":
            return []
        return [name for name in self.models if not CONTENDERS[name].estimable]

    def notes(self) -> list[str]:
        """Return a sentence for each model in `not_estimable`."""
        return [
            f"{CONTENDERS[name].title}: not ranked, because it hides the state in its "
            "nuisance codes, and the estimate can be too low."
            for name in self.not_estimable
        ]

    def table(self) -> tuple[list[str], list[list[str]]]:
        """Return headings, and one text row per model: median [lowest-highest]."""
        measured = [
            each for each in COLUMNS if any(self.values(m, each) for m in self.models)
        ]
        lines = [
            [
                CONTENDERS[name].title,
                *(shown(each, self.values(name, each)) for each in measured),
            ]
            for name in self.models
        ]
        return ["model", *(COLUMNS[each] for each in measured)], lines

    def to_markdown(self) -> str:
        """Return the table in Markdown."""
        headings, lines = self.table()
        rule = ["---", *("---:" for _ in headings[1:])]
        return "".join(f"| {' | '.join(each)} |\n" for each in (headings, rule, *lines))

    def to_csv(self) -> str:
        """Return median, lowest and highest of each column as CSV, a row per model."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        parts: dict[str, Any] = {
            "median": np.median,
            "lowest": np.min,
            "highest": np.max,
        }
        writer.writerow(
            ["model", "seeds", *(f"{c}_{part}" for c in COLUMNS for part in parts)]
        )
        for name in self.models:
            line: list[Any] = [name, sum(row.model == name for row in self.rows)]
            for column in COLUMNS:
                values = self.values(name, column)
                line += [f(values) if values else "" for f in parts.values()]
            writer.writerow(line)
        return text.getvalue()

    def plot(self) -> Figure | None:
        """Plot redatuming error against reconstruction error; `None` without values.

        Without ground truth, the estimate replaces the redatuming error. Both axes are
        logarithmic, and each point is a median over seeds.
        """
        judged_by = self.judged_by
        names = [m for m in self.models if self.values(m, judged_by)]
        if not names:
            return None
        from symae_keras.plotting import plot_trade_off

        # A log axis cannot show errors of 0, such as the reconstruction of the mean
        # swap.
        names = [m for m in names if (self.median(m, "reconstruction") or 0.0) > 1e-6]
        return plot_trade_off(
            [self.median(m, "reconstruction") for m in names],
            [self.median(m, judged_by) for m in names],
            [CONTENDERS[m].title for m in names],
            "reconstruction error / variance",
            f"{COLUMNS[judged_by]} / variance",
            groups=[CONTENDERS[m].family for m in names],
            log=True,
        )


def shown(column: str, values: Sequence[float]) -> str:
    """Return median [lowest-highest] of a column as text, "-" if there is no value.

    Example:
    >>> shown("redatuming", [0.1, 0.3, 0.2]), shown("parameters", [1200, 1200])
    ('0.2000 [0.1000-0.3000]', '1,200')
    """
    if not values:
        return "-"
    if column == "parameters":
        return f"{int(np.median(values)):,}"
    digits = "{:.4f}"
    if column == "seconds_per_step":
        digits = "{:#.2g}"
    if column == "seconds":
        digits = "{:.2f}"
    if "_from_" in column:
        digits = "{:.2f}"
    median, lowest, highest = (
        digits.format(f(values)) for f in (np.median, np.min, np.max)
    )
    return median if lowest == highest else f"{median} [{lowest}-{highest}]"


def data_digest(groups: GroupedData) -> str:
    """Return the SHA-256 of all parts of groups except their simulator.

    Example:
    >>> one = GroupedData(np.ones((2, 3, 4)))
    >>> other = GroupedData(np.ones((2, 3, 4)), weights=np.full(4, 0.5))
    >>> data_digest(one) == data_digest(GroupedData(np.ones((2, 3, 4))))
    True
    >>> data_digest(one) == data_digest(other)
    False
    """
    digest = hashlib.sha256()
    for field in dataclasses.fields(groups):
        if field.name == "render":
            continue  # a function; its results are hashed instead
        value = getattr(groups, field.name)
        arrays = value if isinstance(value, Mapping) else {"": value}
        for name in sorted(arrays):
            array = np.asarray(arrays[name])
            head = f"{field.name}/{name} {array.dtype.str} {array.shape}\n"
            digest.update(head.encode())
            if array.dtype.hasobject:
                digest.update(repr(array.tolist()).encode())
            else:
                digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


class Record:
    """Rows in memory, and on disk if there is a folder.

    Use it as a context manager: only one process at a time may write into the folder
    `out`, which is created if missing. `settings` are everything that the rows depend
    on, as JSON.
    """

    def __init__(
        self, out: str | PathLike[str] | None, settings: dict[str, Any]
    ) -> None:
        self.rows: dict[tuple[str, int], Row] = {}
        self.folder = None if out is None else Path(out)
        self._settings = settings
        self._lock = None if out is None else FolderLock(Path(out), Path(out))

    def __enter__(self) -> Self:
        """Read the folder, or create it."""
        if self.folder is None or self._lock is None:
            return self
        refuse_other_folder(self.folder)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock.acquire()
        except OSError as error:
            raise InputError(
                f"{self.folder} cannot be created: {error.strerror or error}."
            ) from None
        try:
            if (self.folder / _SETTINGS).is_file():
                self._read(self.folder)
            else:
                write_marker(self.folder, _KIND)
                write_json(self.folder / _SETTINGS, self._settings)
        except BaseException:
            self._lock.release()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        """Release the folder for other processes."""
        if self._lock is not None:
            self._lock.release()

    def _read(self, folder: Path) -> None:
        """Resume a comparison with the same settings."""
        try:
            there = dict(json.loads((folder / _SETTINGS).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError, RecursionError) as error:
            raise InputError(
                f"{folder / _SETTINGS} cannot be read: {one_line(error)}; choose "
                "another folder."
            ) from None
        for name, value in self._settings.items():
            if there.get(name) == value:
                continue
            what = f"another {name} ({there.get(name)}, not {value})"
            if name in ("train", "test"):
                what = f"other data ({name})"
            if name == "version":
                what = "settings of another version of symae_keras"
            raise InputError(
                f"{folder} contains a comparison with {what}, so it cannot be resumed; "
                "choose another folder."
            )
        if (folder / _ROWS).exists():
            with (folder / _ROWS).open(newline="", encoding="utf-8") as file:
                for values in csv.DictReader(file):
                    row = Row.from_text(values)
                    self.rows[row.model, row.seed] = row

    def add(self, row: Row) -> None:
        """Save a row."""
        self.rows[row.model, row.seed] = row
        if self.folder is None:
            return
        with (
            written_atomically(self.folder / _ROWS) as partial,
            partial.open("w", newline="", encoding="utf-8") as file,
        ):
            writer = csv.writer(file)
            writer.writerow(field.name for field in dataclasses.fields(Row))
            for each in self.rows.values():
                writer.writerow(dataclasses.astuple(each))

    def finish(self, result: Comparison) -> None:
        """Write the tables and the figure."""
        if self.folder is None:
            return
        for name, text in (
            ("comparison.md", result.to_markdown()),
            ("comparison.csv", result.to_csv()),
        ):
            with written_atomically(self.folder / name) as partial:
                partial.write_text(text, encoding="utf-8")
        try:
            figure = result.plot()
            if figure is not None:
                name = "redatuming_against_reconstruction.png"
                with written_atomically(self.folder / name) as partial:
                    figure.savefig(partial)
        # Matplotlib may raise any error; it must not prevent saving the rows.
        except Exception as error:
            _log.warning("no figure of the comparison: %s", one_line(error))


def refuse_other_folder(folder: Path, kind: str = "comparison") -> None:
    """Raise an error if the folder has other contents, or is in use by a process."""
    if not folder.is_dir():
        return
    FolderLock(folder, folder).check_free()
    begun = (read_marker(folder) or {}).get("made_from") == {"kind": kind}
    # Comparisons of version 0.1 have no marker file.
    begun |= kind == "comparison" and (folder / _SETTINGS).is_file()
    others = [each for each in os.listdir(folder) if not is_own(each)]
    if others and not begun:
        raise InputError(
            f"{folder} is not empty and contains no {kind} to resume; choose another "
            "folder."
        )
