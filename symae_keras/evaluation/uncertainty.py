"""Calibration of intervals, distance of samples, and active latent variables."""

from __future__ import annotations

import dataclasses
import math
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np

from symae_keras.data.groups import Array
from symae_keras.errors import InputError

_LEVELS = tuple(round(0.1 * k, 1) for k in range(1, 10))


@dataclasses.dataclass(frozen=True)
class Calibration:
    """Observed coverage of prediction intervals, compared with their nominal levels.

    Attributes:
        levels: Nominal levels, 0.1 to 0.9.
        coverage: Observed share of true values inside the intervals of each level.
        error: Mean absolute difference of the two; 0 is calibrated.
        spread: Root mean square of error over predicted standard deviation: 1 is
            calibrated, 2 means that errors are twice as large as predicted.
    """

    levels: tuple[float, ...]
    coverage: tuple[float, ...]
    error: float
    spread: float


def calibration(truth: Any, mean: Any, standard_deviation: Any) -> Calibration:
    """Compare predicted Gaussian uncertainties with actual errors.

    A variational model predicts a standard deviation for each component of a code. The
    standard deviation of each pixel follows from decoded draws. Without ground truth,
    encode two disjoint sets of instances of one group, use one code as `mean` and the
    other as `truth`, and give the square root of the sum of their variances.

    Args:
        truth: Array of any shape.
        mean: Predicted values, of the same shape.
        standard_deviation: Predicted uncertainty, positive, of a shape that broadcasts
            to that of `truth`.

    Returns:
        A `Calibration`.

    Raises:
        InputError: Shapes do not fit, or a standard deviation is not positive.

    Reference:
        - [Kuleshov, Fenner & Ermon, Accurate uncertainties for deep learning using
          calibrated regression, 2018](https://arxiv.org/abs/1807.00263)

    Example:
    >>> rng = np.random.default_rng(0)
    >>> errors = rng.normal(size=10_000)
    >>> honest, boastful = calibration(errors, 0 * errors, 1), calibration(
    ...     errors, 0 * errors, 0.5
    ... )
    >>> round(honest.error, 2), round(boastful.spread, 1)
    (0.0, 2.0)
    """
    truth, mean, scale = (
        np.asarray(each, "float64") for each in (truth, mean, standard_deviation)
    )
    if truth.shape != mean.shape or not truth.size:
        raise InputError(
            "truth and mean must be arrays of the same shape; received "
            f"{truth.shape} and {mean.shape}."
        )
    if not (scale > 0.0).all():
        raise InputError("standard_deviation must be positive everywhere.")
    try:
        z = (truth - mean) / np.broadcast_to(scale, truth.shape)
    except ValueError:
        raise InputError(
            f"standard_deviation must broadcast to {truth.shape}; received "
            f"{scale.shape}."
        ) from None
    half_widths = [NormalDist().inv_cdf(0.5 + 0.5 * level) for level in _LEVELS]
    coverage = tuple(float(np.mean(np.abs(z) <= width)) for width in half_widths)
    return Calibration(
        _LEVELS,
        coverage,
        error=float(np.mean(np.abs(np.subtract(coverage, _LEVELS)))),
        spread=math.sqrt(float(np.mean(z**2))),
    )


def energy_distance(one: Any, other: Any) -> float:
    """Compute the energy distance between two sets of instances.

    With Euclidean distances between instances `x, x'` of one set and `y, y'` of the
    other, it is

        sqrt(2 mean |x - y| - mean |x - x'| - mean |y - y'|).

    It is 0 if the sets are equal. With increasing size of the sets, it tends to 0 only
    if both are drawn from the same distribution. For the expected lower limit, compute
    it for two sets of real instances of the same sizes.

    Args:
        one: `(rows, *instance_shape)`.
        other: `(rows, *instance_shape)`, where the number of rows may differ.

    Returns:
        The distance, in units of the data.

    Reference:
        - [Székely & Rizzo, Energy statistics,
          2013](https://doi.org/10.1016/j.jspi.2013.03.018)

    Example:
    >>> rng = np.random.default_rng(0)
    >>> real, as_good, shifted = rng.normal(size=(3, 500, 10))
    >>> energy_distance(real, as_good) < 0.2 < energy_distance(real, shifted + 0.5)
    True
    """
    one, other = (np.asarray(each, "float64") for each in (one, other))
    if one.shape[1:] != other.shape[1:] or not one.size or not other.size:
        raise InputError(
            "Both sets must have instances of the same shape; received arrays of shape "
            f"{one.shape} and {other.shape}."
        )
    one, other = (each.reshape(len(each), -1) for each in (one, other))
    squared = (
        2.0 * _mean_distance(one, other)
        - _mean_distance(one, one)
        - _mean_distance(other, other)
    )
    return float(np.sqrt(max(squared, 0.0)))


def _mean_distance(one: Array, other: Array) -> float:
    # |x - y|^2 = |x|^2 + |y|^2 - 2 x.y, which needs no array of all differences.
    middle = one.mean(axis=0)
    one, other = one - middle, other - middle
    squares = (one**2).sum(axis=1)[:, None] + (other**2).sum(axis=1)
    squares -= 2.0 * one @ other.T
    return float(np.sqrt(np.maximum(squares, 0.0)).mean())


# Converts the median absolute deviation of a normal distribution to its standard
# deviation.
_OF_NORMAL = 1.4826


class InformativeLatents(NamedTuple):
    """Active components of a code, according to two criteria.

    Attributes:
        kl: Mean KL divergence of each component from the prior, in nats, `(code_dim,)`.
        by_kl: Indices of components with a divergence above the threshold.
        dispersion: Robust standard deviation of each mean over the data, `(code_dim,)`.
        by_dispersion: Indices of components with a dispersion above the threshold.
    """

    kl: Array
    by_kl: Array
    dispersion: Array
    by_dispersion: Array


def informative_latents(
    mean: Array,
    log_variance: Array,
    kl_threshold: float = 0.1,
    dispersion_threshold: float = 0.3,
) -> InformativeLatents:
    """Find the active components of a variational code.

    The KL term of the loss switches off components that do not reduce the
    reconstruction error enough. Their posterior is the prior N(0, 1) for all data, so
    that the mean stays at 0, with unit variance. The other components are informative.
    There are two criteria:

    - The KL divergence of the posterior from the prior, averaged over data,
      `(mean^2 + variance - 1 - log variance) / 2`. It is an upper bound of the mutual
      information between component and data. Active components have some tenths of a
      nat to several nats, and inactive ones have none.
    - The dispersion of the means over the data, which is 0 for an inactive component
      and
      close to 1 for an active one, as in Sedaghat et al. It is computed from the median
      absolute deviation, which is robust against a few odd spectra.

    The two criteria agree except for components whose mean is the same for nearly all
    data but whose variance is small: these have a divergence but no dispersion.

    Args:
        mean: Means of the posterior, `(rows, code_dim)`, such as those from
            `StellarAutoencoder.posterior`.
        log_variance: Logarithms of its variance, of the same shape.
        kl_threshold: Divergence in nats above which a component is informative.
            Defaults to 0.1.
        dispersion_threshold: Dispersion above which a component is informative.
            Defaults to 0.3.

    Returns:
        An `InformativeLatents`; the counts are the lengths of its two lists.

    Raises:
        InputError: The arrays do not have the same shape `(rows, code_dim)`.

    Reference:
        - [Sedaghat et al., 2021](https://arxiv.org/abs/2009.12872), section 6

    Example:
    >>> rng = np.random.default_rng(0)
    >>> mean = rng.normal(size=(1000, 3)) * [1.0, 0.01, 1.0]
    >>> variance = np.broadcast_to([0.01, 1.0, 0.1], mean.shape)
    >>> found = informative_latents(mean, np.log(variance))
    >>> found.by_kl.tolist(), found.by_dispersion.tolist()
    ([0, 2], [0, 2])
    """
    mean = np.asarray(mean, "float64")
    log_variance = np.asarray(log_variance, "float64")
    if mean.ndim != 2 or mean.shape != log_variance.shape or not len(mean):
        raise InputError(
            "mean and log_variance must have the same shape (rows, code_dim); received "
            f"{mean.shape} and {log_variance.shape}."
        )
    kl = 0.5 * (mean**2 + np.exp(log_variance) - 1.0 - log_variance).mean(axis=0)
    deviation = np.abs(mean - np.median(mean, axis=0))
    dispersion = _OF_NORMAL * np.median(deviation, axis=0)
    return InformativeLatents(
        kl,
        np.flatnonzero(kl > kl_threshold),
        dispersion,
        np.flatnonzero(dispersion > dispersion_threshold),
    )
