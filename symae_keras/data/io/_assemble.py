"""Assembly of groups from the content of a file."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from symae_keras._utils.text import find_group, find_name, listed
from symae_keras._utils.untrusted_files import require, size
from symae_keras.data.grouping import gather_rows
from symae_keras.data.groups import Array, GroupedData, Parameters
from symae_keras.errors import InputError

_log = logging.getLogger("symae_keras")
#: Values that are checked at once.
_PART: Final = 1 << 24


def from_rows(
    path: Path,
    x: Array,
    group: Array,
    *,
    pixel_mask: Array | None = None,
    weights: Array | None = None,
    metadata: Parameters | None = None,
    axis: Array | None = None,
    axis_label: str = GroupedData.axis_label,
) -> GroupedData:
    """Group rows `(rows, *instance_shape)` with their masks, weights and metadata.

    Masks and weights have the shape of `x`, or one that broadcasts to it; metadata have
    one entry per row. The path is used in log messages.
    """
    _refuse_empty(x)

    def full(name: str, values: Array | None) -> Array | None:
        return None if values is None else _broadcast(name, values, x.shape)

    rows = gather_rows(
        x,
        group,
        pixel_mask=full("pixel_mask", pixel_mask),
        weights=full("weights", weights),
        metadata=metadata,
        axis=None if axis is None else checked_axis(axis),
        axis_label=axis_label,
    )
    _note_integers(path, x)
    return rows.load()


def from_groups(
    path: Path,
    x: Array,
    *,
    mask: Array | None = None,
    ids: Array | None = None,
    pixel_mask: Array | None = None,
    weights: Array | None = None,
    group_metadata: Parameters | None = None,
    instance_metadata: Parameters | None = None,
    axis: Array | None = None,
    axis_label: str = GroupedData.axis_label,
) -> GroupedData:
    """Return `GroupedData`, with the checks and log messages for files."""
    _refuse_empty(x)
    if x.dtype.kind != "f":
        require(4 * x.size, f"x, {x.dtype} to be converted to float32,")
    groups = GroupedData(
        x,
        mask=mask,
        ids=ids,
        pixel_mask=pixel_mask,
        weights=weights,
        group_metadata=group_metadata or {},
        instance_metadata=instance_metadata or {},
        axis=None if axis is None else checked_axis(axis),
        axis_label=axis_label,
    )
    empty = np.flatnonzero(~groups.present.any(axis=1))
    if len(empty):
        first = f"group {empty[0]}" if ids is None else f"the group {ids[empty[0]]}"
        raise InputError(
            f"{len(empty)} of {len(groups)} groups have no present instance, the first "
            f"is {first}; remove them or correct the mask."
        )
    _note_integers(path, x)
    return groups


def _note_integers(path: Path, x: Array) -> None:
    if x.dtype.kind != "f":
        _log.warning(
            "%s: x holds %s; converted to float32 without scaling.", path, x.dtype
        )


def checked_axis(
    axis: Array,
    names: Sequence[str] | None = None,
    remedy: str = "sort the pixels along it",
) -> Array:
    """Return the axis if it is finite, and strictly increases or decreases.

    Args:
        axis: Physical value of each pixel.
        names: The values as text, as in the file.
        remedy: Advice for an axis that is not sorted.
    """
    axis = np.asarray(axis)
    if axis.dtype.kind not in "uif" or not np.isfinite(axis).all():
        raise InputError(
            f"axis must contain finite real numbers; received dtype {axis.dtype}, "
            f"shape {axis.shape}."
        )
    if axis.ndim == 1 and len(axis) > 1:
        # Differences of unsigned integers would overflow.
        steps = np.sign(np.diff(axis.astype("float64")))
        wrong = np.flatnonzero((steps != steps[0]) | (steps == 0))
        if len(wrong):
            k = int(wrong[0])
            first, second = (names or [f"{value:g}" for value in axis])[k : k + 2]
            raise InputError(
                "axis must strictly increase or strictly decrease, but "
                f"{first} is followed by {second}; {remedy}."
            )
    return axis


def mask_missing(
    path: Path,
    x: Array,
    pixel_mask: Array | None,
    weights: Array | None,
    mask: Array | None = None,
) -> tuple[Array, Array | None, Array | None]:
    """Mask NaN as missing pixels, with zeros in `x` and in the weights.

    A pixel is missing where `x`, `pixel_mask` or `weights` are NaN, unless `mask` is 0
    for its instance. Masks and weights have the shape of `x`, or one that broadcasts to
    it. A memory map keeps its NaN in masked pixels, because replacing them would load
    it into memory.

    Returns:
        `x`, `pixel_mask` and `weights`; the mask is `None` if there is no mask and no
        pixel is missing.
    """
    missing = np.zeros((1,) * x.ndim, bool)
    for name, values in (("x", x), ("pixel_mask", pixel_mask), ("weights", weights)):
        if values is not None and _any_nan(values):
            require(2 * x.size, f"a mask of the missing values in {name}")
            missing = missing | _broadcast(name, np.isnan(np.asarray(values)), x.shape)
    if not missing.any():
        return x, pixel_mask, weights
    if not isinstance(x, np.memmap):
        x = _zeroed(x)
    good = np.asarray(True) if pixel_mask is None else _zeroed(pixel_mask)
    good = _broadcast("pixel_mask", good, x.shape)
    # NaN differs from 0, so NaN in the pixel mask is counted, too.
    counted = missing & (True if pixel_mask is None else pixel_mask != 0)
    if mask is not None and mask.shape == x.shape[:2]:
        counted &= (mask != 0).reshape(mask.shape + (1,) * (x.ndim - 2))
    if pixel_mask is not None or counted.any():
        # Not `astype(bool)`: values other than 0 and 1 are refused later.
        pixel_mask = np.where(missing, good.dtype.type(0), good)
    if counted.any():
        n = int(counted.sum())
        are = "value is" if n == 1 else "values are"
        _log.warning("%s: %d missing %s masked.", path, n, are)
    if weights is not None:
        weights = _broadcast("weights", weights, x.shape)
        weights = np.where(missing, weights.dtype.type(0), weights)
    return x, pixel_mask, weights


def _any_nan(values: Array) -> bool:
    """Search for NaN part by part, so that a memory map stays on disk."""
    if values.dtype.kind != "f":
        return False
    flat = values.ravel(order="K")
    parts = range(0, flat.size, _PART)
    return any(bool(np.isnan(flat[k : k + _PART]).any()) for k in parts)


def _zeroed(values: Array) -> Array:
    """Replace NaN by zeros; return the array itself if it has no NaN."""
    if not _any_nan(values):
        return values
    return np.where(np.isnan(values), values.dtype.type(0), values)


def native(values: Array) -> Array:
    """Return the same numbers in the byte order of this machine."""
    values = np.asarray(values)
    return values.astype(values.dtype.newbyteorder("="), copy=False)


def note_unused(path: Path, kind: str, names: Sequence[str]) -> None:
    """Log the parts of the file that are not read."""
    if names:
        _log.warning("%s: %s that are not used: %s.", path, kind, listed(names))


def _refuse_empty(x: Array) -> None:
    if x.size == 0:
        raise InputError(f"x is empty, shape {x.shape}.")


def _broadcast(name: str, values: Array, shape: tuple[int, ...]) -> Array:
    try:
        return np.broadcast_to(values, shape)
    except ValueError:
        raise InputError(
            f"{name} must have the shape of x, here {shape}, or one that broadcasts to "
            f"it; received {np.shape(values)}."
        ) from None


_KEYS: Final = ("x", "mask", "ids", "pixel_mask", "weights", "axis", "axis_label")


class Stored(NamedTuple):
    """Array of a file that is read when it is needed.

    Attributes:
        shape: Its shape.
        dtype: Its dtype; text of any length is `str`.
        n_bytes: Memory that reading takes.
        read: Function that reads the array.
        n_stored: Compressed size in the file, if it is compressed.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    n_bytes: int
    read: Callable[[], Array] = lambda: np.zeros(0)
    n_stored: int | None = None


def from_keys(
    path: Path, arrays: Mapping[str, Stored | str], group: str | None
) -> GroupedData:
    """Read groups from named arrays; other names become metadata.

    A text in place of an array is the reason why it cannot be read. If `group` is
    `None`, the key "group" holds the group of each row; without this key, `x` is
    already grouped.
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
    """Read an array if it fits into memory."""
    what = f"{name}, shape {array.shape} and dtype {array.dtype},"
    if array.n_stored is not None:
        what = f"{what[:-1]}, of which the file holds {size(array.n_stored)},"
    require(array.n_bytes, what)
    try:
        values = np.asanyarray(array.read())  # a memory map stays one
        if values.dtype.kind != "S":
            return values
        require(4 * array.n_bytes, what)  # a character takes four bytes
        return np.char.decode(values, "utf-8")
    except UnicodeDecodeError:
        raise InputError(f"{name} contains text that is not UTF-8.") from None


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
