"""Columns of metadata, which commands copy to their output files."""

from __future__ import annotations

import csv
import dataclasses
import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from symae_keras._utils.files import written_atomically
from symae_keras._utils.text import listed

if TYPE_CHECKING:
    from symae_keras.cli._run_folder import Run
    from symae_keras.data import GroupedData

_log = logging.getLogger("symae_keras")


def id_column(run: Run, file: Path, group: str | None) -> str:
    """Return the name of the column of group ids for a table made from a file.

    It is the name that the user gave for the file or for the data of the run. For a
    folder, the user gives a regular expression instead of a name.
    """
    name = group or run.config["data"].get("group")
    if name is None or file.is_dir() or name.casefold() == "instance":
        return "group"
    return str(name)


def without_unwritable(
    groups: GroupedData, table: bool, group: str = "group"
) -> GroupedData:
    """Return groups without metadata that `save` cannot write, and log their names."""
    from symae_keras.data.io.save import unwritable

    return without(groups, unwritable(groups, table, group))


def without(groups: GroupedData, taken: Iterable[str]) -> GroupedData:
    """Return groups without some metadata, and log the names of the removed columns.

    Args:
        groups: The groups.
        taken: Names with another meaning in the output; case is ignored.
    """
    folded = {name.casefold() for name in taken}
    kept: dict[str, Any] = {}
    left: set[str] = set()
    for field in ("group_metadata", "instance_metadata"):
        known = getattr(groups, field)
        # All outputs have a separate column for the names of instances.
        out = {k for k in known if k.casefold() in folded and k != "instance"}
        kept[field] = {k: v for k, v in known.items() if k not in out}
        left |= out
    if left:
        _log.warning(
            "not written, because the output has other columns with these names: %s",
            listed(sorted(left)),
        )
    return dataclasses.replace(groups, **kept)


def write_table(
    path: Path, headings: Sequence[str], rows: Iterable[Sequence[Any]]
) -> None:
    """Write a .csv file atomically; text that would run as a formula is escaped."""
    from symae_keras.data.io._cells import escaped

    with (
        written_atomically(path) as partial,
        partial.open("w", newline="", encoding="utf-8") as file,
    ):
        table = csv.writer(file)
        table.writerow(map(escaped, headings))
        table.writerows(map(escaped, row) for row in rows)
