"""Tables of spectra in FITS files."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from symae_keras.data.groups import Array, GroupedData
from symae_keras.data.readers.assemble import (
    from_rows,
    mask_missing,
    native,
    note_unused,
)
from symae_keras.data.readers.sentences import find_group, find_name
from symae_keras.errors import InputError

_AXIS: Final = ("wavelength", "lambda", "axis", "loglam")
_WEIGHTS: Final = ("ivar", "weights")


def read_rows(path: Path, table: Any, spectrum: str, group: str | None) -> GroupedData:
    """Groups from a table whose rows are spectra.

    Args:
        path: The file, for notes in the log.
        table: The unit of the file that is the table.
        spectrum: The column of spectra.
        group: The column of group ids; `None` looks for "group" and "object".

    Raises:
        InputError: A column is missing, or columns do not fit each other.
    """
    found = table.columns.names
    wrong = find_name(found, "mask")
    if wrong is not None:
        raise ambiguous(f"column {wrong}")
    group = find_group(found, group, "column", "group", "object")
    pixel_mask, weights, axis = (
        find_name(found, *wanted) for wanted in (("pixel_mask",), _WEIGHTS, _AXIS)
    )
    x = column(table, spectrum)
    if x.ndim < 2 and x.size:
        raise InputError(
            f"the column {spectrum} has one number a row; expected one spectrum a row."
        )
    x, good, weight = mask_missing(
        path,
        x,
        None if pixel_mask is None else column(table, pixel_mask),
        None if weights is None else column(table, weights),
    )
    used = (group, spectrum, pixel_mask, weights, axis)
    return from_rows(
        path,
        x,
        column(table, group),
        pixel_mask=good,
        weights=weight,
        metadata=scalars(path, table, used),
        axis=None if axis is None else _common(axis, column(table, axis)),
        axis_label=GroupedData.axis_label if axis is None else _label(table, axis),
    )


def column(table: Any, name: str) -> Array:
    """A column, as plain numbers or text.

    Raises:
        InputError: The rows of the column have unequal lengths.
    """
    values = np.asarray(table.data[name])
    if values.dtype.kind == "O":
        lengths = [len(value) for value in values]
        other = next((k for k, n in enumerate(lengths) if n != lengths[0]), None)
        if other is not None:
            raise InputError(
                f"mixed lengths: the column {name} has {lengths[0]} values in row 1, "
                f"but {lengths[other]} in row {other + 1}; resample all to one axis."
            )
        values = np.stack([np.asarray(value) for value in values])
    return np.char.strip(values) if values.dtype.kind in "SU" else native(values)


def scalars(path: Path, table: Any, used: Sequence[str | None]) -> dict[str, Array]:
    """The other columns, if they have one number or text a row."""
    found: dict[str, Array] = {}
    unused = []
    for name in table.columns.names:
        if name in used:
            continue
        values = np.asarray(table.data[name])
        if values.dtype.kind in "buifSU" and values.ndim == 1:
            found[name] = column(table, name)
        else:
            unused.append(name)
    note_unused(path, "columns", unused)
    return found


def _common(name: str, values: Array) -> Array:
    """The axis that all rows share."""
    if values.ndim != 2:
        raise InputError(
            f"the column {name} must have one axis a row; received shape "
            f"{values.shape}."
        )
    other = np.flatnonzero((values != values[0]).any(axis=1))
    if len(other):
        raise InputError(
            f"the column {name} differs between row 1 and row {other[0] + 1}; resample "
            "all spectra to one axis."
        )
    axis: Array = values[0]
    return 10.0**axis if name.casefold() == "loglam" else axis


def _label(table: Any, name: str) -> str:
    unit = str(table.columns[name].unit or "")
    if name.casefold() != "axis":
        # The unit of a logarithm is written "log(Angstrom)" or "log10(Angstrom)".
        unit = re.sub(r"^\s*log(?:10)?\s*\(?([^)]*)\)?\s*$", r"\1", unit)
        name = "wavelength"
    return with_unit(name, unit)


def with_unit(name: str, unit: str) -> str:
    """The label of an axis."""
    return f"{name} ({unit.strip()})" if unit.strip() else name


def ambiguous(name: str) -> InputError:
    """What to say about a mask by which some mean good pixels and some bad ones."""
    return InputError(
        f"the {name} means good pixels in some files and bad ones in others; rename it "
        "to pixel_mask, with 1 = good."
    )
