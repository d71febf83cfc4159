"""Calibration: whether stated uncertainties are those of the errors made."""

from __future__ import annotations

import dataclasses
import math
from statistics import NormalDist
from typing import Any

import numpy as np

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
