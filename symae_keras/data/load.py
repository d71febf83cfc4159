"""Reader of grouped data from files."""

from __future__ import annotations

import logging
import os
from os import PathLike
from pathlib import Path
from typing import Final

import numpy as np

from symae_keras.data.grouping import group_by
from symae_keras.data.groups import Array, GroupedData
from symae_keras.errors import InputError

_log = logging.getLogger("symae_keras")

_SUFFIXES: Final = (".npz", ".npy")
_KEYS: Final = ("x", "mask", "group", "axis", "axis_label")


def load(path: str | PathLike[str]) -> GroupedData:
    """Read groups from a `.npz` or `.npy` file.

    An `.npz` file holds either `x (groups, instances, *instance_shape)` and, if
    instances are missing, `mask (groups, instances)` with True = present; or flat rows
    `x (rows, *instance_shape)` and `group (rows,)`, the id of each row. Both may add
    `axis (pixels,)`, the physical value of each pixel, and `axis_label`, its name and
    unit. An `.npy` file holds `x` alone, with its groups.

    Integers are converted to float32 without scaling. That, and keys that are not used,
    are reported as warnings of the logger `"symae_keras"`.

    Args:
        path: The file.

    Returns:
        `GroupedData`. Values are as they are in the file; `check` looks at them.

    Raises:
        InputError: The file cannot be used; the sentence names it and says why.

    Example:
    >>> import pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "my.npz"
    >>> np.savez(path, x=np.ones((5, 64)), group=["b", "a", "b", "b", "a"])
    >>> load(path).x.shape
    (2, 3, 64)
    """
    path = Path(path)
    if os.path.isdir(path):
        raise InputError(f"{path} is a folder; expected a .npz or .npy file.")
    if not os.path.exists(path):
        raise InputError(f"{path} does not exist, or is in a folder closed to you.")
    if path.suffix.lower() not in _SUFFIXES:
        raise InputError(
            f"{path} has the suffix {path.suffix or '(none)'}; supported are .npz with "
            "the keys x[, mask] or x and group, and .npy with a grouped array."
        )
    arrays = _read(path)
    try:
        return _assemble(path, arrays)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def _read(path: Path) -> dict[str, Array]:
    """All arrays of the file that `load` knows, by key."""
    try:
        with path.open("rb") as file:
            if file.read(2) not in (b"\x93N", b"PK"):
                raise ValueError("it does not start like a NumPy file")
            file.seek(0)
            content = np.load(file, allow_pickle=False)
            if not isinstance(content, np.lib.npyio.NpzFile):
                return {"x": content}
            with content:
                keys = content.files
                arrays = {key: content[key] for key in keys if key in _KEYS}
    # Damaged files raise whatever the parser trips over: at least a dozen classes.
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        if "allow_pickle" in reason:
            raise InputError(
                f"{path} holds pickled Python objects, which are refused because they "
                "can run code; save plain numeric arrays."
            ) from None
        raise InputError(f"{path} cannot be read: {reason.rstrip('.')}.") from None
    if "x" not in arrays:
        raise InputError(
            f"{path} has no key x, the instances; found {', '.join(keys) or 'no keys'}."
        )
    ignored = [key for key in keys if key not in _KEYS]
    if ignored:
        _log.warning("%s: keys that are not used: %s.", path, ", ".join(ignored))
    return arrays


def _assemble(path: Path, arrays: dict[str, Array]) -> GroupedData:
    x = np.asarray(arrays["x"])
    if x.size == 0:
        raise InputError(f"x is empty, shape {x.shape}.")
    if "group" in arrays:
        if "mask" in arrays:
            raise InputError(
                "the key mask belongs to grouped data and group to flat rows; keep one."
            )
        groups = group_by(x, arrays["group"])
        x, mask, ids = groups.x, groups.mask, groups.ids
    else:
        if x.ndim < 3:
            raise InputError(
                "x must have the axes (groups, instances, *instance_shape), at least "
                f"three; received shape {x.shape}; flat rows need the key group in a "
                ".npz file."
            )
        mask, ids = arrays.get("mask"), None
    groups = GroupedData(
        x,
        mask=mask,
        ids=ids,
        axis=_axis(arrays),
        axis_label=_axis_label(arrays),
    )
    empty = np.flatnonzero(~groups.present.any(axis=1))
    if len(empty):
        raise InputError(
            f"{len(empty)} of {len(groups)} groups have no present instance, the first "
            f"is group {empty[0]}; leave them out or correct the mask."
        )
    if arrays["x"].dtype.kind != "f":
        _log.warning(
            "%s: x holds %s; converted to float32 without scaling.",
            path,
            arrays["x"].dtype,
        )
    return groups


def _axis(arrays: dict[str, Array]) -> Array | None:
    if "axis" not in arrays:
        return None
    axis = np.asarray(arrays["axis"])
    if axis.dtype.kind not in "uif" or not np.isfinite(axis).all():
        raise InputError(
            f"axis must hold finite real numbers; received dtype {axis.dtype}, "
            f"shape {axis.shape}."
        )
    return axis


def _axis_label(arrays: dict[str, Array]) -> str:
    if "axis_label" not in arrays:
        return GroupedData.axis_label
    label = np.asarray(arrays["axis_label"])
    if label.dtype.kind != "U" or label.size != 1:
        raise InputError(
            f"axis_label must be one text; received dtype {label.dtype}, shape "
            f"{label.shape}."
        )
    return str(label.item())
