"""Spectra in text files, a spectrum a file."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, Literal, NamedTuple

import numpy as np

from symae_keras._utils.text import listed
from symae_keras.data.groups import Array, GroupedData
from symae_keras.data.io._cells import NumberReader, is_missing, is_number
from symae_keras.data.io._lines import header_of, in_header, lines_of, refuse_double
from symae_keras.errors import InputError

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

#: Words in the name of a column that give its role.
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
#: Words that mark an uncertainty in other units than those of the values.
_SCALED: Final = ("rel", "perc", "pct", "frac", "squar", "log", "snr")
#: How a power of the noise becomes an inverse variance.
POWERS: Final[dict[Role, float]] = {
    "inverse variance": 1.0,
    "variance": -1.0,
    "standard deviation": -2.0,
}


class Columns(NamedTuple):
    """The columns of a file that are used."""

    axis: int
    value: int
    weights: int | None
    weights_role: Role
    #: Whether the axis was found only because no other column can be it.
    guessed: bool


def columns_by_place(
    rows: Sequence[tuple[int, list[str]]],
) -> tuple[Columns, list[int]]:
    """Return the columns of a file without a header, and the empty ones."""
    width = len(rows[0][1])
    empty = [width - 1] if all(is_missing(cells[-1]) for _, cells in rows) else []
    if width <= 2:
        empty = []
    if width - len(empty) not in (2, 3):
        raise InputError(
            f"line {rows[0][0]} has {width} cells; expected 2 in every line, axis and "
            "value, or 3 with the inverse variance, or a header with names such as "
            "wavelength, flux and uncertainty."
        )
    weights = 2 if width - len(empty) == 3 else None
    return Columns(0, 1, weights, "inverse variance", False), empty


def columns_by_name(header: Sequence[str]) -> Columns:
    """Return the columns of a file with a header.

    Raises:
        InputError: No column, or more than one, has the name of an axis or of values.
    """
    roles = [_role(name) for name in header]

    def pick(*wanted: Role) -> int | None:
        for role in wanted:
            found = [k for k, each in enumerate(roles) if each[0] == role]
            exact = [k for k in found if roles[k][1]]
            if len(found) > 1 and len(exact) != 1:
                raise InputError(
                    f"{listed(header[k] for k in found)} may each be the {role}; keep "
                    "one of these columns, or call the others something else."
                )
            if found:
                return (exact or found)[0]
        return None

    axis, value = pick("axis", "pixel"), pick("value")
    weights = pick("inverse variance", "variance", "standard deviation")
    # In "wavelength, sample 7" or "2theta, intensity" there is only one choice.
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
    # Some columns are called by their unit alone: "1/cm".
    words = re.findall(r"[^\W\d_]+", bare) or re.findall(r"[^\W\d_]+", text)
    if not text.strip(" .#") or (words and _INDEX.issuperset(words)):
        return "index", True
    if words and _PIXEL.issuperset(words):
        return "pixel", True
    roles = {_ROLES.get(word, "unknown") for word in words}
    # "fluxerr", or "e_flux" in astronomical catalogues.
    joined = any(word.endswith(("err", "error")) for word in words)
    if joined or "\N{PLUS-MINUS SIGN}" in text or words[:1] == ["e"] != words:
        roles.add("standard deviation")
    if "variance" in roles and {"inverse", "inv"} & set(words):
        return "inverse variance", True
    for role in POWERS:
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


def names_columns(comment: Sequence[str]) -> bool:
    """Return whether a comment holds names of columns, not just any text."""
    roles = [role for role, exact in map(_role, comment) if exact]
    return "axis" in roles or any(role in POWERS for role in roles)


class Spectrum(NamedTuple):
    """One spectrum, and what the log should say about its file."""

    values: Array
    axis: Array | None = None
    axis_label: str = GroupedData.axis_label
    weights: Array | None = None
    #: What was taken for weights, if a user may not expect it.
    weights_note: str = ""
    #: Present pixels that have no weight.
    n_unweighted: int = 0
    unused: tuple[str, ...] = ()


def read_text(file: Path) -> Spectrum:
    """Read a spectrum from columns with names, or of axis, value and inverse variance.

    Raises:
        InputError: The columns are not clear from the header, or a cell is not a
            number.
    """
    with lines_of(file, _is_cut, numeric=True) as lines:
        number, first = next(lines.rows)
        rows = list(lines.rows)
    header, header_line = header_of(first), number
    if is_number(first[0]):
        rows.insert(0, (number, first))
        header = []
        for above, cells in lines.comments:
            if len(cells) == len(first) and names_columns(header_of(cells)):
                header_line, header = above, header_of(cells)
                break
    if not rows:
        raise InputError("the file has a header but no rows; expected rows of numbers.")
    if header:
        with in_header(header_line):
            refuse_double(header)
            used = columns_by_name(header)
        unused = [k for k in range(len(header)) if k not in used[:3]]
    else:
        used, unused = columns_by_place(rows)
    return _spectrum(header, rows, used, unused)


def _is_cut(first: list[str], second: list[str]) -> bool:
    """Return whether two lines are cut at the right delimiter."""
    return len(first) == len(second) > 1 and not any(
        cell.startswith(",") or cell.endswith(",") for cell in (*first, *second)
    )


def _spectrum(
    header: Sequence[str],
    rows: Sequence[tuple[int, list[str]]],
    used: Columns,
    unused: Sequence[int],
) -> Spectrum:
    numbers = NumberReader()

    def read(k: int) -> Array:
        name = header[k] if header else str(k + 1)
        return numbers.read(
            [cells[k] for _, cells in rows],
            lambda i: f"line {rows[i][0]}, column {name},",
        )

    axis, values = read(used.axis), read(used.value)
    weights = None if used.weights is None else read(used.weights)
    numbers.settle()
    _refuse_row_numbers(header, used, axis, values)
    label = header[used.axis] if header else "axis"
    names = tuple((header[k] if header else "") or f"{k + 1} (no name)" for k in unused)
    spectrum = Spectrum(values, axis, label, unused=names)
    if weights is None or used.weights is None:
        return spectrum
    name = header[used.weights] if header else "3"
    note = ""
    if not header:
        note = "column 3 of files without a header is taken for the inverse variance"
    elif used.weights_role != "inverse variance":
        what = used.weights_role
        note = f"column {name} is taken for the {what}; weights are inverse variances"
    return spectrum._replace(
        weights=_inverse_variance(
            weights, used.weights_role, lambda i: f"line {rows[i][0]}, column {name},"
        ),
        weights_note=note,
        n_unweighted=_n_unweighted(weights, used.weights_role, values),
    )


def _inverse_variance(noise: Array, role: Role, place: Callable[[int], str]) -> Array:
    """Convert noise to inverse variances, 0 where it is unknown."""
    good = noise > 0  # nor NaN
    if role == "inverse variance" and (noise < 0).any():
        raise InputError(
            f"{place(int((noise < 0).argmax()))} is negative; an inverse variance is "
            "positive, or 0 for a bad pixel."
        )
    if role != "inverse variance" and not good.any():
        raise InputError(
            f"{place(0)} and all below are not positive; give the uncertainties, or "
            "delete the column."
        )
    with np.errstate(over="ignore"):
        weights = np.where(good, np.where(good, noise, 1.0) ** POWERS[role], 0.0)
    large = weights > np.finfo("float32").max
    if large.any():
        raise InputError(
            f"{place(int(large.argmax()))} is too small for an inverse "
            "variance; rescale the values."
        )
    return weights


def _n_unweighted(noise: Array, role: Role, values: Array) -> int:
    """Count the pixels that have a value, but no valid noise."""
    bad = np.isnan(noise) if role == "inverse variance" else ~(noise > 0)
    return int((bad & ~np.isnan(values)).sum())


def _refuse_row_numbers(
    header: Sequence[str], used: Columns, axis: Array, values: Array
) -> None:
    """Refuse an axis that only counts the rows, or that starts with names.

    Raises:
        InputError: The axis is taken from a column that is probably none.
    """
    counts = any(np.array_equal(axis, np.arange(len(axis)) + k) for k in (0, 1))
    steps = np.sign(np.diff(values))
    # Without a header, numbers of rows are followed by the axis, then the values.
    shifted = not header and used.weights is not None and abs(steps.sum()) == len(steps)
    if not header and len(axis) > 2 and axis[0] == 0 and values[0] == 1:
        jump, step = np.abs(np.diff(axis[:3]))
        if jump > 10 * step:
            raise InputError(
                "the first line, 0 and 1, may hold numbers of columns instead of a "
                "pixel; delete it, or write a header with names such as axis and value."
            )
    if len(axis) > 1 and counts and (used.guessed or shifted):
        name = header[used.axis] if header else "1"
        raise InputError(
            f"column {name} counts the rows, so it may not be the axis; delete it, or "
            "write a header with names such as axis, value and weights."
        )
