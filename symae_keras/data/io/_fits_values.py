"""Conversion of FITS values and axes."""

from __future__ import annotations

import math
import re
from typing import Any, Final

import numpy as np

from symae_keras._utils.untrusted_files import require
from symae_keras.data.groups import Array, GroupedData
from symae_keras.data.io._assemble import native
from symae_keras.data.io._fits_file import Unit
from symae_keras.errors import InputError

_NUMBERS: Final = ("CRVAL1", "CRPIX1", "CDELT1", "PC1_1", "CD1_1")
#: Other keywords that non-linear axes depend on.
_BESIDE: Final = ("RESTFRQ", "RESTFREQ", "RESTWAV", "VELREF", "SPECSYS")
#: Types of spectral axes, including those of AIPS.
_SPECTRAL: Final = (
    *("FREQ", "ENER", "WAVN", "VRAD", "WAVE", "VOPT", "ZOPT", "AWAV", "VELO", "BETA"),
    *("FELO", "LAMB"),
)
_NAMES: Final = {
    "": "axis",
    "LINEAR": "axis",
    "WAVE": "wavelength",
    "AWAV": "wavelength in air",
}
_REMEDY: Final = "resample it, or keep it in a table"


def image_axis(header: Any) -> tuple[Array | None, str]:
    """Return the axis along the pixels, in the unit of the header, and its label."""
    kind = str(header.get("CTYPE1", "")).strip().upper()
    unit = str(header.get("CUNIT1", "")).strip()
    _refuse_other_axes(header, kind)
    given: dict[str, Any] = {
        key: _number(header, key) for key in _NUMBERS if key in header
    }
    if not given:
        return None, GroupedData.axis_label
    if "PC1_1" in given and "CD1_1" in given:
        raise InputError("its axis has both PC1_1 and CD1_1; delete the wrong one.")
    linear = "-" not in kind and not kind.startswith("MULTISPE")
    logarithmic = header.get("DC-FLAG", 0) == 1
    if not linear and (
        logarithmic or kind[:4] not in _SPECTRAL or kind.endswith("-TAB")
    ):
        raise InputError(
            f"its axis is not linear (CTYPE1 {kind}, DC-FLAG "
            f"{header.get('DC-FLAG', 'missing')}); {_REMEDY}."
        )
    if not linear:
        given |= {k: v for k, v in header.items() if re.match(r"PV1_\d+$", k)}
        given |= {key: header[key] for key in _BESIDE if key in header}
        given["CTYPE1"] = kind
        if not kind.endswith("-LOG"):  # the same in all units
            given["CUNIT1"] = unit
    axis = _world(given, int(header["NAXIS1"]), f"CTYPE1 {kind or 'missing'}")
    if logarithmic:
        with np.errstate(over="ignore"):  # an axis with infinity is refused later
            axis = 10.0**axis
    name = kind if linear else kind[:4]
    return axis, with_unit(_NAMES.get(name, name.lower()), unit)


def with_unit(name: str, unit: str) -> str:
    """Return the label of an axis."""
    return f"{name} ({unit.strip()})" if unit.strip() else name


def _world(given: dict[str, Any], count: int, kind: str) -> Array:
    """Compute the world coordinates of the pixels, in the unit of the header."""
    from astropy import units
    from astropy.io import fits
    from astropy.wcs import WCS

    try:
        wcs = WCS(fits.Header(given), naxis=1)
        axis: Array = wcs.wcs_pix2world(np.arange(1, count + 1)[:, None], 1)[:, 0]
        if given.get("CUNIT1"):  # astropy converts it to an SI unit
            axis = axis * wcs.wcs.cunit[0].to(units.Unit(given["CUNIT1"]))
    except Exception as error:  # wcslib raises a dozen classes
        lines = [line for line in str(error).splitlines() if "ERROR" not in line]
        reason = lines[0].rstrip(". ") if lines else type(error).__name__
        raise InputError(
            f"its axis ({kind}) cannot be computed: {reason}; correct the header, "
            f"{_REMEDY}."
        ) from None
    return axis


def _number(header: Any, key: str) -> float:
    value = header[key]
    if isinstance(value, (bool, str)) or not math.isfinite(value):
        raise InputError(f"{key} must be a number; the header gives {value!r}.")
    return float(value)


def _refuse_other_axes(header: Any, kind: str) -> None:
    """Refuse an axis that differs between rows, or is not axis 1."""
    for n in range(1, int(header["NAXIS"]) + 1):
        other = str(header.get(f"CTYPE{n}", "")).strip().upper()
        if other[:4] in _SPECTRAL and kind[:4] not in _SPECTRAL:
            raise InputError(
                f"its axis {n} is the spectral axis (CTYPE{n} {other}), but pixels "
                f"must be along axis 1 (CTYPE1 {kind or 'missing'}); transpose the "
                "image."
            )
        mixed = [f"CROTA{n}"] if n == 1 or header[f"NAXIS{n}"] > 1 else []
        if n > 1 and header[f"NAXIS{n}"] > 1:
            mixed += [f"PC1_{n}", f"CD1_{n}"]
        for key in mixed:
            if key in header and _number(header, key):
                raise InputError(
                    f"its axis differs between rows, since {key} is {header[key]}; "
                    "resample all spectra to one axis."
                )


_TYPES: Final = {
    **{"L": "u1", "B": "u1", "I": ">i2", "J": ">i4", "K": ">i8", "A": "S1"},
    **{"E": ">f4", "D": ">f8", "C": ">c8", "M": ">c16"},
}
_TRUE, _FALSE, _NULL = b"TF\0"
_BEYOND: Final = "beyond the end of its table; the file is damaged"


def image(unit: Unit) -> Array:
    """Return the pixels of an image; blank pixels are NaN."""
    keys = ("BSCALE", "BZERO", "BLANK")
    return _scaled(unit.pixels(), *(unit.header.get(key) for key in keys))


def has_one_value(table: Unit, name: str) -> bool:
    """Return whether each row of a column has a single real number or text."""
    if table.is_ascii:
        return True
    repeat, kind, _ = _format(table, name)
    one = table.rows.dtype[name].shape == () if kind != "X" else repeat == 1
    return one and kind not in "CMPQ"


def column(table: Unit, name: str) -> Array:
    """Return a column as text or as numbers; null values are NaN."""
    number = table.hdu.columns.names.index(name) + 1
    keys = ("TSCAL", "TZERO", "TNULL")
    scale, zero, null = (table.header.get(f"{key}{number}") for key in keys)
    if table.is_ascii:
        values, null = _printed(table, name, null), None
    else:
        repeat, kind, item = _format(table, name)
        if kind == "X":
            return _bits(table.rows[name], repeat)
        values = table.rows[name]
        if kind in "PQ":
            values, kind = _of_heap(table, name, values, item), item
        if kind == "L":
            return _logical(name, values)
    if values.dtype.kind == "S":
        return _text(name, values)
    return _scaled(values, scale, zero, null)


def _format(table: Unit, name: str) -> tuple[int, str, str]:
    """Return the repeat count and type of a column, and the type in the heap."""
    form = str(table.hdu.columns[name].format)
    match = re.match(r"(\d*)([A-Z])([A-Z]?)", form)
    if match is None:
        raise InputError(f"the column {name} has the unknown format {form}.")
    return int(match[1] or 1), match[2], match[3]


def _scaled(raw: Array, scale: Any, zero: Any, null: Any) -> Array:
    """Compute physical values; null integers become NaN."""
    scale, zero = 1 if scale is None else scale, 0 if zero is None else zero
    for each in (scale, zero, null or 0):
        if not isinstance(each, (int, float)) or not math.isfinite(each):
            raise InputError(
                f"a scale, an offset or a null value is {each!r}; expected a number."
            )
    values, kind = native(raw), raw.dtype.kind
    half = 1 << (8 * raw.dtype.itemsize - 1)
    if (scale, zero) != (1, 0):
        if kind == "i" and (scale, zero) == (1, half):
            # This is the only way to write unsigned integers in FITS.
            unsigned = values.view(f"u{raw.dtype.itemsize}")
            values = unsigned ^ unsigned.dtype.type(half)
        elif raw.dtype == np.uint8 and (scale, zero) == (1, -half):
            values = (values ^ np.uint8(half)).view("int8")
        else:
            wide = "complex128" if kind == "c" else "float64"
            values = values.astype(wide) * float(scale) + float(zero)
    if null is not None and kind in "iu" and (missing := raw == null).any():
        values = np.where(missing, np.nan, values.astype("float64"))
    return values


def _logical(name: str, raw: Array) -> Array:
    """Convert T and F to bools, or to numbers if there are nulls, which become NaN."""
    raw = raw.view("u1")
    wrong = raw[~np.isin(raw, (_TRUE, _FALSE, _NULL))]
    if wrong.size:
        raise InputError(
            f"the logical column {name} (T or F) has the byte {wrong[0]}; write the "
            "column again."
        )
    values: Array = raw == _TRUE
    missing = raw == _NULL
    return np.where(missing, np.nan, values) if missing.any() else values


def _bits(raw: Array, count: int) -> Array:
    bits = np.unpackbits(raw.reshape(len(raw), -1), axis=1)[:, :count].astype(bool)
    return bits[:, 0] if count == 1 else bits


def _text(name: str, raw: Array) -> Array:
    """Decode text up to the first zero byte, and strip outer spaces."""
    stored = np.array(raw, order="C")
    letters = stored.view("u1").reshape(*raw.shape, raw.itemsize)
    letters[np.logical_or.accumulate(letters == 0, axis=-1)] = 0
    try:
        return np.char.strip(np.char.decode(stored, "utf-8"))
    except UnicodeDecodeError:
        raise InputError(f"the column {name} has text that is not UTF-8.") from None


def _printed(table: Unit, name: str, null: Any) -> Array:
    """Convert a column of an ASCII table."""
    raw = table.rows[name]
    form = str(table.hdu.columns[name].format)
    if form.startswith("A"):
        return raw
    text = _text(name, raw)
    missing = (text == "") | (text == str(null).strip())
    values = np.where(missing, "nan", np.char.replace(np.char.upper(text), "D", "E"))
    whole = form.startswith("I") and not missing.any()
    return values.astype("int64" if whole else "float64")


def _of_heap(table: Unit, name: str, places: Array, item: str) -> Array:
    """Read rows that are stored after the table; all must have the same length.

    `places` has the length and the position of each row; `item` is the type of its
    values.
    """
    if item not in _TYPES:
        raise InputError(
            f"the column {name} has rows of bits, which are not supported."
        )
    dtype, heap = np.dtype(_TYPES[item]), table.heap
    lengths, starts = places[:, 0].astype("int64"), places[:, 1].astype("int64")
    size = len(heap) // dtype.itemsize
    if (lengths < 0).any() or (lengths > size).any() or (starts < 0).any():
        raise InputError(f"the column {name} refers to values {_BEYOND}.")
    longest = int(lengths.max(initial=0))
    require(2 * len(places) * longest * dtype.itemsize, f"the column {name}")
    if item != "A" and (other := np.flatnonzero(lengths != lengths[:1])).size:
        k = int(other[0])
        raise InputError(
            f"mixed lengths: the column {name} has {lengths[0]} values in row 1, but "
            f"{lengths[k]} in row {k + 1}; resample all to one axis."
        )
    if item == "A":
        dtype = np.dtype(f"S{max(longest, 1)}")
        return np.array(
            [heap[a : a + n] for a, n in zip(starts, lengths, strict=True)], dtype
        )
    try:
        rows = [
            np.frombuffer(heap, dtype, n, a)
            for a, n in zip(starts.tolist(), lengths.tolist(), strict=True)
        ]
    except ValueError:
        raise InputError(f"the column {name} refers to values {_BEYOND}.") from None
    return np.stack(rows) if rows else np.zeros((0, 0), dtype)
