"""Arrays under names, as `.npz` and HDF5 files keep them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from symae_keras.data.groups import Array, GroupedData
from symae_keras.data.readers.assemble import (
    from_groups,
    from_rows,
    mask_missing,
    note_unused,
)
from symae_keras.data.readers.memory import require, size
from symae_keras.data.readers.sentences import find_group, find_name, listed
from symae_keras.errors import InputError

_KEYS: Final = ("x", "mask", "ids", "pixel_mask", "weights", "axis", "axis_label")


class Stored(NamedTuple):
    """An array of a file, which is read when it is needed.

    Attributes:
        shape: Its shape.
        dtype: Its type; text of any length is `str`.
        n_bytes: How much memory reading it takes.
        read: Reads it.
        n_stored: How many bytes of the file it is, if they are compressed.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    n_bytes: int
    read: Callable[[], Array] = lambda: np.zeros(0)
    n_stored: int | None = None


def from_keys(
    path: Path, arrays: Mapping[str, Stored | str], group: str | None
) -> GroupedData:
    """Groups from named arrays; names that are not known become metadata.

    Args:
        path: The file, for notes in the log.
        arrays: The arrays, or texts that say why an array cannot be read.
        group: The key that holds the group of each row; `None` looks for "group" and
            takes `x` for grouped if there is none.

    Raises:
        InputError: A key is missing, or the arrays do not fit each other.
    """
    if "x" not in arrays:
        raise InputError(
            f"no key x, the instances; found {listed(arrays) or 'no keys'}."
        )
    stored = {k: v for k, v in arrays.items() if isinstance(v, Stored)}
    wrong = find_name([k for k in arrays if k not in stored], *_KEYS, group or "group")
    if wrong is not None:
        raise InputError(f"the key {wrong} {arrays[wrong]}.")
    others = [name for name in stored if name not in _KEYS]
    key = find_name(others, "group")
    if group is not None:
        key = find_group(others, group, "key")
    if key is not None:
        for name in ("mask", "ids"):
            if name in stored:
                raise InputError(
                    f"the key {name} belongs to grouped data and {key} to flat rows; "
                    "keep one."
                )
    shape = stored["x"].shape
    rest = [name for name in others if name != key]
    per_row = [name for name in rest if _fits(stored[name], shape[:1])]
    note_unused(
        path, "keys", [k for k in arrays if k not in (*_KEYS, *per_row) and k != key]
    )
    used: list[str] = [name for name in _KEYS if name in stored]
    used += [*per_row, *([] if key is None else [key])]
    require(
        sum(stored[name].n_bytes for name in used[1:]),
        "masks, ids, and metadata together",
    )
    found = {name: _read(name, stored[name]) for name in used}
    x, axis_label = found["x"], _axis_label(found)
    x, pixel_mask, weights = mask_missing(
        path, x, found.get("pixel_mask"), found.get("weights"), found.get("mask")
    )
    if key is not None:
        return from_rows(
            path,
            x,
            found[key],
            pixel_mask=pixel_mask,
            weights=weights,
            metadata={name: found[name] for name in per_row},
            axis=found.get("axis"),
            axis_label=axis_label,
        )
    if x.ndim < 3 and x.size:
        raise InputError(
            "x must have the axes (groups, instances, *instance_shape), at least "
            f"three; received shape {x.shape}; flat rows need the key group in a .npz "
            "or HDF5 file."
        )
    per_instance = [name for name in per_row if _fits(stored[name], shape[:2])]
    return from_groups(
        path,
        x,
        mask=found.get("mask"),
        ids=found.get("ids"),
        pixel_mask=pixel_mask,
        weights=weights,
        group_metadata={k: found[k] for k in per_row if k not in per_instance},
        instance_metadata={k: found[k] for k in per_instance},
        axis=found.get("axis"),
        axis_label=axis_label,
    )


def _fits(array: Stored, leading: tuple[int, ...]) -> bool:
    """Return whether an array has one entry for each row, group or instance."""
    return array.dtype.kind in "buifSU" and array.shape[: len(leading)] == leading


def _read(name: str, array: Stored) -> Array:
    """Read an array, if it fits into memory."""
    what = f"{name}, shape {array.shape} and dtype {array.dtype},"
    if array.n_stored is not None:
        what = f"{what[:-1]}, of which the file holds {size(array.n_stored)},"
    require(array.n_bytes, what)
    try:
        values = np.asanyarray(array.read())  # a memory map stays one
        if values.dtype.kind != "S":
            return values
        require(4 * array.n_bytes, what)  # a letter takes four bytes
        return np.char.decode(values, "utf-8")
    except UnicodeDecodeError:
        raise InputError(f"{name} holds text that is not UTF-8.") from None


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
