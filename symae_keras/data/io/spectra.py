"""Reader of a folder with one spectrum per file."""

from __future__ import annotations

import logging
import re
import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, Literal, NamedTuple

import numpy as np

from symae_keras._utils.text import listed, unreadable
from symae_keras.data.groups import Array, GroupedData
from symae_keras.data.io._assemble import (
    checked_axis,
    from_rows,
    mask_missing,
    note_unused,
)
from symae_keras.data.io._cells import NumberReader, Rows, is_missing, is_number
from symae_keras.data.io._lines import (
    header_of,
    in_header,
    lines_of,
    refuse_double,
)
from symae_keras.data.io.arrays import read_npy
from symae_keras.data.io.fits import read_spectrum
from symae_keras.errors import InputError

_log = logging.getLogger("symae_keras")

#: Everything before the last "_" or "-" of a file name.
_GROUP: Final = r"^(.+)[_-][^_-]*$"

Role = Literal[
    "axis",
    "value",
    "inverse variance",
    "variance",
    "standard deviation",
    "index",
    "pixel",
    "unused",
    "unknown",
]

#: Words in a column name that determine the role of the column.
_WORDS: Final[dict[Role, str]] = {
    "inverse variance": "ivar invvar weight weights",
    "variance": "variance var",
    "standard deviation": "uncertainty uncertainties unc uncert error errors err sigma "
    "std stdev stddev sd",
    "value": "flux fluxes intensity intensities absorbance absorbances abs absorption "
    "value values count counts reflectance reflectivity transmittance transmission "
    "amplitude signal spectrum radiance irradiance emission extinction y",
    "axis": "wavelength wavelengths wave wl wvl lambda lam loglam λ wavenumber "
    "wavenumbers wn frequency frequencies freq energy shift raman axis x nm um μm "
    "micron microns angstrom angstroms å cm hz khz mhz ghz thz ev kev",
}
_ROLES: Final = {word: role for role, text in _WORDS.items() for word in text.split()}
_INDEX: Final = {"no", "nr", "index", "idx", "row", "rows", "id", "number", "num"}
_PIXEL: Final = {"pixel", "pixels", "channel", "channels", "number", "num"}
#: Words that mark an uncertainty in other units than the values.
_SCALED: Final = ("rel", "perc", "pct", "frac", "squar", "log", "snr")
#: Exponents that convert the noise to an inverse variance.
_POWERS: Final[dict[Role, float]] = {
    "inverse variance": 1.0,
    "variance": -1.0,
    "standard deviation": -2.0,
}


class Spectrum(NamedTuple):
    """One spectrum, and information about its file for the log."""

    values: Array
    axis: Array | None = None
    axis_label: str = GroupedData.axis_label
    weights: Array | None = None
    #: Source of the weights, if the user may not expect it.
    weights_note: str = ""
    #: Present pixels without a weight.
    n_unweighted: int = 0
    unused: tuple[str, ...] = ()


def read_spectra(path: Path, group: str | None) -> GroupedData:
    """Read groups from files of one type, all with the same axis.

    The capture group of the regular expression `group` matches the group of a spectrum
    in its file name without the suffix.
    """
    pattern = _pattern(_GROUP if group is None else group)
    files = sorted(f for f in path.iterdir() if not f.name.startswith("."))
    kinds = [_kind(file) for file in files]
    ids = []
    spectra: list[Spectrum] = []
    for file, (suffix, read) in zip(files, kinds, strict=True):
        if read is not kinds[0][1]:
            raise InputError(
                f"{file.name} has a different file type from {files[0].name}; keep "
                "files of only one type in the folder."
            )
        match = pattern.search(file.name[: len(file.name) - len(suffix)])
        if match is None or not match[1]:
            raise InputError(
                f"{file.name} does not match {pattern.pattern}, which extracts the "
                "group from a file name; rename the file or set group= to another "
                "expression."
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
    """Log unused data of the files, and assumptions about their columns."""
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
            f"group={expression!r} is not a regular expression: {error}."
        ) from None
    if pattern.groups != 1:
        raise InputError(
            f"group={expression!r} must be a regular expression with one capture "
            f"group, the part of a file's name that names the group; it has "
            f"{pattern.groups}."
        )
    return pattern


def _read(file: Path, read: Callable[[Path], Spectrum]) -> Spectrum:
    """Read one spectrum of real numbers on a valid axis."""
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
            "weights; all files must have it, or none."
        )
    if one.axis_label.casefold() != other.axis_label.casefold():
        raise InputError(
            f"the axis of {second} has the name {other.axis_label}, but that of "
            f"{first} has the name {one.axis_label}; write the same name and unit in "
            "all files."
        )
    if not np.array_equal(_axis(one), _axis(other)):
        raise InputError(
            f"{second} has a different axis from {first}; resample all spectra to one "
            "axis."
        )


def _axis(spectrum: Spectrum) -> Array:
    return np.zeros(0) if spectrum.axis is None else spectrum.axis


def _read_text(file: Path) -> Spectrum:
    """Read a spectrum from columns with names or in the default order."""
    with lines_of(file, _is_cut, numeric=True) as lines:
        line, names = lines.number, lines.first
        only_rows = is_number(names[0])
        if only_rows:
            above = lines.above(lambda cells: _names_columns(header_of(cells)))
            line, names = above or (line, [])
        (rows,) = lines.rows(with_first=only_rows, whole=True)
    header = header_of(names)
    if header:
        with in_header(line):
            refuse_double(header)
            used = _columns_by_name(header)
        unused = [k for k in range(len(header)) if k not in used[:3]]
    else:
        used, unused = _columns_by_place(rows)
    return _spectrum(header, rows, used, unused)


def _is_cut(first: list[str], second: list[str]) -> bool:
    """Return whether two lines are cut at the right delimiter."""
    return len(first) == len(second) > 1 and not any(
        cell.startswith(",") or cell.endswith(",") for cell in (*first, *second)
    )


def _spectrum(
    header: Sequence[str],
    rows: Rows,
    used: Columns,
    unused: Sequence[int],
) -> Spectrum:
    numbers = NumberReader()

    def name_of(k: int) -> str:
        return header[k] if header else str(k + 1)

    columns = sorted({k for k in used[:3] if k is not None})
    found = numbers.read_rows(rows, columns, [name_of(k) for k in columns])
    axis, values = (found[:, columns.index(k)] for k in used[:2])
    noise = None if used.weights is None else found[:, columns.index(used.weights)]
    numbers.settle()
    _refuse_row_numbers(header, used, axis, values)
    label = header[used.axis] if header else "axis"
    names = tuple((header[k] if header else "") or f"{k + 1} (no name)" for k in unused)
    spectrum = Spectrum(values, axis, label, unused=names)
    if noise is None or used.weights is None:
        return spectrum
    role, name, note = used.weights_role, name_of(used.weights), ""
    if not header:
        note = "column 3 of files without a header is read as the inverse variance"
    elif role != "inverse variance":
        note = f"column {name} is read as the {role}; weights are inverse variances"
    # Pixels with a value, but without valid noise.
    bad = np.isnan(noise) if role == "inverse variance" else ~(noise > 0)
    return spectrum._replace(
        weights=_inverse_variance(
            noise, role, lambda k: f"line {rows.numbers[k]}, column {name},"
        ),
        weights_note=note,
        n_unweighted=int((bad & ~np.isnan(values)).sum()),
    )


def _inverse_variance(noise: Array, role: Role, place: Callable[[int], str]) -> Array:
    """Convert noise to inverse variances; unknown noise becomes 0."""
    good = noise > 0  # False for NaN, too
    if role == "inverse variance" and (noise < 0).any():
        raise InputError(
            f"{place(int((noise < 0).argmax()))} is negative; an inverse variance must "
            "be positive, or 0 for a bad pixel."
        )
    if role != "inverse variance" and not good.any():
        raise InputError(
            f"{place(0)} and all values below are not positive; write positive "
            "uncertainties, or delete the column."
        )
    with np.errstate(over="ignore"):
        weights = np.where(good, np.where(good, noise, 1.0) ** _POWERS[role], 0.0)
    large = weights > np.finfo("float32").max
    if large.any():
        raise InputError(
            f"{place(int(large.argmax()))} is too small for an inverse "
            "variance; rescale the values."
        )
    return weights


def _refuse_row_numbers(
    header: Sequence[str], used: Columns, axis: Array, values: Array
) -> None:
    """Refuse an axis that only counts the rows, or that starts with column numbers."""
    counts = any(np.array_equal(axis, np.arange(len(axis)) + k) for k in (0, 1))
    steps = np.sign(np.diff(values))
    # Without a header, row numbers are followed by the axis and the values.
    shifted = not header and used.weights is not None and abs(steps.sum()) == len(steps)
    if not header and len(axis) > 2 and axis[0] == 0 and values[0] == 1:
        jump, step = np.abs(np.diff(axis[:3]))
        if jump > 10 * step:
            raise InputError(
                "the first line, 0 and 1, may contain column numbers instead of a "
                "pixel; delete it, or write a header with names such as axis and value."
            )
    if len(axis) > 1 and counts and (used.guessed or shifted):
        name = header[used.axis] if header else "1"
        raise InputError(
            f"column {name} counts the rows, so it is probably not the axis; delete "
            "it, or write a header with names such as axis, value and weights."
        )


class Columns(NamedTuple):
    """Columns of a file that are used."""

    axis: int
    value: int
    weights: int | None
    weights_role: Role
    #: Whether the axis was found only by elimination.
    guessed: bool


def _columns_by_place(rows: Rows) -> tuple[Columns, list[int]]:
    """Return the columns of a file without a header, and its empty columns."""
    width = rows.width
    empty = []
    if width > 2 and all(map(is_missing, rows.cells([width - 1])[:, 0])):
        empty = [width - 1]
    if width - len(empty) not in (2, 3):
        raise InputError(
            f"line {rows.numbers[0]} has {width} cells; expected 2 in every line, axis "
            "and value, or 3 with the inverse variance, or a header with names such as "
            "wavelength, flux and uncertainty."
        )
    weights = 2 if width - len(empty) == 3 else None
    return Columns(0, 1, weights, "inverse variance", False), empty


def _columns_by_name(header: Sequence[str]) -> Columns:
    """Return the columns of a file with a header."""
    roles = [_role(name) for name in header]

    def pick(*wanted: Role) -> int | None:
        for role in wanted:
            found = [k for k, each in enumerate(roles) if each[0] == role]
            exact = [k for k in found if roles[k][1]]
            if len(found) > 1 and len(exact) != 1:
                raise InputError(
                    f"{listed(header[k] for k in found)} can each be the {role}; keep "
                    "one of these columns, or rename the others."
                )
            if found:
                return (exact or found)[0]
        return None

    axis, value = pick("axis", "pixel"), pick("value")
    weights = pick("inverse variance", "variance", "standard deviation")
    # "wavelength, sample 7" and "2theta, intensity" are unambiguous.
    unknown = [k for k, (role, _) in enumerate(roles) if role == "unknown"]
    guessed = axis is None and value is not None and len(unknown) == 1
    if guessed:
        axis = unknown[0]
    elif axis is not None and value is None and len(unknown) == 1:
        value = unknown[0]
    if axis is None or value is None:
        missing = "an axis, such as wavelength, wavenumber, frequency, energy or axis"
        if axis is not None:
            missing = "values, such as flux, intensity, absorbance, counts or value"
        raise InputError(
            f"no column has a name of {missing}; found "
            f"{listed(name or '(no name)' for name in header)}; correct the names, or "
            "delete the header and all columns but axis and value."
        )
    role: Role = "inverse variance" if weights is None else roles[weights][0]
    return Columns(axis, value, weights, role, guessed)


def _role(name: str) -> tuple[Role, bool]:
    """Return the role of a column, and whether its name contains nothing else."""
    text = unicodedata.normalize("NFKC", name).casefold()
    bare = re.split(r"[(\[{/,]", text)[0]
    # Some column names are only a unit, such as "1/cm".
    words = re.findall(r"[^\W\d_]+", bare) or re.findall(r"[^\W\d_]+", text)
    if not text.strip(" .#") or (words and _INDEX.issuperset(words)):
        return "index", True
    if words and _PIXEL.issuperset(words):
        return "pixel", True
    roles = {_ROLES.get(word, "unknown") for word in words}
    # "fluxerr", or "e_flux" in astronomical catalogues.
    joint = any(word.endswith(("err", "error")) for word in words)
    if joint or "\N{PLUS-MINUS SIGN}" in text or words[:1] == ["e"] != words:
        roles.add("standard deviation")
    if "variance" in roles and {"inverse", "inv"} & set(words):
        return "inverse variance", True
    for role in _POWERS:
        if role in roles:
            of_axis = "axis" in roles and "value" not in roles
            scaled = re.search(r"[\d^*]", bare) or "%" in text
            if of_axis or scaled or any(word.startswith(_SCALED) for word in words):
                return "unused", True
            return role, roles == {role}
    named: tuple[Role, ...] = ("value", "axis")
    for role in named:  # "flux per nm" is a value
        if role in roles:
            return role, roles == {role}
    return "unknown", True


def _names_columns(comment: Sequence[str]) -> bool:
    """Return whether a comment contains column names, not other text."""
    roles = [role for role, exact in map(_role, comment) if exact]
    return "axis" in roles or any(role in _POWERS for role in roles)


_READERS: Final[dict[str, Callable[[Path], Spectrum]]] = {
    **dict.fromkeys((".csv", ".txt", ".dat", ".tsv"), _read_text),
    ".npy": lambda file: Spectrum(read_npy(file)),
    **dict.fromkeys(
        (".fits", ".fit", ".fits.gz", ".fz"),
        lambda file: Spectrum(*read_spectrum(file)),
    ),
}


def _kind(file: Path) -> tuple[str, Callable[[Path], Spectrum]]:
    """Return the suffix of a file and its reader."""
    for suffix, read in _READERS.items():
        if file.name.lower().endswith(suffix):
            return suffix, read
    raise InputError(
        f"{file.name} is not a spectrum; expected files that end in "
        f"{', '.join(_READERS)}."
    )
