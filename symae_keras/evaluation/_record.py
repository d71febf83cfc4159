"""The folder of a comparison: its settings, and each row as soon as it is there."""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import json
import logging
import os
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import numpy as np

from symae_keras._utils.files import write_json, written_aside
from symae_keras._utils.lock import FolderLock
from symae_keras._utils.markers import is_own, read_marker, write_marker
from symae_keras._utils.text import one_line
from symae_keras.data.groups import GroupedData
from symae_keras.errors import InputError
from symae_keras.evaluation.comparison import Comparison, Row

_log = logging.getLogger("symae_keras")

SETTINGS: Final = "settings.json"
ROWS: Final = "rows.csv"
#: Of the settings. Version 1 did not record masks, weights and labels of the data.
VERSION: Final = 2
_KIND: Final = {"kind": "comparison"}


def data_digest(groups: GroupedData) -> str:
    """Return the SHA-256 of everything in groups but their simulator.

    Args:
        groups: The groups.

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
            continue  # a function; what it makes is there
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
    """Rows in memory and, where there is a folder, on disk.

    Use it as a context: one process at a time may write into the folder.

    Args:
        out: The folder; made if missing.
        settings: What the rows depend on, as JSON.

    Raises:
        InputError: The folder is in use, or holds something else.
    """

    def __init__(
        self, out: str | PathLike[str] | None, settings: dict[str, Any]
    ) -> None:
        self.rows: dict[tuple[str, int], Row] = {}
        self.folder = None if out is None else Path(out)
        self._settings = settings
        self._lock = None if out is None else FolderLock(Path(out), Path(out))

    def __enter__(self) -> Self:
        """Read the folder, or begin it."""
        if self.folder is None or self._lock is None:
            return self
        refuse_other_folder(self.folder)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock.acquire()
        except OSError as error:
            raise InputError(
                f"{self.folder} cannot be made: {error.strerror or error}."
            ) from None
        try:
            if (self.folder / SETTINGS).is_file():
                self._read(self.folder)
            else:
                write_marker(self.folder, _KIND)
                write_json(self.folder / SETTINGS, self._settings)
        except BaseException:
            self._lock.release()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Let others write into the folder."""
        if self._lock is not None:
            self._lock.release()

    def _read(self, folder: Path) -> None:
        """Resume a comparison of the same settings."""
        try:
            there = dict(json.loads((folder / SETTINGS).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError, RecursionError) as error:
            raise InputError(
                f"{folder / SETTINGS} cannot be read: {one_line(error)}; choose "
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
                f"{folder} holds a comparison with {what}, so it cannot be resumed; "
                "choose another folder."
            )
        if (folder / ROWS).exists():
            with (folder / ROWS).open(newline="", encoding="utf-8") as file:
                for values in csv.DictReader(file):
                    row = Row.from_text(values)
                    self.rows[row.model, row.seed] = row

    def add(self, row: Row) -> None:
        """Keep a row."""
        self.rows[row.model, row.seed] = row
        if self.folder is None:
            return
        with (
            written_aside(self.folder / ROWS) as aside,
            aside.open("w", newline="", encoding="utf-8") as file,
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
            with written_aside(self.folder / name) as aside:
                aside.write_text(text, encoding="utf-8")
        try:
            figure = result.plot()
            if figure is not None:
                name = "redatuming_against_reconstruction.png"
                with written_aside(self.folder / name) as aside:
                    figure.savefig(aside)
        # Matplotlib raises errors of any class; the rows are worth more.
        except Exception as error:
            _log.warning("no figure of the comparison: %s", one_line(error))


def refuse_other_folder(folder: Path) -> None:
    """Refuse a folder in use that is no comparison, or that another process fills.

    Raises:
        InputError: It is one of these.
    """
    if not folder.is_dir():
        return
    FolderLock(folder, folder).check_free()
    begun = (read_marker(folder) or {}).get("made_from") == _KIND
    others = [each for each in os.listdir(folder) if not is_own(each)]
    if others and not begun and not (folder / SETTINGS).is_file():
        raise InputError(
            f"{folder} is not empty and holds no comparison to resume; choose another "
            "folder."
        )
