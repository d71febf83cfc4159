"""Images whose rows are spectra in FITS files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from symae_keras.data.groups import Array, GroupedData
from symae_keras.data.readers.assemble import (
    from_groups,
    from_rows,
    mask_missing,
    native,
    note_unused,
)
from symae_keras.data.readers.fits_table import ambiguous, column, scalars, with_unit
from symae_keras.data.readers.sentences import find_group
from symae_keras.errors import InputError


def read_image(
    path: Path,
    image: Any,
    images: Sequence[Any],
    tables: Sequence[Any],
    group: str | None,
) -> GroupedData:
    """Groups from an image (groups, instances, pixels), or (rows, pixels) with a table.

    Args:
        path: The file, for notes in the log.
        image: The unit of the file that holds the spectra.
        images: All units that hold images.
        tables: All units that hold tables.
        group: The table column of group ids; `None` looks for "group" and "object".

    Raises:
        InputError: The group ids are missing, or images do not fit each other.
    """
    x = native(image.data)
    if x.ndim not in (2, 3):
        raise InputError(
            "the image must have the axes (groups, instances, pixels) or (rows, "
            f"pixels) in the order of NumPy; received shape {x.shape}."
        )
    planes = {other.name: native(other.data) for other in images if other is not image}
    if "MASK" in planes:
        raise ambiguous("image MASK")
    pixel_mask = planes.pop("PIXEL_MASK", None)
    weights = planes.pop("IVAR", None)
    if weights is None:
        weights = planes.pop("WEIGHTS", None)
    note_unused(path, "images", [plane or "(no name)" for plane in planes])
    x, pixel_mask, weights = mask_missing(path, x, pixel_mask, weights)
    axis, axis_label = image_axis(image.header)
    if x.ndim == 3:
        if group is not None:
            raise InputError(
                f"an image (groups, instances, pixels) takes no column {group}; leave "
                "group= out."
            )
        return from_groups(
            path,
            x,
            pixel_mask=pixel_mask,
            weights=weights,
            axis=axis,
            axis_label=axis_label,
        )
    wanted = ("group", "object") if group is None else (group,)
    found = [name for table in tables for name in table.columns.names]
    name = find_group(found, group, "table column", *wanted)
    table = next(table for table in tables if name in table.columns.names)
    return from_rows(
        path,
        x,
        column(table, name),
        pixel_mask=pixel_mask,
        weights=weights,
        metadata=scalars(path, table, (name,)),
        axis=axis,
        axis_label=axis_label,
    )


def first_image(images: Sequence[Any]) -> Any:
    """The unit of the spectra: the first image that is not a mask or weights."""
    beside = ("PIXEL_MASK", "IVAR", "WEIGHTS", "MASK")
    return next((image for image in images if image.name not in beside), None)


def image_axis(header: Any) -> tuple[Array | None, str]:
    """The axis along the pixels from the linear world coordinates, and its label.

    Raises:
        InputError: The axis is not linear.
    """
    if "CRVAL1" not in header:
        return None, GroupedData.axis_label
    kind = str(header.get("CTYPE1", "")).strip().upper()
    if "-" in kind or header.get("DC-FLAG", 0) == 1:
        raise InputError(
            f"its axis is not linear (CTYPE1 {kind or 'missing'}, DC-FLAG "
            f"{header.get('DC-FLAG', 'missing')}); resample it, or keep it in a table."
        )
    step = float(header.get("CDELT1", header.get("CD1_1", 1.0)))
    pixels = np.arange(1, int(header["NAXIS1"]) + 1)
    # Where CRPIX1 is missing the standard has it 0.
    axis = float(header["CRVAL1"]) + step * (pixels - float(header.get("CRPIX1", 0.0)))
    name = {"": "axis", "LINEAR": "axis", "WAVE": "wavelength"}.get(kind, kind.lower())
    return axis, with_unit(name, str(header.get("CUNIT1", "")))
