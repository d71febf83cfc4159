"""Conversion of groups from and to pandas tables, one row per instance."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from symae_keras._utils.text import listed
from symae_keras.data._arrays import Array, metadata, plain, real_numbers, row_names
from symae_keras.data._rows import sort_rows
from symae_keras.errors import InputError


def fields_of_frame(
    frame: Any, group: str, pixels: Sequence[Any] | None, axis_label: str | None
) -> dict[str, Any]:
    """Return the fields of `GroupedData`; see `GroupedData.from_pandas`."""
    if group not in frame.columns and group in frame.index.names:
        frame = frame.reset_index(level=group)
    known = [each for each in frame.columns if not _is_number(each)]
    if group not in known and group not in frame.columns:
        raise InputError(
            f"There is no column or index level {group!r}; there are "
            f"{listed([str(each) for each in known]) or 'only columns of pixels'}. Set "
            "group= to the column with the group of each row."
        )
    if frame.columns.has_duplicates:
        twice = frame.columns[frame.columns.duplicated()][0]
        raise InputError(f"Two columns have the name {twice!r}; rename one of them.")
    if pixels is None:
        pixels = [c for c in frame.columns if _is_number(c) and c != group]
    absent = [each for each in pixels if each not in frame.columns]
    if absent or not len(pixels):
        raise InputError(
            f"The table has no column {absent[0]!r}."
            if absent
            else "No column has a number as its name, such as the wavelength of a "
            "pixel; set pixels= to the names of the pixel columns."
        )
    if not len(frame):
        raise InputError("The table has no rows; give one row per instance.")
    x, missing = real_numbers("the columns of pixels", frame[list(pixels)])
    others = [c for c in frame.columns if c != group and c not in set(pixels)]
    ids = row_names(group, frame[group], "row", len(frame))
    rows = sort_rows(ids, {str(c): metadata(str(c), frame[c]) for c in others})
    axis = _axis(list(pixels))
    label = axis_label or frame.columns.name
    return {
        "x": rows.padded(x),
        "mask": None if rows.mask.all() else rows.mask,
        "ids": rows.ids,
        "pixel_mask": None if missing is None else rows.padded(~missing),
        "group_metadata": rows.group_metadata,
        "instance_metadata": rows.padded_metadata(),
        "axis": axis,
        **({} if label is None or axis is None else {"axis_label": str(label)}),
    }


def frame_of(groups: Any) -> Any:
    """Convert `GroupedData` to a table; see `GroupedData.to_pandas`."""
    if len(groups.instance_shape) != 1:
        raise InputError(
            "A table can only hold spectra of shape (pixels,); these instances have "
            f"the shape {groups.instance_shape}; use `to_xarray` instead."
        )
    ids = np.arange(len(groups)) if groups.ids is None else groups.ids
    columns = {"group": np.repeat(ids, groups.counts)}
    _add(columns, groups.group_metadata, 1, lambda v: np.repeat(v, groups.counts))
    _add(columns, groups.instance_metadata, 2, lambda v: v[groups.present])
    x = groups.x[groups.present]
    good = np.broadcast_to(groups.good_pixels, groups.x.shape)[groups.present]
    if not good.all():
        x = np.where(good, x, x.dtype.type(np.nan))
    pixels = pd.DataFrame(x, columns=groups.axis)
    frame = pd.concat([pd.DataFrame(columns), pixels], axis=1)
    if groups.axis is not None:
        frame.columns.name = groups.axis_label
    return frame


def _add(
    columns: dict[str, Array],
    known: Mapping[str, Array],
    axes: int,
    rows: Callable[[Array], Array],
) -> None:
    """Add the metadata with one value per row."""
    for key, values in known.items():
        if key in columns:
            raise InputError(
                f"Two columns would have the name {key!r}; rename one of them in "
                "group_metadata or instance_metadata."
            )
        if np.ndim(values) == axes:
            columns[key] = rows(np.asarray(values))


def _is_number(name: Any) -> bool:
    """Return whether a column name is a finite number, or text that is one."""
    if isinstance(name, bool | np.bool_ | tuple):
        return False
    try:
        return math.isfinite(float(name))
    except (TypeError, ValueError):
        return False


def _axis(names: Sequence[Any]) -> Array | None:
    """Return the numbers in pixel names, or `None` if they only count pixels."""
    if not all(_is_number(each) for each in names):
        return None
    axis, _ = plain("axis", [float(each) for each in names])
    if np.array_equal(axis, np.arange(len(axis))):
        return None
    steps = np.diff(axis)
    if not ((steps > 0).all() or (steps < 0).all()):
        place = int(np.argmax(steps * (axis[-1] - axis[0]) <= 0)) + 1
        raise InputError(
            "The columns of pixels must be sorted by their numbers, but "
            f"{names[place]!r} comes after {names[place - 1]!r}. Sort the columns, or "
            "rename those that are metadata."
        )
    return axis
