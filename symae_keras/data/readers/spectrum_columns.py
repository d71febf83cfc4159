"""Roles of the columns of a spectrum in a text file, by their names or places."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from typing import Final, Literal, NamedTuple

from symae_keras.data.readers.cells import is_missing
from symae_keras.data.readers.sentences import listed
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
