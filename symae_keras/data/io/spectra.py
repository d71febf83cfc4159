"""Reader of a folder that holds one spectrum a file."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from symae_keras._utils.text import unreadable
from symae_keras.data.groups import Array, GroupedData
from symae_keras.data.io._assemble import (
    checked_axis,
    from_rows,
    mask_missing,
    note_unused,
)
from symae_keras.data.io._spectrum_text import Spectrum, read_text
from symae_keras.data.io.arrays import read_npy
from symae_keras.data.io.fits import read_spectrum
from symae_keras.errors import InputError

_log = logging.getLogger("symae_keras")

#: Everything before the last "_" or "-" of a file's name.
_GROUP: Final = r"^(.+)[_-][^_-]*$"


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
    spectra: list[Spectrum] = []
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
    _note(path, spectra)
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


def _note(path: Path, spectra: Sequence[Spectrum]) -> None:
    """Say in the log what the files hold that is not read, or read with a choice."""
    unused = dict.fromkeys(name for spectrum in spectra for name in spectrum.unused)
    note_unused(path, "columns", list(unused))
    for note in dict.fromkeys(s.weights_note for s in spectra if s.weights_note):
        _log.warning("%s: %s.", path, note)
    n_unweighted = sum(spectrum.n_unweighted for spectrum in spectra)
    if n_unweighted:
        _log.warning(
            "%s: %d values without a positive uncertainty get the weight 0.",
            path,
            n_unweighted,
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


def _read(file: Path, read: Callable[[Path], Spectrum]) -> Spectrum:
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


def _compare(first: str, one: Spectrum, second: str, other: Spectrum) -> None:
    if len(one.values) != len(other.values):
        raise InputError(
            f"mixed lengths: {second} has {len(other.values)} pixels, but {first} has "
            f"{len(one.values)}; resample all spectra to one axis."
        )
    if (one.weights is None) != (other.weights is None):
        raise InputError(
            f"only one of {first} and {second} has a third column, an uncertainty, or "
            "weights; give it to all files or to none."
        )
    if one.axis_label.casefold() != other.axis_label.casefold():
        raise InputError(
            f"the axis of {second} is called {other.axis_label}, but that of {first} "
            f"is called {one.axis_label}; write the same name and unit into all files."
        )
    if not np.array_equal(_axis(one), _axis(other)):
        raise InputError(
            f"{second} is on another axis than {first}; resample all spectra to one "
            "axis."
        )


def _axis(spectrum: Spectrum) -> Array:
    return np.zeros(0) if spectrum.axis is None else spectrum.axis


def _read_npy(file: Path) -> Spectrum:
    return Spectrum(read_npy(file))


def _read_fits(file: Path) -> Spectrum:
    return Spectrum(*read_spectrum(file))


_KINDS: Final = {
    ".csv": read_text,
    ".txt": read_text,
    ".dat": read_text,
    ".tsv": read_text,
    ".npy": _read_npy,
    ".fits": _read_fits,
    ".fit": _read_fits,
    ".fits.gz": _read_fits,
    ".fz": _read_fits,
}


def _kind(file: Path) -> tuple[str, Callable[[Path], Spectrum]]:
    """The suffix of a file and the function that reads it."""
    for suffix, read in _KINDS.items():
        if file.name.lower().endswith(suffix):
            return suffix, read
    raise InputError(
        f"{file.name} is no spectrum; expected files that end in {', '.join(_KINDS)}."
    )
