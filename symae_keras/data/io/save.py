"""Writer of grouped data."""

from __future__ import annotations

import csv
import logging
from collections.abc import Iterator
from os import PathLike
from pathlib import Path
from typing import Any, Final

import numpy as np

from symae_keras._utils.files import written_aside
from symae_keras.data.groups import Array, GroupedData
from symae_keras.data.io._assemble import checked_axis
from symae_keras.data.io._cells import escaped, is_missing, is_number
from symae_keras.data.io._lines import header_of
from symae_keras.data.io.table import long_columns, may_be_pixel
from symae_keras.errors import InputError

_log = logging.getLogger("symae_keras")

#: What `save` writes.
SUFFIXES: Final = (".npz", ".csv")
_KEYS: Final = ("mask", "ids", "pixel_mask", "weights", "axis", "axis_label")


def save(groups: GroupedData, path: str | PathLike[str]) -> None:
    """Write groups into a file that `load` reads.

    An `.npz` file holds everything but the truth of simulators. A `.csv` file is a wide
    table of spectra: `group`, `instance`, metadata of groups and of instances, and a
    column a pixel; bad pixels are empty cells. Text that a spreadsheet program would
    run as a formula, such as "=1+1", gets an apostrophe in front, which `load` removes.
    What a table has no place for, such as weights, is reported as a warning of the
    logger `"symae_keras"`.

    Args:
        groups: The groups. Absent instances are left out of a table.
        path: The file to write; it is replaced in one step.

    Raises:
        InputError: The suffix is another, `.csv` is to hold other things than spectra
            or two groups or instances of one name, metadata are called what a file
            calls something else, or the file cannot be written.

    Example:
    >>> import tempfile
    >>> from symae_keras.data import load
    >>> path = Path(tempfile.mkdtemp()) / "my.csv"
    >>> save(GroupedData(np.ones((2, 3, 4)), axis=np.arange(4.0)), path)
    >>> load(path).x.shape
    (2, 3, 4)
    """
    path = Path(path)
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(
            f"{path} has the suffix {path.suffix or '(none)'}; give one of "
            f"{', '.join(SUFFIXES)}."
        )
    table = path.suffix.lower() == ".csv"
    if table and len(groups.instance_shape) != 1:
        raise InputError(
            f"A table holds spectra of the shape (pixels,); received instances of "
            f"shape {groups.instance_shape}, so give an .npz file."
        )
    _refuse_names(unwritable(groups, table))
    if table:
        _refuse_table(groups)
        _note_left_out(path, groups)
    with written_aside(path) as aside:
        if table:
            with aside.open("w", newline="", encoding="utf-8") as text:
                csv.writer(text).writerows(_rows(groups))
        else:
            with aside.open("wb") as stream:
                np.savez(stream, **_arrays(groups))


def _refuse_names(taken: list[str]) -> None:
    if taken:
        raise InputError(
            f"Metadata are called {taken[0]!r}, which stands for something else in a "
            "file; give them another name."
        )


def unwritable(groups: GroupedData, table: bool) -> list[str]:
    """Return the names of metadata that `load` would take for something else."""
    twice = [key for key in groups.group_metadata if key in groups.instance_metadata]
    if not table:
        known = [*groups.group_metadata, *groups.instance_metadata]
        taken = [k for k in known if k.lower() == "group" or k in ("x", *_KEYS)]
        return twice + taken
    columns = table_columns(groups)
    there = groups.present
    taken = [
        name
        for name, values in columns.items()
        if not name
        or name in ("group", "instance")
        or is_number(name)
        or header_of([escaped(name)]) != [name]
        or may_be_pixel(name, values[there].astype(str).tolist())
    ]
    if long_columns(["instance", *columns]):
        taken.append("value")
    return twice + taken


def _refuse_table(groups: GroupedData) -> None:
    """Refuse what could be written into a table, but not be read again."""
    if groups.axis is not None:
        checked_axis(groups.axis)
    ids = group_names(groups)
    _refuse_double("groups", ids)
    named = zip(ids, instance_names(groups), groups.present, strict=True)
    for name, instances, present in named:
        _refuse_double(f"instances of group {name}", instances[present])


def _refuse_double(what: str, given: Array) -> None:
    """Refuse names that a table could not hold apart."""
    names, counts = np.unique(given.astype(str), return_counts=True)
    if counts.max(initial=1) > 1:
        raise InputError(
            f"{counts.max()} {what} are called {names[counts.argmax()]}; a table "
            "tells them apart by their names, so give an .npz file."
        )
    if any(map(is_missing, names.tolist())):
        raise InputError(
            f"One of the {what} is called {str(min(names))!r}, which a table takes for "
            "a missing name; give an .npz file."
        )


def _note_left_out(path: Path, groups: GroupedData) -> None:
    """Say in the log what a table has no place for."""
    held = ("instance", *table_columns(groups))
    left = [f"group metadata {k}" for k in groups.group_metadata if k not in held]
    left += [
        f"instance metadata {k}" for k in groups.instance_metadata if k not in held
    ]
    if groups.weights is not None and np.ptp(groups.weights[groups.weights > 0]) > 0:
        left.append("weights")
    if left:
        _log.warning(
            "%s: a table has no place for %s; an .npz file has.", path, ", ".join(left)
        )


def _arrays(groups: GroupedData) -> dict[str, Any]:
    arrays: dict[str, Any] = {"x": groups.x}
    for name in _KEYS:
        value = getattr(groups, name)
        if value is not None:
            arrays[name] = value
    if groups.axis is None:
        del arrays["axis_label"]
    return {**groups.group_metadata, **groups.instance_metadata, **arrays}


def group_names(groups: GroupedData) -> Array:
    """Return the name of each group: its id, or its number."""
    return np.arange(len(groups)) if groups.ids is None else np.asarray(groups.ids)


def instance_names(groups: GroupedData) -> Array:
    """Return the name of each instance, from the key that `load` uses for it."""
    places = np.indices(groups.x.shape[:2])[1]
    return np.asarray(groups.instance_metadata.get("instance", places))


def table_columns(groups: GroupedData) -> dict[str, Array]:
    """Return the metadata that a table can hold, besides names of instances.

    Those of groups come first. All are arrays `(groups, instances)`.
    """
    shape = groups.x.shape[:2]
    columns = {
        key: np.broadcast_to(np.asarray(values)[:, None], shape)
        for key, values in groups.group_metadata.items()
        if np.ndim(values) == 1
    }
    return columns | {
        key: np.asarray(values)
        for key, values in groups.instance_metadata.items()
        if np.ndim(values) == 2 and key != "instance"
    }


def _rows(groups: GroupedData) -> Iterator[list[Any]]:
    """Lines of a wide table."""
    pixels = groups.instance_shape[0]
    axis: Array = np.arange(pixels) if groups.axis is None else np.asarray(groups.axis)
    known, ids = table_columns(groups), group_names(groups)
    instances = instance_names(groups)
    yield ["group", "instance", *map(escaped, known), *map(repr, axis.tolist())]
    good = np.broadcast_to(groups.good_pixels, groups.x.shape)
    for n, t in np.argwhere(groups.present).tolist():
        cells = zip(groups.x[n, t].tolist(), good[n, t].tolist(), strict=True)
        text = [ids[n], instances[n, t], *(each[n, t] for each in known.values())]
        yield [
            *map(escaped, text),
            *(repr(value) if there else "" for value, there in cells),
        ]
