"""Arrays under names, as `.npz` and HDF5 files keep them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np

from symae_keras.data.groups import Array, GroupedData
from symae_keras.data.readers.assemble import from_groups, from_rows, note_unused
from symae_keras.data.readers.sentences import find_group, find_name, listed
from symae_keras.errors import InputError

_KEYS: Final = ("x", "mask", "ids", "pixel_mask", "weights", "axis", "axis_label")


def from_keys(
    path: Path, arrays: Mapping[str, Array | None], group: str | None
) -> GroupedData:
    """Groups from named arrays; names that are not known become metadata.

    Args:
        path: The file, for notes in the log.
        arrays: The arrays; `None` stands for what is there but is no array.
        group: The key that holds the group of each row; `None` looks for "group" and
            takes `x` for grouped if there is none.

    Raises:
        InputError: A key is missing, or the arrays do not fit each other.
    """
    found = {k: _decoded(v) for k, v in arrays.items() if v is not None}
    if "x" not in arrays:
        raise InputError(
            f"no key x, the instances; found {listed(arrays) or 'no keys'}."
        )
    wrong = find_name([k for k in arrays if k not in found], *_KEYS, group or "group")
    if wrong is not None:
        raise InputError(f"the key {wrong} holds no array of numbers or text.")
    others = [name for name in found if name not in _KEYS]
    key = find_name(others, "group")
    if group is not None:
        key = find_group(others, group, "key")
    x, axis_label = found["x"], _axis_label(found)
    rest = {name: found[name] for name in others if name != key}
    pixels = {name: found.get(name) for name in ("pixel_mask", "weights", "axis")}

    per_row = {k: v for k, v in rest.items() if _fits(v, x.shape[:1])}
    per_instance = {k: v for k, v in rest.items() if _fits(v, x.shape[:2])}
    unused = [k for k in arrays if k not in _KEYS and k not in per_row and k != key]
    note_unused(path, "keys", unused)
    if key is not None:
        for name in ("mask", "ids"):
            if name in found:
                raise InputError(
                    f"the key {name} belongs to grouped data and {key} to flat rows; "
                    "keep one."
                )
        return from_rows(
            path, x, found[key], metadata=per_row, axis_label=axis_label, **pixels
        )
    if x.ndim < 3 and x.size:
        raise InputError(
            "x must have the axes (groups, instances, *instance_shape), at least "
            f"three; received shape {x.shape}; flat rows need the key group in a .npz "
            "or HDF5 file."
        )
    return from_groups(
        path,
        x,
        mask=found.get("mask"),
        ids=found.get("ids"),
        group_metadata={k: v for k, v in per_row.items() if k not in per_instance},
        instance_metadata=per_instance,
        axis_label=axis_label,
        **pixels,
    )


def _fits(values: Array, leading: tuple[int, ...]) -> bool:
    """Whether an array has one entry for each row, group or instance."""
    return values.dtype.kind in "buifU" and values.shape[: len(leading)] == leading


def _decoded(values: Array) -> Array:
    values = np.asanyarray(values)  # a memory map stays one
    return np.char.decode(values, "utf-8") if values.dtype.kind == "S" else values


def _axis_label(arrays: Mapping[str, Array]) -> str:
    if "axis_label" not in arrays:
        return GroupedData.axis_label
    label = arrays["axis_label"]
    if label.dtype.kind != "U" or label.size != 1:
        raise InputError(
            f"axis_label must be one text; received dtype {label.dtype}, shape "
            f"{label.shape}."
        )
    return str(label.item())
