"""Generation: whether made-up instances could be real ones."""

from __future__ import annotations

from typing import Any

import numpy as np

from symae_keras.data.groups import Array
from symae_keras.errors import InputError


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
