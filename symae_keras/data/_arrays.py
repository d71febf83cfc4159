"""Conversion of masked arrays, tables and tensors to plain NumPy arrays."""

from __future__ import annotations

import numbers
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from symae_keras.errors import InputError

Array = npt.NDArray[Any]

#: Class names of missing values of pandas, so that pandas need not be installed.
_MISSING: Final = ("NAType", "NaTType")
#: Largest integer up to which float64 represents all integers exactly.
_LARGEST_INTEGER: Final = 2**53


def plain(name: str, values: Any) -> tuple[Array, Array | None]:
    """Convert masked arrays, tables, tensors and lists to a plain array.

    A value is missing if a masked array masks it, if it is `None` or the `NA` of
    pandas, or if it is NaN in an object with a method `to_numpy`, such as a pandas
    object. Missing values become 0 or "".

    Returns:
        The array (a memory map stays a memory map), and a boolean array of its shape
        that is True where a value is missing, or `None` if no value is missing.
    """
    if type(values) in (np.ndarray, np.memmap) and values.dtype.kind in "buifUM":
        return values, None
    try:
        array, missing = _of_objects(*_raw(values))
    except (ValueError, TypeError, RuntimeError) as error:
        raise InputError(
            f"{name} cannot be converted to an array: {error}; give a NumPy array."
        ) from None
    if not missing.any():
        return array, None
    missing = np.broadcast_to(missing, array.shape)
    if array.dtype.kind == "O":
        return array, missing
    return np.where(missing, np.zeros((), array.dtype), array), missing


def _raw(values: Any) -> tuple[Array, Array]:
    """Return an array of any kind, and bools that broadcast to it: True = missing."""
    missing: Array = np.zeros((), bool)
    if isinstance(values, (list, tuple)):
        if any(_nested(each) for each in values):
            parts = [_raw(each) for each in values]
            arrays = [array for array, _ in parts]
            masks = [np.broadcast_to(mask, array.shape) for array, mask in parts]
            return np.asarray(arrays), np.asarray(masks)
        array = np.asarray(values)
        if array.dtype.kind in "US":  # NumPy converted numbers and NaN to text
            array = np.asarray(values, object)
        return array, missing
    if hasattr(values, "detach"):  # a PyTorch tensor, on any device
        values = values.detach().cpu()
        values = values.float() if "bfloat16" in str(values.dtype) else values
    table = hasattr(values, "to_numpy")
    if table:
        values = values.to_numpy()
    if hasattr(values, "unmasked"):  # the masked quantities of astropy
        values = np.ma.array(np.asarray(values.unmasked), mask=np.asarray(values.mask))
    if isinstance(values, np.ma.MaskedArray):
        if values.mask is not np.ma.nomask:
            missing = np.ma.getmaskarray(values)
        values = values.data
    array = values if type(values) is np.memmap else np.asarray(values)
    if array.dtype.name == "bfloat16":
        array = array.astype("float32")
    if table and array.dtype.kind == "f":
        missing = missing | np.isnan(array)
    return array, missing


def _nested(value: Any) -> bool:
    """Return whether an element of a list must be converted separately."""
    known = isinstance(value, (list, tuple, np.ma.MaskedArray))
    return known or hasattr(value, "to_numpy") or hasattr(value, "detach")


def _of_objects(array: Array, missing: Array) -> tuple[Array, Array]:
    """Convert objects that are all numbers, or all text, to an array of that kind."""
    if array.dtype.kind == "S":
        return np.char.decode(array, "utf-8", "backslashreplace"), missing
    if array.dtype.kind == "T":  # StringDType, which may have missing values
        array = array.astype(object)
    if array.dtype.kind != "O":
        return array, missing
    none = np.frompyfunc(_is_missing, 1, 1)(array).astype(bool) | missing
    kinds = {_kind(each) for each in array[~none].flat}
    if len(kinds) > 1 or "" in kinds:
        return array, none
    kind = kinds.pop() if kinds else "number"
    if kind == "number":
        filled = np.where(none, 0, array)
        whole = all(isinstance(each, numbers.Integral) for each in filled.flat)
        return filled.astype("int64" if whole else "float64"), none
    if kind == "bytes":
        filled = np.where(none, b"", array).astype("S")
        return np.char.decode(filled, "utf-8", "backslashreplace"), none
    return np.where(none, "", array).astype(str), none


def _is_missing(value: Any) -> bool:
    if value is None or value is np.ma.masked or type(value).__name__ in _MISSING:
        return True
    return isinstance(value, (float, np.floating)) and bool(np.isnan(value))


def _kind(value: Any) -> str:
    if isinstance(value, str):
        return "text"
    if isinstance(value, bytes):
        return "bytes"
    return "number" if isinstance(value, (numbers.Number, np.bool_)) else ""


def real_numbers(name: str, values: Any) -> tuple[Array, Array | None]:
    """Convert to floats; see `plain`.

    Integers become float32 if it represents all of them exactly, otherwise float64.
    """
    array, missing = plain(name, values)
    _refuse_other_kinds(name, array)
    if array.dtype.kind == "f":
        return array, missing
    if array.dtype.itemsize < 4 or not array.size:
        return array.astype("float32"), missing
    largest = max(abs(int(array.min())), abs(int(array.max())))
    if largest > _LARGEST_INTEGER:
        raise InputError(
            f"{name} contains integers up to {largest}, but floats represent integers "
            f"above {_LARGEST_INTEGER} only approximately; subtract a common offset "
            "first."
        )
    return array.astype("float32" if largest <= 2**24 else "float64"), missing


def _refuse_other_kinds(name: str, array: Array) -> None:
    if array.dtype.kind not in "buif":
        raise InputError(
            f"{name} must hold real numbers; received dtype {array.dtype}"
            f"{_examples(array)}."
        )


def bools(name: str, values: Any, meaning: str) -> Array:
    """Convert True and False, or 1 and 0, to bools; missing values become False."""
    array, missing = plain(name, values)
    if array.dtype == bool:
        return array if missing is None else array & ~missing
    # astype(bool) alone would turn the text "False" and NaN into True.
    if array.dtype.kind not in "buif" or not np.isin(array, (0, 1)).all():
        raise InputError(
            f"{name} must hold True ({meaning}) and False, or 1 and 0; received "
            f"other values of dtype {array.dtype}{_examples(array)}."
        )
    return array.astype(bool)


def pixel_weights(values: Any) -> Array:
    """Convert weights to float32; missing values become 0."""
    array, _ = plain("weights", values)
    _refuse_other_kinds("weights", array)
    with np.errstate(over="ignore"):
        array = array.astype("float32", copy=False)
    if not (np.isfinite(array).all() and (array >= 0).all()):
        raise InputError(
            "weights must be finite in float32 and not negative; give bad pixels the "
            "weight 0."
        )
    return array


def row_names(argument: str, values: Any, row: str, rows: int) -> Array:
    """Convert the names of rows, such as ids or labels, to numbers or text."""
    array, missing = plain(argument, values)
    if array.shape != (rows,):
        raise InputError(
            f"{argument} must have one entry for each {row}, shape {(rows,)}; received "
            f"shape {array.shape}."
        )
    if missing is None and array.dtype.kind == "f":
        missing = np.isnan(array)
    elif missing is None and array.dtype.kind == "M":
        missing = np.isnat(array)
    if array.dtype.kind == "O" and not (missing is not None and missing.all()):
        raise InputError(
            f"{argument} must be all numbers or all text; received Python objects of "
            f"mixed kinds{_examples(array)}."
        )
    if missing is not None and missing.any():
        raise InputError(
            f"{argument}[{missing.argmax()}] is NaN or missing, but every {row} must "
            "have a value."
        )
    return array


def metadata(name: str, values: Any) -> Array:
    """Convert metadata to an array; missing values become NaN, or "" in text."""
    array, missing = plain(name, values)
    if missing is None or array.dtype.kind in "UO":
        return array
    if array.dtype.kind in "mM":
        return np.where(missing, array.dtype.type("NaT"), array)
    return np.where(missing, np.nan, array)


def _examples(array: Array) -> str:
    """List the first values of different classes for errors about objects and text."""
    if array.dtype.kind not in "OU":
        return ""
    first: dict[str, Any] = {}
    for each in array.reshape(-1).tolist():
        first.setdefault(type(each).__name__, each)
    found = [f"{repr(each)[:40]} ({kind})" for kind, each in list(first.items())[:3]]
    return f", such as {' and '.join(found)}" if found else ""
