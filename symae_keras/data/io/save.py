"""Writer of grouped data."""

from __future__ import annotations

import csv
import logging
from collections.abc import Iterator
from os import PathLike
from pathlib import Path
from typing import Any, Final

import numpy as np

from symae_keras._utils.files import write_arrays, written_atomically
from symae_keras.data.groups import Array, GroupedData
from symae_keras.data.io._assemble import checked_axis
from symae_keras.data.io._cells import escaped, is_missing, is_number
from symae_keras.data.io._lines import header_of
from symae_keras.data.io.table import long_columns, may_be_pixel
from symae_keras.errors import InputError

_log = logging.getLogger("symae_keras")

#: Suffixes that `save` supports.
SUFFIXES: Final = (".npz", ".csv")
_KEYS: Final = ("mask", "ids", "pixel_mask", "weights", "axis", "axis_label")


def save(groups: GroupedData, path: str | PathLike[str], group: str = "group") -> None:
    """Write groups into a file that `load` can read.

    An `.npz` file contains everything except the ground truth of simulators. A `.csv`
    file is a wide table of spectra: `group`, `instance`, metadata of groups and of
    instances, and one column per pixel; bad pixels are empty cells. Text that a
    spreadsheet program would run as a formula, such as "=1+1", gets a leading
    apostrophe, which `load` removes. The logger `"symae_keras"` warns about data that a
    table cannot hold, such as weights.

    Args:
        groups: The groups. Tables do not include absent instances.
        path: The file to write. An existing file is replaced in one step.
        group: Name of the column of a table that contains the group ids.

    Raises:
        InputError: The suffix is not supported, the groups for a `.csv` file are not
            spectra or have duplicate names of groups or instances, metadata have a name
            that is reserved in files, or the file cannot be written.

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
            "A table can only hold spectra of shape (pixels,); received instances of "
            f"shape {groups.instance_shape}; use the suffix .npz."
        )
    _refuse_names(unwritable(groups, table, group))
    if table:
        _refuse_table(groups)
        _note_left_out(path, groups)
    with written_atomically(path) as partial:
        if table:
            with partial.open("w", newline="", encoding="utf-8") as text:
                csv.writer(text).writerows(_rows(groups, group))
        else:
            with partial.open("wb") as stream:
                write_arrays(stream, _arrays(groups))


def _refuse_names(taken: list[str]) -> None:
    if taken:
        raise InputError(
            f"Metadata have the name {taken[0]!r}, which is reserved in files; rename "
            "them."
        )


def unwritable(groups: GroupedData, table: bool, group: str = "group") -> list[str]:
    """Return the names of metadata that `load` would interpret as something else."""
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
        or name in ("group", group, "instance")
        or is_number(name)
        or header_of([escaped(name)]) != [name]
        or may_be_pixel(name, values[there].astype(str).tolist())
    ]
    if long_columns(["instance", *columns]):
        taken.append("value")
    return twice + taken


def _refuse_table(groups: GroupedData) -> None:
    """Refuse groups that could be written into a table, but not be read again."""
    if groups.axis is not None:
        checked_axis(groups.axis)
    ids = group_names(groups)
    _refuse_double("groups", ids)
    named = zip(ids, instance_names(groups), groups.present, strict=True)
    for name, instances, present in named:
        _refuse_double(f"instances of group {name}", instances[present])


def _refuse_double(what: str, given: Array) -> None:
    """Refuse duplicate or missing names, which a table cannot represent."""
    names, counts = np.unique(given.astype(str), return_counts=True)
    if counts.max(initial=1) > 1:
        raise InputError(
            f"{counts.max()} {what} have the name {names[counts.argmax()]}, but names "
            "in a table must be unique; use the suffix .npz."
        )
    if any(map(is_missing, names.tolist())):
        raise InputError(
            f"One of the {what} has the name {str(min(names))!r}, which is read as a "
            "missing name from a table; use the suffix .npz."
        )


def _note_left_out(path: Path, groups: GroupedData) -> None:
    """Log the data that a table cannot hold."""
    held = ("instance", *table_columns(groups))
    left = [f"group metadata {k}" for k in groups.group_metadata if k not in held]
    left += [
        f"instance metadata {k}" for k in groups.instance_metadata if k not in held
    ]
    if groups.weights is not None and np.ptp(groups.weights[groups.weights > 0]) > 0:
        left.append("weights")
    if left:
        _log.warning(
            "%s: a table cannot hold %s; an .npz file can.", path, ", ".join(left)
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
    """Return the name of each instance, from the key that `load` reads."""
    places = np.indices(groups.x.shape[:2])[1]
    return np.asarray(groups.instance_metadata.get("instance", places))


def table_columns(groups: GroupedData) -> dict[str, Array]:
    """Return the metadata that a table can hold, except names of instances.

    Metadata of groups come first. All arrays have the shape `(groups, instances)`.
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


def _rows(groups: GroupedData, group: str) -> Iterator[list[Any]]:
    """Yield the lines of a wide table."""
    pixels = groups.instance_shape[0]
    axis: Array = np.arange(pixels) if groups.axis is None else np.asarray(groups.axis)
    # "1100" and not "1100.0", as in most tables that were read.
    if (np.abs(axis) < 2**53).all() and (axis == np.rint(axis)).all():
        axis = axis.astype("int64")
    known, ids = table_columns(groups), group_names(groups)
    instances = instance_names(groups)
    yield [escaped(group), "instance", *map(escaped, known), *map(repr, axis.tolist())]
    good = np.broadcast_to(groups.good_pixels, groups.x.shape)
    for n, t in np.argwhere(groups.present).tolist():
        cells = zip(groups.x[n, t].tolist(), good[n, t].tolist(), strict=True)
        text = [ids[n], instances[n, t], *(each[n, t] for each in known.values())]
        yield [
            *map(escaped, text),
            *(repr(value) if there else "" for value, there in cells),
        ]
