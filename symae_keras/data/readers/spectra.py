"""Reader of a folder that holds one spectrum a file."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from symae_keras.data.groups import Array, GroupedData
from symae_keras.data.readers.assemble import checked_axis, from_rows, mask_missing
from symae_keras.data.readers.cells import is_number, numbers
from symae_keras.data.readers.fits import read_spectrum
from symae_keras.data.readers.npz import read_npy
from symae_keras.data.readers.sentences import unreadable
from symae_keras.errors import InputError

#: Everything before the last "_" or "-" of a file's name.
_GROUP: Final = r"^(.+)[_-][^_-]*$"


class _Spectrum(NamedTuple):
    values: Array
    axis: Array | None = None
    axis_label: str = GroupedData.axis_label
    weights: Array | None = None


def read_spectra(path: Path, group: str | None) -> GroupedData:
    """Groups from files of one kind, all on the same axis.

    Args:
        path: The folder.
        group: Regular expression whose one capture group finds the group of a spectrum
            in the name of its file, without the suffix.

    Raises:
        InputError: A file cannot be used, is of another kind or on another axis than
            the first, or its name tells no group.
    """
    pattern = _pattern(_GROUP if group is None else group)
    files = sorted(f for f in path.iterdir() if not f.name.startswith("."))
    kinds = [_kind(file) for file in files]
    ids = []
    spectra: list[_Spectrum] = []
    for file, (suffix, read) in zip(files, kinds, strict=True):
        if read is not kinds[0][1]:
            raise InputError(
                f"{file.name} is of another kind than {files[0].name}; keep files of "
                "one kind in the folder."
            )
        match = pattern.search(file.name[: len(file.name) - len(suffix)])
        if match is None or not match[1]:
            raise InputError(
                f"{file.name} does not match {pattern.pattern}, which finds the group "
                "in a file's name; rename it or give another expression with group=."
            )
        ids.append(match[1])
        spectra.append(_read(file, read))
        _compare(files[0].name, spectra[0], file.name, spectra[-1])
    first = spectra[0]
    stacked = None
    if first.weights is not None:
        stacked = np.stack([s.weights for s in spectra if s.weights is not None])
    x, pixel_mask, weights = mask_missing(
        path, np.stack([spectrum.values for spectrum in spectra]), None, stacked
    )
    return from_rows(
        path,
        x,
        np.array(ids),
        pixel_mask=pixel_mask,
        weights=weights,
        metadata={"file": np.array([file.name for file in files])},
        axis=first.axis,
        axis_label=first.axis_label,
    )


def _pattern(expression: str) -> re.Pattern[str]:
    try:
        pattern = re.compile(expression)
    except re.error as error:
        raise InputError(
            f"group={expression!r} is no regular expression: {error}."
        ) from None
    if pattern.groups != 1:
        raise InputError(
            f"group={expression!r} must be a regular expression with one capture "
            f"group, the part of a file's name that names the group; it has "
            f"{pattern.groups}."
        )
    return pattern


def _read(file: Path, read: Callable[[Path], _Spectrum]) -> _Spectrum:
    """One spectrum, as real numbers on a good axis."""
    try:
        spectrum = read(file)
        values = spectrum.values
        if values.ndim != 1 or values.size == 0 or values.dtype.kind not in "buif":
            raise InputError(
                f"expected one spectrum, real numbers of shape (pixels,); received "
                f"dtype {values.dtype}, shape {values.shape}."
            )
        if spectrum.axis is not None:
            checked_axis(spectrum.axis)
        return spectrum
    except InputError as error:
        raise InputError(f"{file.name}: {error}") from None
    except Exception as error:
        raise unreadable(file.name, error) from error


def _compare(first: str, one: _Spectrum, second: str, other: _Spectrum) -> None:
    if len(one.values) != len(other.values):
        raise InputError(
            f"mixed lengths: {second} has {len(other.values)} pixels, but {first} has "
            f"{len(one.values)}; resample all spectra to one axis."
        )
    if (one.weights is None) != (other.weights is None):
        raise InputError(
            f"only one of {first} and {second} has a third column, the weights; give "
            "it to all files or to none."
        )
    if not np.array_equal(_axis(one), _axis(other)):
        raise InputError(
            f"{second} is on another axis than {first}; resample all spectra to one "
            "axis."
        )


def _axis(spectrum: _Spectrum) -> Array:
    return np.zeros(0) if spectrum.axis is None else spectrum.axis


def _read_text(file: Path) -> _Spectrum:
    """Columns of axis, value and, if there is a third one, inverse variance."""
    lines = [
        (number, line)
        for number, line in enumerate(
            file.read_text(encoding="utf-8-sig").splitlines(), start=1
        )
        if line.strip() and not line.lstrip().startswith("#")
    ]
    # Without a delimiter, `split` cuts at any white space.
    delimiter = next((d for d in ",;\t" if lines and d in lines[0][1]), None)
    rows = [[c.strip() for c in line.split(delimiter)] for _, line in lines]
    label = "axis"
    if rows and not any(map(is_number, rows[0])):
        label = rows[0][0]
        lines, rows = lines[1:], rows[1:]
    if not rows:
        raise InputError("it is empty; expected rows of an axis value and a value.")
    width = len(rows[0])
    for (line, _), row in zip(lines, rows, strict=True):
        if len(row) != width or width not in (2, 3):
            raise InputError(
                f"line {line} has {len(row)} cells; expected 2 in every row, axis and "
                "value, or 3 with the inverse variance."
            )
    axis, values, *weights = (
        numbers([row[k] for row in rows], lambda i: f"line {lines[i][0]}")
        for k in range(width)
    )
    return _Spectrum(values, axis, label, weights[0] if weights else None)


def _read_npy(file: Path) -> _Spectrum:
    return _Spectrum(read_npy(file))


def _read_fits(file: Path) -> _Spectrum:
    return _Spectrum(*read_spectrum(file))


_KINDS: Final = {
    ".csv": _read_text,
    ".txt": _read_text,
    ".dat": _read_text,
    ".tsv": _read_text,
    ".npy": _read_npy,
    ".fits": _read_fits,
    ".fit": _read_fits,
    ".fits.gz": _read_fits,
    ".fz": _read_fits,
}


def _kind(file: Path) -> tuple[str, Callable[[Path], _Spectrum]]:
    """The suffix of a file and the function that reads it."""
    for suffix, read in _KINDS.items():
        if file.name.lower().endswith(suffix):
            return suffix, read
    raise InputError(
        f"{file.name} is no spectrum; expected files that end in {', '.join(_KINDS)}."
    )
