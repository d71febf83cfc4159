"""Strict reference readers for `fuzz.py`.

A reference reader uses the standard parser of a format, checks everything that the file
states twice (checksums, sizes, lengths of rows), and raises `Seen` if something does
not agree. If it reads a mutated file without an objection, the file is a well-formed
file with other content, and no reader can detect the mutation.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from symae_keras.data import GroupedData

Array = npt.NDArray[Any]


class Seen(Exception):
    """Objection of a strict reader."""


def need(holds: Any, objection: str) -> None:
    """Raise `Seen` unless a condition holds."""
    if not holds:
        raise Seen(objection)


class Group(NamedTuple):
    """Present instances of a group; `name` is `None` if groups have no names."""

    name: str | None
    x: Array
    good: Array
    weights: Array | None


@dataclasses.dataclass
class Reading:
    """Content of a file: groups in the order of their names, and the axis."""

    groups: list[Group]
    axis: Array | None

    def __eq__(self, other: object) -> bool:
        """Compare all values except those of bad pixels."""
        return (
            isinstance(other, Reading)
            and len(self.groups) == len(other.groups)
            and _close(self.axis, other.axis)
            and all(map(_same, self.groups, other.groups))
        )


def _close(one: Array | None, other: Array | None) -> bool:
    if one is None or other is None:
        return one is other
    return one.shape == other.shape and np.allclose(one, other, rtol=1e-9, atol=0)


def _same(one: Group, other: Group) -> bool:
    if one.name != other.name or one.x.shape != other.x.shape:
        return False
    if not np.array_equal(one.good, other.good):
        return False
    if not np.array_equal(one.x[one.good], other.x[one.good], equal_nan=True):
        return False
    if one.weights is None or other.weights is None:
        return one.weights is other.weights
    # `GroupedData` stores weights in float32.
    here, there = one.weights.astype("float32"), other.weights.astype("float32")
    return np.array_equal(here[one.good], there[one.good])


def reading(data: GroupedData) -> Reading:
    """Convert the data that the package read."""
    good = np.broadcast_to(data.good_pixels, data.x.shape)
    weights = None
    if data.weights is not None:
        weights = np.broadcast_to(data.weights, data.x.shape)
    groups = []
    for n in range(len(data)):
        there = data.present[n]
        groups.append(
            Group(
                None if data.ids is None else _name(data.ids[n]),
                np.asarray(data.x[n][there]),
                good[n][there],
                None if weights is None else weights[n][there],
            )
        )
    axis = None if data.axis is None else np.asarray(data.axis)
    return Reading(sorted(groups, key=lambda each: each.name or ""), axis)


def _name(value: Any) -> str:
    return str(value).strip("\x00 ")


def from_rows(
    names: Sequence[Any],
    x: Array,
    good: Array | None = None,
    weights: Array | None = None,
    axis: Array | None = None,
) -> Reading:
    """Convert flat rows to groups."""
    need(len(names) == len(x) and x.size, "rows without names, or no rows")
    good = ~np.isnan(x) if good is None else good.astype(bool) & ~np.isnan(x)
    if weights is not None:
        need(weights.shape == x.shape, "weights of another shape")
        need((np.where(good, weights, 0) >= 0).all(), "negative weights")
        good = good & (weights > 0)
    named = np.array([_name(name) for name in names])
    groups = [
        Group(
            str(name),
            x[named == name],
            good[named == name],
            None if weights is None else weights[named == name],
        )
        for name in np.unique(named)
    ]
    return Reading(groups, _monotonic(axis, x.shape[1]))


def from_keys(arrays: dict[str, Array]) -> Reading:
    """Convert named arrays to groups."""
    need("x" in arrays and arrays["x"].ndim >= 2, "x is missing")
    x = arrays["x"]
    need(x.dtype.kind in "buif" and x.size, "x is not numeric")
    x = x if x.dtype.kind == "f" else x.astype("float32")
    pixel_mask, weights = arrays.get("pixel_mask"), arrays.get("weights")
    if pixel_mask is not None:
        need(np.isin(pixel_mask, (0, 1)).all(), "pixel_mask is neither 0 nor 1")
        pixel_mask = np.broadcast_to(pixel_mask, x.shape).astype(bool)
    if "group" in arrays:
        names = arrays["group"]
        need(names.ndim == 1 and "mask" not in arrays, "group and mask")
        return from_rows(list(names), x, pixel_mask, weights, arrays.get("axis"))
    need(x.ndim >= 3, "x has too few axes")
    mask = arrays.get("mask", np.ones(x.shape[:2], bool))
    need(mask.shape == x.shape[:2] and np.isin(mask, (0, 1)).all(), "mask")
    ids = arrays.get("ids")
    need(ids is None or ids.shape == x.shape[:1], "ids")
    need(ids is None or ids.dtype.kind in "iufUS", "ids have another type")
    weights = None if weights is None else np.broadcast_to(weights, x.shape)
    data = GroupedData(
        x, mask=mask.astype(bool), ids=ids, pixel_mask=pixel_mask, weights=weights
    )
    found = reading(data)
    found.axis = _monotonic(arrays.get("axis"), x.shape[2])
    return found


def _monotonic(axis: Array | None, size: int) -> Array | None:
    if axis is not None:
        need(axis.shape == (size,) and np.isfinite(axis).all(), "length of the axis")
        steps = np.sign(np.diff(axis.astype("float64")))
        need((steps == steps[:1]).all() and (steps != 0).all(), "axis not monotonic")
    return axis


def stacked(names: list[str], spectra: Sequence[tuple[Array, ...]]) -> Reading:
    """Convert spectra from separate files: axis, values and optional weights."""
    need(spectra, "no spectra")
    axis = spectra[0][0]
    for each in spectra:
        need(len(each) == len(spectra[0]), "weights in some files only")
        need(np.array_equal(each[0], axis), "axes differ")
    for name in names:
        need(re.fullmatch(r".+[_-][^_-]*", name), f"{name} does not name a group")
    groups = [re.split(r"[_-][^_-]*$", name)[0] for name in names]
    weights = np.stack([each[2] for each in spectra]) if len(spectra[0]) > 2 else None
    x = np.stack([each[1] for each in spectra])
    good = None
    if weights is not None:
        good = np.isfinite(weights)
        weights = np.where(good & ~np.isnan(x), weights, 0)
    return from_rows(groups, x, good, weights, axis)
