"""Strict reference readers of FITS files."""

from __future__ import annotations

import gzip
import io
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from fuzz_reference import (
    Array,
    Reading,
    Seen,
    from_keys,
    from_rows,
    need,
    stacked,
)


def _units(content: bytes) -> list[Any]:
    """Read the units of a FITS file; each must be complete, with valid checksums."""
    from astropy.io import fits

    need(len(content) % 2880 == 0 and content, "size is no multiple of 2880")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            units = fits.open(
                io.BytesIO(content), memmap=False, lazy_load_hdus=False, checksum=True
            )
            end = 0
            for unit in units:
                unit.verify("exception")
                need(unit.fileinfo()["hdrLoc"] == end, "a gap between units")
                start = unit.fileinfo()["datLoc"]
                end = start + unit.fileinfo()["datSpan"]
                need(not any(content[start + unit.size : end]), "data after the data")
                twice = [
                    k for k, n in Counter(list(unit.header)).items() if n > 1 and k
                ]
                need(set(twice) <= {"COMMENT", "HISTORY"}, f"{twice} twice")
                unit.data  # noqa: B018  # read now, while warnings are errors
            need(end == len(content), "bytes after the last unit")
            return list(units)
    except Seen:
        raise
    except Exception as error:
        raise Seen(str(error)) from None


def _content(path: Path) -> bytes:
    content = path.read_bytes()
    if path.suffix != ".gz":
        return content
    try:
        return gzip.decompress(content)
    except Exception as error:
        raise Seen(str(error)) from None


def _linear_axis(header: Any, size: int) -> Array | None:
    keys = ("CRVAL1", "CDELT1", "CRPIX1", "CTYPE1", "CUNIT1", "CD1_1", "PC1_1")
    if not any(key in header for key in keys):
        return None
    kind = str(header.get("CTYPE1", ""))
    need(kind in ("", "WAVE", "LINEAR"), f"CTYPE1 is {kind}")
    try:
        step, first, at = (
            float(header.get(key, default))
            for key, default in (("CDELT1", 1), ("CRVAL1", 0), ("CRPIX1", 0))
        )
    except (TypeError, ValueError) as error:
        raise Seen(str(error)) from None
    need(step != 0, "CDELT1 is 0")
    return first + step * (np.arange(1, size + 1) - at)


def _native(values: Array) -> Array:
    return np.asarray(values).astype(values.dtype.newbyteorder("="))


def _spelled(table: Any, wanted: str) -> str:
    """Return a column as it is written in the file."""
    return str(next(n for n in table.columns.names if n.casefold() == wanted))


def fits_table(path: Path) -> Reading:
    """Read a table with one spectrum per row."""
    units = _units(_content(path))
    need(len(units) == 2 and hasattr(units[1], "columns"), "no table")
    table, header = units[1], units[1].header
    columns = {name.casefold(): table.data[name] for name in table.columns.names}
    need("flux" in columns and "object" in columns, "a column is missing")
    need(table.data.dtype.itemsize == header["NAXIS1"], "NAXIS1 and the types differ")
    x = np.asarray(columns["flux"])
    need(x.ndim == 2 and x.dtype.kind in "if", "no spectra")
    axis = columns.get("wavelength")
    if axis is not None:
        need(axis.ndim == 2 and (axis == axis[0]).all(), "axes differ")
        axis = _native(axis[0])
    good = None
    if "pixel_mask" in columns:
        raw = table.data.view(np.ndarray)[_spelled(table, "pixel_mask")]
        need(np.isin(raw.view("u1"), (ord("T"), ord("F"))).all(), "invalid bool")
        good = np.asarray(columns["pixel_mask"])
    weights = columns.get("ivar")
    if weights is not None:
        weights = _native(weights)
        good = np.isfinite(weights) if good is None else good & np.isfinite(weights)
        weights = np.where(good & ~np.isnan(x), weights, 0)
    names = [str(name) for name in columns["object"]]
    return from_rows(names, _native(x), good, weights, axis)


def fits_image(path: Path) -> Reading:
    """Read an image (groups, instances, pixels), and optional inverse variances."""
    units = _units(_content(path))
    x = units[0].data
    need(x is not None and x.ndim == 3, "no image of three axes")
    planes = {unit.name: unit.data for unit in units[1:]}
    weights = planes.get("IVAR")
    if weights is not None:
        try:
            weights = np.broadcast_to(weights, x.shape)
        except ValueError as error:
            raise Seen(str(error)) from None
    good = ~np.isnan(x)
    arrays = {"x": np.where(good, _native(x), 0), "pixel_mask": good}
    if weights is not None:
        arrays["pixel_mask"] = good = good & np.isfinite(weights)
        arrays["weights"] = np.where(good, _native(weights), 0)
        need((arrays["weights"] >= 0).all(), "negative weights")
    axis = _linear_axis(units[0].header, x.shape[2])
    if axis is not None:
        arrays["axis"] = axis
    return from_keys(arrays)


def fits_spectra(folder: Path) -> Reading:
    """Read one image with one axis from each file."""
    names, spectra = [], []
    for file in sorted(folder.iterdir()):
        need(file.suffix == ".fits", f"{file.name} is not a spectrum")
        unit = _units(file.read_bytes())[0]
        need(unit.data is not None and unit.data.ndim == 1, "no spectrum")
        axis = _linear_axis(unit.header, unit.data.size)
        names.append(file.stem)
        spectra.append((np.array(np.nan) if axis is None else axis, _native(unit.data)))
    return stacked(names, spectra)
