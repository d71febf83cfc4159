"""Conformal quantiles and p-values of groups.

Groups are exchangeable, but the instances of one group are not. Each group therefore
has the weight 1, which its instances share, as in Lee, Barber & Willett,
Distribution-free inference with hierarchical data, 2023
(https://arxiv.org/abs/2306.06342).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from symae_keras.data.groups import Array
from symae_keras.errors import InputError

#: Tolerance for integers that are computed as floats, such as 0.9 * 10.
_ROUNDING = 1e-9


def groups_needed(level: float) -> int:
    """Return the smallest number of groups for which a level has a conformal quantile.

    Example:
    >>> groups_needed(0.9), groups_needed(0.5)
    (9, 1)
    """
    return math.ceil(level / (1.0 - level) - _ROUNDING)


def quantile(scores: Any, level: float) -> float:
    """Return the smallest score that covers a new instance of a new group.

    With one score per group it is the `ceil((n + 1) level)`-th smallest of `n`.

    Args:
        scores: `(groups, instances)`, NaN where there is no score.
        level: Probability that the score of a new instance does not exceed the result.

    Raises:
        InputError: Too few groups have scores.

    Example:
    >>> quantile(np.arange(1.0, 20.0)[:, None], level=0.9)  # ceil(20 * 0.9)
    18.0
    """
    values, weights, n_groups = _weighted(scores)
    if n_groups < groups_needed(level):
        raise InputError(
            f"A conformal band with level {level:g} needs at least "
            f"{groups_needed(level)} calibration groups; received {n_groups}. Give "
            f"more groups, or a level of at most {n_groups / (n_groups + 1):.3g}."
        )
    enough = weights.cumsum() >= level * (n_groups + 1) - _ROUNDING * n_groups
    return float(values[enough.argmax()])


def p_values(scores: Any, new: Any) -> Array:
    """Return the share of groups, with the new one, whose scores are at least as large.

        p = (1 + sum over groups of the share of instances with score >= new) / (1 + n)

    It lies between `1 / (n + 1)` and 1.

    Args:
        scores: Scores of `n` calibration groups, `(groups, instances)`, NaN where there
            is no score.
        new: Scores to compare, of any shape; NaN stays NaN.

    Example:
    >>> p_values(np.arange(9.0)[:, None], [9.0, 8.0, 0.0]).tolist()
    [0.1, 0.2, 1.0]
    """
    values, weights, n_groups = _weighted(scores)
    below = np.concatenate([[0.0], weights.cumsum()])
    new = np.asarray(new, "float64")
    at_least = n_groups - below[np.searchsorted(values, new, side="left")]
    p = (1.0 + np.maximum(at_least, 0.0)) / (1.0 + n_groups)
    return np.where(np.isfinite(new), p, np.nan)


def _weighted(scores: Any) -> tuple[Array, Array, int]:
    """Return sorted scores, their weights, and the number of groups with scores."""
    scores = np.asarray(scores, "float64")
    there = np.isfinite(scores)
    counts = there.sum(axis=1)
    weights = np.repeat(1.0 / counts[counts > 0], counts[counts > 0])
    values = scores[there]
    order = np.argsort(values, kind="stable")
    return values[order], weights[order], int((counts > 0).sum())
