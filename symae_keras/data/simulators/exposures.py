"""The exposures benchmark: noisy stellar spectra with telluric bands and a blaze."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Final

import numpy as np

from symae_keras.data.groups import (
    Array,
    GroupedData,
    Parameters,
    check_counts,
    in_chunks,
)
from symae_keras.errors import InputError

N_PIXELS: Final = 256
AXIS: Final = np.linspace(-1.0, 1.0, N_PIXELS)
SNR: Final = 100.0
#: Continuum slope of a star per unit of temperature; 0 in the identifiable form.
ENTANGLED_SLOPE: Final = 0.4
#: Standard deviation of the slope of the blaze, which resembles that of the star.
BLAZE_SLOPE: Final = 0.15
TELLURIC_WIDTH: Final = 0.006
NUISANCES: Final = ("water", "oxygen", "slope", "curvature", "velocity")
# Limits the memory for rendering with any number of pixels.
_PIXELS_AT_ONCE: Final = 2048 * N_PIXELS

# The line lists are part of the benchmark, so their seed is fixed.
_lines = np.random.default_rng(210802537)
_STAR_CENTRE: Final = _lines.uniform(-0.95, 0.95, 30)
_STAR_SPECIES: Final = _lines.integers(0, 4, 30)
_STAR_STRENGTH: Final = _lines.uniform(0.2, 1.0, 30)
_TELLURIC_CENTRE: Final = _lines.uniform(-0.95, 0.95, 20)
_TELLURIC_SPECIES: Final = _lines.integers(0, 2, 20)
_TELLURIC_STRENGTH: Final = _lines.uniform(0.2, 1.0, 20)
_STAR_EXCITATION: Final = _lines.uniform(-1.0, 1.0, 30)
del _lines


def _render_rows(
    slope: float,
    excitation: float,
    axis: Array,
    state: Parameters,
    nuisance: Parameters,
) -> Array:
    velocity = nuisance["velocity"][:, None]
    temperature = state["temperature"][:, None]
    rest = axis - velocity
    depth = state["abundance"][:, _STAR_SPECIES] * _STAR_STRENGTH
    depth = depth * np.exp(excitation * temperature * _STAR_EXCITATION)
    width = state["line_width"][:, None]
    # Nine widths from its centre, a line is lost in the rounding of float64.
    reach = 9.0 * width.max() + np.abs(velocity).max()
    stellar = np.zeros_like(rest)
    for line, centre in enumerate(_STAR_CENTRE):
        near = slice(*np.searchsorted(axis, (centre - reach, centre + reach)))
        bell = np.exp(-0.5 * ((rest[:, near] - centre) / width) ** 2)
        stellar[:, near] += depth[:, line, None] * bell
    star = np.exp(slope * temperature * rest - stellar)

    bands = np.exp(-0.5 * ((axis - _TELLURIC_CENTRE[:, None]) / TELLURIC_WIDTH) ** 2)
    amounts = np.stack([nuisance["water"], nuisance["oxygen"]], axis=-1)
    telluric = np.exp(-(amounts[:, _TELLURIC_SPECIES] * _TELLURIC_STRENGTH) @ bands)

    blaze = (
        1.0
        + nuisance["slope"][:, None] * axis
        + nuisance["curvature"][:, None] * (axis**2 - 1.0 / 3.0)
    )
    return np.asarray(star * telluric * blaze)


def render_exposures(
    slope: float,
    state: Parameters,
    nuisance: Parameters,
    excitation: float = 0.0,
    n_pixels: int = N_PIXELS,
) -> Array:
    """Render noiseless spectra from parameters, in chunks of rows to limit memory.

    Args:
        slope: Continuum slope of a star per unit of temperature.
        state: `temperature (n,)`, `abundance (n, 4)`, `line_width (n,)`.
        nuisance: `water`, `oxygen`, `slope`, `curvature`, `velocity`, each `(n,)`.
        excitation: See `simulate_exposures`.
        n_pixels: Pixels per spectrum.

    Returns:
        float32 array `(n, n_pixels)`.
    """
    axis = np.linspace(-1.0, 1.0, n_pixels)
    render = partial(_render_rows, slope, excitation, axis)
    step = max(1, _PIXELS_AT_ONCE // n_pixels)
    return in_chunks(render, (n_pixels,), step, state, nuisance)


def simulate_exposures(
    n_states: int = 1000,
    n_instances: int = 16,
    seed: int = 0,
    entangled: bool = True,
    n_pixels: int = N_PIXELS,
    excitation: float = 0.0,
    nuisances: Sequence[str] = NUISANCES,
) -> GroupedData:
    """Simulate repeated exposures of stars, the benchmark for spectra.

    An instance is `star * telluric * blaze + noise` on 256 pixels `x` in [-1, 1].

    - State of a star: temperature `T ~ U(-1, 1)`, four abundances `A ~ U(0.1, 1)`, line
      width `w ~ U(0.008, 0.02)`. `star(x) = exp(0.4 T (x - v)) * exp(-sum of 30
      Gaussian lines)`, shifted by the velocity `v` of the exposure.
    - Nuisance of an exposure: water `U(0, 1.5)` and oxygen `U(0.5, 1.5)` scale 20
      unshifted telluric lines; `blaze = 1 + s x + k (x^2 - 1/3)` with `s ~ N(0, 0.15)`
      and `k ~ N(0, 0.1)`; `v ~ U(-0.02, 0.02)`.
    - Noise: white Gaussian, standard deviation 0.01 (a signal-to-noise ratio of 100).

    A single exposure does not determine whether a slope comes from the star (`0.4 T`)
    or from the blaze (`s`): the benchmark is *entangled*. With `entangled=False`, the
    factor 0.4 is 0 and every exposure identifies its own nuisance.

    With the default arguments, which define the benchmark, spectra have 256 pixels and
    lines are independent of the temperature. With `excitation`, some lines grow with
    the temperature and others become weaker, as in real stars: the depth of line `l` is
    multiplied by `exp(excitation * e_l * T)`, with fixed values of `e_l ~ U(-1, 1)`.
    Then a single exposure determines the temperature.

    Args:
        n_states: Number of stars (groups), at least 1.
        n_instances: Exposures per star, at least 1.
        seed: Seed of states, nuisances and noise. The line lists do not depend on it.
        entangled: Whether stars have a continuum slope.
        n_pixels: Pixels per spectrum, at least 2. It does not change the lines or the
            noise of a pixel.
        excitation: Strength of the dependence of line depths on temperature, see above.
        nuisances: The nuisances to include; all others are 0. Reduced spectra, which
            are corrected for Earth's atmosphere and the blaze, still have a
            `"velocity"`, and a `"slope"` if fluxes are not calibrated. Defaults to all
            five.

    Returns:
        `GroupedData` with `x (n_states, n_instances, n_pixels)` float32, the true
        `state` and `nuisance` parameters, and exact `virtual` instances.

    Raises:
        InputError: `n_states` or `n_instances` is below 1, or `n_pixels` below 2, or a
            nuisance is unknown.

    Example:
    >>> groups = simulate_exposures(n_states=4, n_instances=3, seed=0)
    >>> groups.x.shape, sorted(groups.state)
    ((4, 3, 256), ['abundance', 'line_width', 'temperature'])
    >>> groups.virtual(state=0, group=1, instance=2).shape
    (256,)
    """
    check_counts(n_states, n_instances)
    if n_pixels < 2:
        raise InputError(f"n_pixels must be at least 2; received {n_pixels}.")
    if not set(nuisances) <= set(NUISANCES):
        raise InputError(
            f"nuisances must be some of {NUISANCES}; received {tuple(nuisances)}."
        )
    rng = np.random.default_rng(seed)
    state = {
        "temperature": rng.uniform(-1.0, 1.0, n_states),
        "abundance": rng.uniform(0.1, 1.0, (n_states, 4)),
        "line_width": rng.uniform(0.008, 0.02, n_states),
    }
    shape = (n_states, n_instances)
    nuisance = {
        "water": rng.uniform(0.0, 1.5, shape),
        "oxygen": rng.uniform(0.5, 1.5, shape),
        "slope": rng.normal(0.0, BLAZE_SLOPE, shape),
        "curvature": rng.normal(0.0, 0.1, shape),
        "velocity": rng.uniform(-0.02, 0.02, shape),
    }
    for name in set(NUISANCES).difference(nuisances):
        nuisance[name] = np.zeros(shape)
    render = partial(
        render_exposures,
        ENTANGLED_SLOPE if entangled else 0.0,
        excitation=excitation,
        n_pixels=n_pixels,
    )
    group, instance = np.indices(shape)
    clean = GroupedData(
        x=np.empty((*shape, n_pixels), "float32"),
        state=state,
        nuisance=nuisance,
        axis=np.linspace(-1.0, 1.0, n_pixels),
        axis_label="normalised wavelength x",
        render=render,
    )
    noise = rng.standard_normal((*shape, n_pixels), dtype="float32") / SNR
    clean.x[:] = clean.virtual(group, group, instance) + noise
    return clean
