"""The axis along the pixels of a FITS image, from its world coordinates."""

from __future__ import annotations

import math
import re
from typing import Any, Final

import numpy as np

from symae_keras.data.groups import Array, GroupedData
from symae_keras.errors import InputError

_NUMBERS: Final = ("CRVAL1", "CRPIX1", "CDELT1", "PC1_1", "CD1_1")
#: What non-linear axes depend on, too.
_BESIDE: Final = ("RESTFRQ", "RESTFREQ", "RESTWAV", "VELREF", "SPECSYS")
#: The types of spectral axes, those of AIPS included.
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
    """Return the axis along the pixels, in the unit of the header, and its label.

    Raises:
        InputError: The axis cannot be computed, differs between rows, or runs along
            the rows.
    """
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
        if not kind.endswith("-LOG"):  # which is the same in all units
            given["CUNIT1"] = unit
    axis = _world(given, int(header["NAXIS1"]), f"CTYPE1 {kind or 'missing'}")
    if logarithmic:
        with np.errstate(over="ignore"):  # infinity is refused with the axis
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
        if given.get("CUNIT1"):  # astropy turns it into an SI unit
            axis = axis * wcs.wcs.cunit[0].to(units.Unit(given["CUNIT1"]))
    except Exception as error:  # wcslib has a dozen classes
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
    """Refuse an axis that differs between rows, or runs along them."""
    for n in range(1, int(header["NAXIS"]) + 1):
        other = str(header.get(f"CTYPE{n}", "")).strip().upper()
        if other[:4] in _SPECTRAL and kind[:4] not in _SPECTRAL:
            raise InputError(
                f"its axis {n} is the spectral one (CTYPE{n} {other}), but pixels run "
                f"along axis 1 (CTYPE1 {kind or 'missing'}); transpose the image."
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
