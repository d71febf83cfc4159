"""Calibration of intervals, distance of samples, latent variables in use."""

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
    """How often the truth lies inside of intervals that should hold it.

    Attributes:
        levels: How often it should, 0.1 to 0.9.
        coverage: How often it does.
        error: Mean absolute difference of the two; 0 is calibrated.
        spread: Root mean square of error over stated standard deviation: 1 is
            calibrated, 2 means that errors are twice as large as stated.
    """

    levels: tuple[float, ...]
    coverage: tuple[float, ...]
    error: float
    spread: float


def calibration(truth: Any, mean: Any, standard_deviation: Any) -> Calibration:
    """Compare stated Gaussian uncertainties with the errors made.

    A variational model states a standard deviation of each number of a code, and draws
    from it one of each pixel. Where there is no truth, take two codes of one group from
    instances that they do not share, `mean` and `truth`, and the square root of the sum
    of their variances.

    Args:
        truth: Array of any shape.
        mean: What was predicted, of the same shape.
        standard_deviation: The stated uncertainty, positive, of the same shape or one
            that broadcasts to it.

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
            "truth and mean must be arrays of one shape; received "
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
    """Energy distance between two sets of instances.

    With the Euclidean distances between instances `x, x'` of one set and `y, y'` of the
    other,

        sqrt(2 mean |x - y| - mean |x - x'| - mean |y - y'|),

    which is 0 if the sets are equal and tends to 0 with their size only if they are
    drawn from one distribution. Two sets of real instances of the same sizes tell how
    low it can be.

    Args:
        one: `(rows, *instance_shape)`.
        other: `(rows, *instance_shape)`, of as many rows or not.

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
            "Both sets must hold instances of one shape; received arrays of shape "
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


# Makes the median absolute deviation of a normal distribution its standard deviation.
_OF_NORMAL = 1.4826


class InformativeLatents(NamedTuple):
    """The informative numbers of a code, found in two ways.

    Attributes:
        kl: Mean divergence of each from the prior, in nats, `(code_dim,)`.
        by_kl: Indices of those that tell more than the threshold.
        dispersion: Robust standard deviation of each mean over the data, `(code_dim,)`.
        by_dispersion: Indices of those that are dispersed.
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
    """Find the numbers of a variational code that its encoder uses.

    A divergence in the loss switches numbers off that do not pay for themselves: their
    posterior is the prior N(0, 1) whatever the data, so that the mean stays at 0, with
    unit variance. The others are informative, and are found

    - by the divergence of the posterior from the prior, averaged over data,
      `(mean^2 + variance - 1 - log variance) / 2`: an upper bound of the mutual
      information between number and data, where numbers in use have some tenths of a
      nat to several nats, and others none;
    - by the dispersion of the means over the data, 0 for a number out of use and close
      to 1 for one in use, as Sedaghat et al. do. It is taken from the median absolute
      deviation, which a few odd spectra do not move.

    The two agree but for numbers whose mean is at one value for nearly all data, with a
    small variance: those have a divergence, and are not dispersed.

    Args:
        mean: Means of the posterior, `(rows, code_dim)`, such as
            `StellarAutoencoder.posterior` gives.
        log_variance: Logarithms of its variance, of the same shape.
        kl_threshold: Nats above which a number is informative. Defaults to 0.1.
        dispersion_threshold: Standard deviation of the means above which it is.
            Defaults to 0.3.

    Returns:
        An `InformativeLatents`; the counts are the lengths of its two lists.

    Raises:
        InputError: The arrays are not of one shape `(rows, code_dim)`.

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
            "mean and log_variance must have one shape (rows, code_dim); received "
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
