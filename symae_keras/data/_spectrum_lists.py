"""Conversion of specutils spectra, and of similar objects, to groups."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import numpy as np

from symae_keras.data._arrays import Array, plain, row_names
from symae_keras.data._rows import sort_rows
from symae_keras.errors import InputError

#: Largest difference between equal axes, as a fraction of the pixel spacing.
_TOLERANCE: Final = 1e-3
#: Names of axis quantities, by the physical type of their unit.
_KINDS: Final = {
    "length": "wavelength",
    "frequency": "frequency",
    "energy": "energy",
    "wavenumber": "wavenumber",
    "speed": "velocity",
}
#: Conversion of an uncertainty to an inverse variance, by astropy's type name.
_WEIGHTS: Final = {
    "std": lambda array: array**-2.0,
    "var": lambda array: array**-1.0,
    "ivar": lambda array: array,
}


def fields_of_spectra(spectra: Iterable[Any], ids: Any) -> dict[str, Any]:
    """Return the fields of `GroupedData`; see `GroupedData.from_specutils`."""
    spectra = list(spectra)
    if not spectra:
        raise InputError("There must be at least one spectrum; received none.")
    first = _named(spectra[0], 0)
    unit, axis_unit = first.flux.unit, first.spectral_axis.unit
    axis = first.spectral_axis.to_value(axis_unit)
    rows = [_row(each, k, unit, axis_unit, axis) for k, each in enumerate(spectra)]
    values, good, weights = (np.stack(each) for each in zip(*rows, strict=True))
    known = [getattr(each, "uncertainty", None) is not None for each in spectra]
    if any(known) and not all(known):
        raise InputError(
            f"Spectrum {known.index(False)} has no uncertainty, but other spectra have "
            "one; give all spectra an uncertainty, or none."
        )
    names = row_names("ids", plain("ids", ids)[0], "spectrum", len(values))
    sort = sort_rows(names, {})
    kind = _KINDS.get(str(axis_unit.physical_type).split("/")[0], "spectral axis")
    return {
        "x": sort.padded(np.where(good, values, 0.0)),
        "mask": None if sort.mask.all() else sort.mask,
        "ids": sort.ids,
        "pixel_mask": None if good.all() else sort.padded(good),
        "weights": sort.padded(np.where(good, weights, 0.0)) if all(known) else None,
        "axis": np.asarray(axis),
        "axis_label": f"{kind} ({axis_unit})",
    }


def _named(spectrum: Any, number: int) -> Any:
    missing = [n for n in ("flux", "spectral_axis") if not hasattr(spectrum, n)]
    if missing:
        raise InputError(
            f"Spectrum {number} is a {type(spectrum).__name__} without {missing[0]}; "
            "give specutils spectra, or objects whose flux and spectral_axis are "
            "astropy quantities."
        )
    return spectrum


def _row(
    spectrum: Any, number: int, unit: Any, axis_unit: Any, axis: Array
) -> tuple[Array, Array, Array]:
    """Return values, good pixels and weights in the units of the first spectrum."""
    _named(spectrum, number)
    flux = spectrum.flux
    if flux.ndim != 1:
        raise InputError(
            f"Spectrum {number} has a flux of shape {flux.shape}; give one spectrum of "
            "shape (pixels,) for each id."
        )
    try:
        values = np.asarray(flux.to_value(unit))
        own = spectrum.spectral_axis.to_value(axis_unit)
    except Exception as error:  # a unit error of astropy, which is not imported here
        raise InputError(
            f"Spectrum {number} cannot be converted to the units of the first, {unit} "
            f"and {axis_unit}: {error}; convert all spectra to the same units."
        ) from None
    steps = np.abs(np.diff(axis))
    tolerance = _TOLERANCE * float(steps.min()) if len(steps) else 0.0
    if own.shape != axis.shape or np.abs(own - axis).max() > tolerance:
        raise InputError(
            f"Spectrum {number} has a different spectral axis from the first; resample "
            "all spectra to one axis, for example with specutils.manipulation."
        )
    good = np.isfinite(values)
    mask = getattr(spectrum, "mask", None)
    if mask is not None:
        good = good & ~np.asarray(mask, bool)  # in specutils, True marks a bad pixel
    return values, good, _weights(spectrum, number, unit, good)


def _weights(spectrum: Any, number: int, unit: Any, good: Array) -> Array:
    uncertainty = getattr(spectrum, "uncertainty", None)
    if uncertainty is None:
        return np.ones(good.shape)
    kind = getattr(uncertainty, "uncertainty_type", None)
    if kind not in _WEIGHTS:
        raise InputError(
            f"Spectrum {number} has an uncertainty of type {kind!r}; expected a "
            "StdDevUncertainty, VarianceUncertainty or InverseVariance of astropy."
        )
    array = np.asarray(uncertainty.array, "float64")
    scale = 1.0
    if uncertainty.unit is not None:
        power = {"std": 1, "var": 2, "ivar": -2}[kind]
        scale = uncertainty.unit.to(unit**power)
    with np.errstate(divide="ignore", invalid="ignore"):
        weights = np.asarray(_WEIGHTS[kind](array * scale))
    # An uncertainty of 0 or below is invalid.
    usable = good & np.isfinite(weights) & (array > 0)
    return np.where(usable, weights, 0.0)
