"""Resampling of grouped spectra to another axis."""

from __future__ import annotations

import dataclasses
from typing import Any, Final

import numpy as np

from symae_keras._utils.optional import import_optional
from symae_keras._utils.validation import boolean
from symae_keras.data.axis import Axis
from symae_keras.data.groups import Array, GroupedData
from symae_keras.errors import InputError

#: Distance in pixels outside the observed range that counts as a rounding error.
_TOLERANCE: Final = 0.05
#: Units with upper-case letters.
_CASE: Final = {"hz": "Hz", "ghz": "GHz", "thz": "THz", "ev": "eV", "kev": "keV"}


def resample(
    groups: GroupedData, axis: Axis | Array, conserve_flux: bool = False
) -> GroupedData:
    """Resample groups to another axis.

    Both axes may increase or decrease and may be unevenly spaced. If both axes have
    units and these differ, `astropy` converts between wavelength, wavenumber, frequency
    and energy.

    - **Interpolation** (default) is linear between neighbouring pixels. It needs both
      neighbours. A new pixel outside the range of the old pixels is masked.
    - **Rebinning** (`conserve_flux=True`) averages over each new pixel. The edges of
      pixels are halfway between their centres, and

        x_new[p] = sum over k of overlap[p, k] x[k] / sum over k of overlap[p, k]

      so that the integral over the axis, the sum of value times width, is conserved
      over the new pixels that are completely observed. Values are densities on the new
      axis; they are not multiplied by the pixel width. A new pixel is masked if less
      than half of it is observed.

    Linear interpolation keeps lines sharp, but skips pixels where the new axis is
    coarser. Rebinning uses all pixels and averages their noise.

    Args:
        groups: Groups with an axis; `x` is `(groups, instances, pixels, ...)`.
        axis: The new axis: an `Axis`, or increasing or decreasing values `(pixels,)` in
            the unit of the old axis.
        conserve_flux: Rebin instead of interpolating. Defaults to `False`.

    Returns:
        Groups with `x` of shape `(groups, instances, new pixels, ...)` and of the same
        dtype. `pixel_mask` is False and `x` is 0 where a new pixel was not observed,
        for example because old pixels were masked. `weights` are treated as inverse
        variances of independent pixels and converted to those of the new pixels.
        `render` is removed; all other fields are kept.

    Raises:
        InputError: The groups have no axis, an axis is not increasing or decreasing, or
            the units cannot be converted.

    Example:
    >>> x = np.array([[[1.0, 2.0, 3.0, 4.0]]])
    >>> nm = GroupedData(x, axis=[500.0, 501.0, 502.0, 503.0], axis_label="lambda (nm)")
    >>> half = resample(nm, Axis(np.array([5030.0, 5015.0]), "lambda (angstrom)"))
    >>> half.x, half.axis_label
    (array([[[4. , 2.5]]]), 'lambda (angstrom)')
    >>> resample(nm, [502.5, 504.5]).pixel_mask
    array([[[ True, False]]])
    """
    boolean("conserve_flux", conserve_flux)
    old = Axis.of(groups)
    if old is None:
        raise InputError(
            "These groups have no axis, so they cannot be resampled; set axis= to the "
            "value of each pixel."
        )
    if not isinstance(axis, Axis):
        axis = Axis(np.asarray(axis, "float64"), old.label)
    _check_order(old.values, "axis of the groups")
    _check_order(axis.values, "new axis")
    label = axis.label if axis.unit or not old.unit else old.label
    centres = _converted(old, axis.unit)
    if conserve_flux:
        mixing, least = _overlaps(centres, axis.values), 0.5
    else:
        mixing, least = _interpolation(centres, axis.values), 1.0 - 1e-9
    x, good, weights = _mixed(groups, mixing, least)
    return dataclasses.replace(
        groups,
        x=x,
        pixel_mask=None if good.all() else good,
        weights=weights,
        axis=axis.values,
        axis_label=label,
        render=None,
    )


def _check_order(values: Array, name: str) -> None:
    steps = np.diff(values) if values.ndim == 1 else np.zeros(1)
    if not values.size or not np.isfinite(values).all():
        raise InputError(f"The {name} must have finite values, one per pixel.")
    if not ((steps > 0).all() or (steps < 0).all()):
        raise InputError(f"The {name} must increase or decrease.")


def _converted(axis: Axis, unit: str) -> Array:
    """Return the values of an axis in another unit."""
    if not axis.unit or not unit or axis.unit == unit:
        return axis.values
    units = import_optional("astropy.units", "data", "Converting the units of an axis")
    try:
        given, wanted = (units.Unit(_CASE.get(u, u)) for u in (axis.unit, unit))
        values = given.to(wanted, axis.values, equivalencies=units.spectral())
    except (ValueError, TypeError) as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise InputError(
            f"An axis in {axis.unit} cannot be converted to {unit}: {reason}."
        ) from None
    values = np.asarray(values, "float64")
    _check_order(values, f"axis of the groups, in {unit},")
    return values


def _interpolation(old: Array, new: Array) -> Any:
    """Return the matrix `(new pixels, old pixels)` of linear interpolation.

    Rows of new pixels outside the old ones are zero.
    """
    from scipy.sparse import csr_array

    order = np.argsort(old)
    sorted_old = old[order]
    steps = np.abs(np.diff(sorted_old))
    ends = (steps[0], steps[-1]) if len(steps) else (0.0, 0.0)
    inside = new >= sorted_old[0] - _TOLERANCE * ends[0]
    inside &= new <= sorted_old[-1] + _TOLERANCE * ends[1]
    clipped = np.clip(new[inside], sorted_old[0], sorted_old[-1])
    # The position 2.25 mixes the old pixels 2 and 3; the last pixel has no next one.
    places = np.interp(clipped, sorted_old, np.arange(len(old), dtype="float64"))
    left = places.astype(int)
    right = np.minimum(left + 1, len(old) - 1)
    share = places - left
    rows = np.flatnonzero(inside)
    return csr_array(
        (
            np.concatenate([1.0 - share, share]),
            (np.tile(rows, 2), np.concatenate([order[left], order[right]])),
        ),
        shape=(len(new), len(old)),
    )


def _overlaps(old: Array, new: Array) -> Any:
    """Return the fraction of each new pixel in each old one, `(new, old)`."""
    from scipy.sparse import csr_array

    old_order, new_order = np.argsort(old), np.argsort(new)
    edges, wanted = _edges(old[old_order]), _edges(new[new_order])
    first = np.maximum(np.searchsorted(edges, wanted[:-1], "right") - 1, 0)
    last = np.minimum(np.searchsorted(edges, wanted[1:], "left"), len(old))
    counts = np.maximum(last - first, 0)
    rows = np.repeat(np.arange(len(new)), counts)
    starts = np.cumsum(counts) - counts
    columns = np.arange(counts.sum()) - np.repeat(starts - first, counts)
    overlap = np.minimum(edges[columns + 1], wanted[rows + 1])
    overlap -= np.maximum(edges[columns], wanted[rows])
    parts = np.maximum(overlap, 0.0) / (wanted[rows + 1] - wanted[rows])
    return csr_array(
        (parts, (new_order[rows], old_order[columns])), shape=(len(new), len(old))
    )


def _edges(centres: Array) -> Array:
    """Return the edges of increasing pixels, halfway between their centres."""
    if len(centres) < 2:
        raise InputError(
            "Rebinning needs axes of at least two pixels, because the pixel spacing "
            "gives the width; received one pixel."
        )
    middles = (centres[1:] + centres[:-1]) / 2.0
    first = centres[0] - (middles[0] - centres[0])
    last = centres[-1] + (centres[-1] - middles[-1])
    return np.concatenate([[first], middles, [last]])


def _mixed(
    groups: GroupedData, mixing: Any, least: float
) -> tuple[Array, Array, Array | None]:
    """Return new values, the mask of good values, and their weights."""
    absent = groups.present.reshape(groups.present.shape + (1,) * (groups.x.ndim - 2))
    per_pixel = groups.masks == 2
    seen = groups.good_pixels if per_pixel else absent
    x = np.where(seen, groups.x, 0.0)
    # Without pixel masks, all spectra have the same new pixels.
    covered = _applied(
        mixing,
        seen.astype("float64")
        if per_pixel
        else np.ones((1, 1, groups.x.shape[2]) + (1,) * (groups.x.ndim - 3)),
    )
    good = covered >= least
    total = np.where(good, covered, 1.0)
    values = np.where(good, _applied(mixing, x) / total, 0.0)
    weights = None
    if groups.weights is not None:
        variance = 1.0 / np.where(seen, groups.weights, 1.0).astype("float64")
        mixed = _applied(mixing**2, np.where(seen, variance, 0.0)) / total**2
        weights = np.where(good, 1.0 / np.where(good, mixed, 1.0), 0.0)
    return values.astype(groups.x.dtype), good, weights


def _applied(mixing: Any, values: Array) -> Array:
    """Multiply the pixels of instances, axis 2, by a matrix."""
    last = np.moveaxis(values, 2, -1)
    rows = last.reshape(-1, last.shape[-1])
    mixed = np.asarray((mixing @ rows.T).T)
    return np.moveaxis(mixed.reshape(*last.shape[:-1], mixing.shape[0]), -1, 2)
