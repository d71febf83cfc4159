"""Images whose rows are spectra in FITS files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from symae_keras.data.groups import GroupedData
from symae_keras.data.readers.assemble import (
    from_groups,
    from_rows,
    mask_missing,
    note_unused,
)
from symae_keras.data.readers.fits_axis import image_axis
from symae_keras.data.readers.fits_file import Unit
from symae_keras.data.readers.fits_table import ambiguous, group_ids, scalars
from symae_keras.data.readers.fits_values import image as pixels
from symae_keras.data.readers.sentences import find_group
from symae_keras.errors import InputError

_BESIDE = ("PIXEL_MASK", "IVAR", "WEIGHTS", "MASK")


def read_image(
    path: Path,
    image: Unit,
    images: Sequence[Unit],
    tables: Sequence[Unit],
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
    if len(image.shape) not in (2, 3):
        raise InputError(
            "the image must have the axes (groups, instances, pixels) or (rows, "
            f"pixels) in the order of NumPy; received shape {image.shape}."
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
    axis, axis_label = image_axis(image.header)
    if x.ndim == 3:
        if group is not None:
            raise InputError(
                f"an image (groups, instances, pixels) takes no column {group}; leave "
                "group= out."
            )
        note_unused(path, "tables", [table.label for table in tables])
        return from_groups(
            path,
            x,
            pixel_mask=pixel_mask,
            weights=weights,
            axis=axis,
            axis_label=axis_label,
        )
    wanted = ("group", "object") if group is None else (group,)
    found = [name for table in tables for name in table.hdu.columns.names]
    name = find_group(found, group, "table column", *wanted)
    table = next(table for table in tables if name in table.hdu.columns.names)
    note_unused(path, "tables", [each.label for each in tables if each is not table])
    return from_rows(
        path,
        x,
        group_ids(table, name),
        pixel_mask=pixel_mask,
        weights=weights,
        metadata=scalars(path, table, (name,)),
        axis=axis,
        axis_label=axis_label,
    )


def first_image(images: Sequence[Unit]) -> Unit | None:
    """The unit of the spectra: the first image that is not a mask or weights."""
    return next((image for image in images if image.name not in _BESIDE), None)
