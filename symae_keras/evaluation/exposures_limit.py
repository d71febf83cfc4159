"""The best redatuming error that the entangled exposures allow."""

from __future__ import annotations

import numpy as np

from symae_keras.data.exposures import (
    BLAZE_SLOPE,
    ENTANGLED_SLOPE,
    simulate_exposures,
)
from symae_keras.data.groups import Array, Parameters
from symae_keras.evaluation.redatuming import fixed_pairing, relative_error


def _posterior_temperature(mean_slope: Array, n_instances: int) -> Array:
    """Posterior mean of T given `0.4 T + mean(s)`; T ~ U(-1, 1), s ~ N(0, 0.15)."""
    grid = np.linspace(-1.0, 1.0, 2001)
    width = BLAZE_SLOPE / np.sqrt(n_instances)
    misfit = (mean_slope[:, None] - ENTANGLED_SLOPE * grid) / width
    weight = np.exp(-0.5 * misfit**2)
    return np.asarray(weight @ grid / weight.sum(axis=1))


def exposures_limit(
    n_instances: int = 16, n_states: int = 1000, seed: int = 0
) -> float:
    """Redatuming error of an estimator that knows all that exposures can tell.

    It knows every parameter of the benchmark but one: how the mean slope of a group
    splits into the star's own, `0.4 T`, and the mean of the exposures', `mean(s)`. To
    first order no data tell; it takes the posterior mean, the optimal split. The error
    falls as 1 / `n_instances`.

    Args:
        n_instances: Exposures of each star.
        n_states: Stars in the Monte Carlo average.
        seed: Seed of the simulated stars.

    Returns:
        Mean squared error over the variance of the truth, without pixel noise.

    Example:
    >>> bool(0.015 < exposures_limit(n_instances=16, n_states=100) < 0.03)
    True
    """
    groups = simulate_exposures(n_states, n_instances, seed)
    assert groups.render is not None  # simulated, so it has one
    temperature, slope = groups.state["temperature"], groups.nuisance["slope"]
    mean_slope = ENTANGLED_SLOPE * temperature + slope.mean(axis=1)
    guess = _posterior_temperature(mean_slope, n_instances)
    guessed_slope = slope + ENTANGLED_SLOPE * (temperature - guess)[:, None]

    source = fixed_pairing(n_states)
    state: Parameters = {**groups.state, "temperature": guess}
    nuisance: Parameters = {**groups.nuisance, "slope": guessed_slope}
    guessed = groups.render(
        {k: np.repeat(v[source], n_instances, axis=0) for k, v in state.items()},
        {k: v.reshape(-1) for k, v in nuisance.items()},
    )
    own, instance = np.indices(slope.shape)
    truth = groups.virtual(source[:, None], own, instance)
    return relative_error(guessed, truth.reshape(guessed.shape))
