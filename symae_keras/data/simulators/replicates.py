"""Replicate spectra like those of laboratories: few samples, few replicates."""

from __future__ import annotations

from functools import partial
from typing import Final

import numpy as np

from symae_keras.data.groups import Array, GroupedData, Parameters, check_counts

AXIS: Final = np.linspace(-1.0, 1.0, 200)
#: Centres and widths of the bands.
BANDS: Final = ((-0.45, 0.12), (0.0, 0.10), (0.35, 0.14))
CONSTANT_BAND: Final = (0.8, 0.06)
NOISE: Final = 0.02


def simulate_replicates(
    n_states: int = 30,
    n_instances: int = 4,
    seed: int = 0,
    constant_band: bool = False,
) -> GroupedData:
    """Simulate replicate spectra of samples.

    An instance is `scatter * bands + baseline + noise` on 200 pixels `x` in [-1, 1].

    - State of a sample: the heights of three Gaussian bands, `U(0.2, 1)`.
    - Nuisance of a replicate: a shift `N(0, 0.01)` of all bands; multiplicative scatter
      whose logarithm is `N(0, 0.1)`; and a quadratic baseline `b0 + b1 x + b2 x^2` with
      coefficients `N(0, 0.1)`.
    - Noise: white Gaussian, standard deviation 0.02.

    Args:
        n_states: Number of samples (groups), at least 1.
        n_instances: Replicates per sample, at least 1.
        seed: Seed of states, nuisances and noise.
        constant_band: Whether to add a fourth band of height 1 in all samples, which
            identifies the scatter. Defaults to False.

    Returns:
        `GroupedData` with `x (n_states, n_instances, 200)` float32, the true `state`
        and `nuisance` parameters, and exact `virtual` instances.

    Raises:
        InputError: `n_states` or `n_instances` is below 1.

    Example:
    >>> groups = simulate_replicates(n_states=5, seed=0)
    >>> groups.x.shape, groups.state["heights"].shape
    ((5, 4, 200), (5, 3))
    """
    check_counts(n_states, n_instances)
    rng = np.random.default_rng(seed)
    heights = rng.uniform(0.2, 1.0, (n_states, len(BANDS)))
    shape = n_states, n_instances
    nuisance = {
        "shift": rng.normal(0.0, 0.01, shape),
        "scatter": rng.normal(0.0, 0.1, shape),
        "baseline": np.stack([rng.normal(0.0, 0.1, shape) for _ in range(3)], axis=-1),
    }
    each = {"heights": np.repeat(heights, n_instances, axis=0)}
    rows = {k: v.reshape(-1, *v.shape[2:]) for k, v in nuisance.items()}
    x = _render(constant_band, each, rows).reshape(*shape, AXIS.size)
    x = x + rng.normal(0.0, NOISE, x.shape)
    return GroupedData(
        x.astype("float32"),
        state={"heights": heights},
        nuisance=nuisance,
        axis=AXIS,
        render=partial(_virtual, constant_band),
    )


def _virtual(constant_band: bool, state: Parameters, nuisance: Parameters) -> Array:
    return _render(constant_band, state, nuisance).astype("float32")


def _render(constant_band: bool, state: Parameters, nuisance: Parameters) -> Array:
    shift = nuisance["shift"][:, None]
    x = sum(
        state["heights"][:, k : k + 1] * _band(shift, *band)
        for k, band in enumerate(BANDS)
    )
    if constant_band:
        x = x + _band(shift, *CONSTANT_BAND)
    x = x * np.exp(nuisance["scatter"][:, None])
    for power in range(3):
        x = x + nuisance["baseline"][:, power, None] * AXIS**power
    return np.asarray(x)


def _band(shift: Array, centre: float, width: float) -> Array:
    return np.asarray(np.exp(-0.5 * ((AXIS - shift - centre) / width) ** 2))
