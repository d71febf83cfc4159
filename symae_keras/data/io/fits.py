"""Readers of FITS files: groups in tables and images, and single spectra."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from symae_keras._utils.text import find_group, find_name, listed
from symae_keras.data.groups import Array, GroupedData
from symae_keras.data.io._assemble import (
    from_groups,
    from_rows,
    mask_missing,
    note_unused,
)
from symae_keras.data.io._fits_file import Unit, opened
from symae_keras.data.io._fits_values import (
    column,
    has_one_value,
    image_axis,
    with_unit,
)
from symae_keras.data.io._fits_values import image as pixels
from symae_keras.errors import InputError

_AXIS: Final = ("wavelength", "lambda", "axis", "loglam")
_WEIGHTS: Final = ("ivar", "weights")


def read_rows(path: Path, table: Unit, spectrum: str, group: str | None) -> GroupedData:
    """Read groups from a table whose rows are spectra.

    Without a `group`, the group ids are in the column "group" or "object".
    """
    found = table.hdu.columns.names
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
            f"the column {spectrum} has one number per row; expected one spectrum per "
            "row."
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
        group_ids(table, group),
        pixel_mask=good,
        weights=weight,
        metadata=scalars(path, table, used),
        axis=None if axis is None else _common(axis, column(table, axis)),
        axis_label=GroupedData.axis_label if axis is None else _label(table, axis),
    )


def group_ids(table: Unit, name: str) -> Array:
    """Return the group of each row, and check that none is missing."""
    ids = column(table, name)
    # Only NaN differs from itself.
    empty = ids == "" if ids.dtype.kind == "U" else ids != ids
    if ids.ndim == 1 and empty.any():
        raise InputError(
            f"row {empty.argmax() + 1} of the column {name} is empty (null), but every "
            "row must belong to a group; fill it, or delete the row."
        )
    return ids


def scalars(path: Path, table: Unit, used: Sequence[str | None]) -> dict[str, Array]:
    """Return the other columns that have one number or text per row."""
    names = [name for name in table.hdu.columns.names if name not in used]
    found = [name for name in names if has_one_value(table, name)]
    note_unused(path, "columns", [name for name in names if name not in found])
    return {name: column(table, name) for name in found}


def _common(name: str, values: Array) -> Array:
    """Return the axis that all rows share."""
    if values.ndim != 2:
        raise InputError(
            f"the column {name} must have one axis per row; received shape "
            f"{values.shape}."
        )
    empty = np.isnan(values).any(axis=1) if values.dtype.kind == "f" else np.zeros(1)
    if empty.any():
        raise InputError(
            f"row {empty.argmax() + 1} of the column {name} has NaN or null, but every "
            "pixel must have an axis value."
        )
    other = np.flatnonzero((values != values[0]).any(axis=1))
    if len(other):
        raise InputError(
            f"the column {name} differs between row 1 and row {other[0] + 1}; resample "
            "all spectra to one axis."
        )
    axis: Array = values[0]
    return 10.0**axis if name.casefold() == "loglam" else axis


def _label(table: Unit, name: str) -> str:
    unit = str(table.hdu.columns[name].unit or "")
    if name.casefold() != "axis":
        # The unit of a logarithm is written "log(Angstrom)" or "log10(Angstrom)".
        unit = re.sub(r"^\s*log(?:10)?\s*\(?([^)]*)\)?\s*$", r"\1", unit)
        name = "wavelength"
    return with_unit(name, unit)


def ambiguous(name: str) -> InputError:
    """Return the error for a mask that can mark either good or bad pixels."""
    return InputError(
        f"the {name} is ambiguous, because it marks good pixels in some files and bad "
        "pixels in others; rename it to pixel_mask, with 1 = good."
    )


_BESIDE_IMAGES = ("PIXEL_MASK", "IVAR", "WEIGHTS", "MASK")


def read_image(
    path: Path,
    image: Unit,
    images: Sequence[Unit],
    tables: Sequence[Unit],
    group: str | None,
) -> GroupedData:
    """Read groups (groups, instances, pixels), or (rows, pixels) with a table.

    The arguments are the image of the spectra, and all images and tables of the file.
    """
    if len(image.shape) not in (2, 3):
        raise InputError(
            "the image must have the axes (groups, instances, pixels) or (rows, "
            f"pixels) in NumPy order; received shape {image.shape}."
        )
    planes: dict[str, Unit] = {}
    for other in images:
        planes.setdefault(other.name, other)
    if "MASK" in planes:
        raise ambiguous("image MASK")
    good = planes.get("PIXEL_MASK")
    weight = planes.get("IVAR", planes.get("WEIGHTS"))
    note_unused(
        path,
        "images",
        [each.label for each in images if each not in (image, good, weight)],
    )
    x, pixel_mask, weights = mask_missing(
        path,
        pixels(image),
        None if good is None else pixels(good),
        None if weight is None else pixels(weight),
    )
    axis, label = image_axis(image.header)
    beside: dict[str, Any] = {
        "pixel_mask": pixel_mask,
        "weights": weights,
        "axis": axis,
    }
    if x.ndim == 3:
        if group is not None:
            raise InputError(
                f"an image (groups, instances, pixels) must not have a column {group}; "
                "leave group= out."
            )
        note_unused(path, "tables", [table.label for table in tables])
        return from_groups(path, x, axis_label=label, **beside)
    wanted = ("group", "object") if group is None else (group,)
    found = [name for table in tables for name in table.hdu.columns.names]
    name = find_group(found, group, "table column", *wanted)
    table = next(table for table in tables if name in table.hdu.columns.names)
    note_unused(path, "tables", [each.label for each in tables if each is not table])
    ids, metadata = group_ids(table, name), scalars(path, table, (name,))
    return from_rows(path, x, ids, metadata=metadata, axis_label=label, **beside)


def first_image(images: Sequence[Unit]) -> Unit | None:
    """Return the first image that is not a mask or weights."""
    return next((image for image in images if image.name not in _BESIDE_IMAGES), None)


_SPECTRUM: Final = ("flux", "x", "spectrum", "value")


def read_fits(path: Path, group: str | None) -> GroupedData:
    """Read groups from the first table of spectra, or otherwise the first image."""
    with opened(path) as (tables, images):
        for table in tables:
            spectrum = find_name(table.hdu.columns.names, *_SPECTRUM)
            if spectrum is not None:
                others = [u.label for u in (*tables, *images) if u is not table]
                note_unused(path, "tables and images", others)
                return read_rows(path, table, spectrum, group)
        spectra = first_image(images)
        if spectra is not None:
            return read_image(path, spectra, images, tables, group)
        found = [name for table in tables for name in table.hdu.columns.names]
    raise InputError(
        f"no table with a column {', '.join(_SPECTRUM[:-1])} or {_SPECTRUM[-1]}, and "
        f"no image; found {'the columns ' + listed(found) if found else 'neither'}."
    )


def read_spectrum(path: Path) -> tuple[Array, Array | None, str]:
    """Return one spectrum, the first image of a file, with its axis and label."""
    with opened(path) as (tables, images):
        image = first_image(images)
        if image is None:
            raise InputError(
                "it contains no image; expected a 1-D image with the spectrum."
            )
        others = [u.label for u in (*tables, *images) if u is not image]
        note_unused(path, "tables and images", others)
        return pixels(image), *image_axis(image.header)
