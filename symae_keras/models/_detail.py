"""Detail of states that the codes do not contain, estimated from residuals of groups.

The residual of an instance, `r[s] = x[s] - D(C, N[s])`, is modelled as the sum of two
parts: a detail `d` of the state, which is equal in all instances of the group, and a
part that is specific to the instance and has variance `v`. The best linear estimate of
`d` from the mean of `T` residuals is `g mean_s r[s]` with the gain

    g = var(d) / (var(d) + v / T) = T q / (1 + (T - 1) q),   q = var(d) / (var(d) + v).

This is the Spearman-Brown formula, and `q` is the reliability of a single instance (the
intraclass correlation). Both variances follow from a one-way analysis of variance.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from symae_keras._utils.arrays import Tensor, in_batches, to_numpy

_Array = npt.NDArray[Any]

#: With fewer groups, an improvement cannot be shown.
_MIN_GROUPS: Final = 5
#: The mean benefit must be at least this many standard errors. A gain that arises by
#: chance is small and does little harm, so a strict test would lose more than it saves.
_MIN_ERRORS: Final = 1.0
#: Pixels with less variance, relative to the largest, contain rounding errors only.
_ROUNDING: Final = 1e-10
#: Maximum number of residuals that are kept.
_MOST_NUMBERS: Final = 1 << 25


class Residuals(NamedTuple):
    """Residuals of groups over their good instances; arrays `(groups, pixels)`."""

    counts: _Array
    """Number of good instances."""
    means: _Array
    """Mean residuals, 0 where `counts` is 0."""
    squares: _Array
    """Sum of squared deviations from the means."""


def gain(reliability: Tensor, count: Tensor) -> Tensor:
    """Return the gain for a mean of `count >= 1` residuals (Spearman-Brown)."""
    return count * reliability / (1.0 + (count - 1.0) * reliability)


def residuals(model: Any, x: _Array, mask: _Array | None) -> Residuals:
    """Return the residuals of groups.

    Args:
        model: A model with `reconstruct` for groups.
        x: `(groups, instances, *instance_shape)`.
        mask: Mask of instances or pixels, or `None`.
    """

    def moments(x: _Array, mask: _Array | None) -> Residuals:
        decoded = to_numpy(model.reconstruct(x, mask))
        rows = (*x.shape[:2], -1)
        good = np.asarray(True if mask is None else mask)
        good = good.reshape(good.shape + (1,) * (x.ndim - good.ndim))
        good = np.broadcast_to(good, x.shape).reshape(rows)
        residual = np.where(good, (x - decoded).reshape(rows), 0.0)
        count = good.sum(axis=1)
        mean = residual.sum(axis=1) / np.maximum(count, 1)
        squares = (np.where(good, residual - mean[:, None], 0.0) ** 2).sum(axis=1)
        return Residuals(count, mean, squares)

    return Residuals(*in_batches(moments, x, mask))


def some_groups(x: _Array, mask: _Array | None) -> tuple[_Array, _Array | None]:
    """Return evenly spaced groups, at most as many as fit into memory."""
    few = max(_MIN_GROUPS, _MOST_NUMBERS // max(1, x[:1, 0].size))
    if len(x) <= few:
        return x, mask
    chosen = np.linspace(0, len(x) - 1, few).astype(int)
    return x[chosen], None if mask is None else mask[chosen]


def fit_reliability(found: Residuals) -> _Array | None:
    """Return the reliability of each pixel, or `None` if the detail does not help.

    The reliabilities are estimated with an empirical Bayes method, see `_reliability`.
    Leave-one-out cross-validation over groups measures how much the gains reduce the
    squared error of a group if they are estimated from the other groups, see
    `terms_of_change`. All gains are multiplied by the best factor of at most 1
    according to this measure. The detail helps if the mean reduction is at least one
    standard error.
    """
    n_groups = len(found.counts)
    if n_groups < _MIN_GROUPS:
        return None
    each = _Sums(
        (found.counts > 0).astype("float32"),
        found.counts,
        found.counts * found.means**2,
        found.squares,
    )
    total = _Sums(*(np.sum(values, axis=0, dtype="float64") for values in each))
    linear, quadratic = np.zeros((2, n_groups))
    for group in range(n_groups):
        own = Residuals(*(values[group : group + 1] for values in found))
        pairs = zip(total, each, strict=True)
        rest = _Sums(*(whole - values[group] for whole, values in pairs))
        terms = terms_of_change(own, _reliability(rest))
        linear[group], quadratic[group] = np.concatenate(terms)
    if not quadratic.sum() > 0.0:  # also true for NaN
        return None
    factor = float(np.clip(linear.sum() / quadratic.sum(), 0.0, 1.0))
    benefit = 2.0 * factor * linear - factor**2 * quadratic
    error = benefit.std(ddof=1) / np.sqrt(n_groups)
    if not benefit.mean() > _MIN_ERRORS * error:
        return None
    size = np.maximum(total.instances / np.maximum(total.groups, 1.0), 1.0)
    smaller = factor * gain(_reliability(total), size)
    # The inverse function of `gain`.
    return np.asarray(smaller / (size - (size - 1.0) * smaller), "float32")


def terms_of_change(found: Residuals, reliability: _Array) -> tuple[_Array, _Array]:
    """Return `a` and `b` in the change of a squared error, `b - 2 a`, per group.

    If `g r` is added to virtual instances, where `g` is the gain and `r` the mean
    residual, their squared error `d ** 2` becomes `(d - g r) ** 2`. The change is
    `g ** 2 r ** 2 - 2 g d r`. An unbiased estimate of `d r` is `r ** 2 - s ** 2 / T`,
    where `s ** 2` is the variance within the group. Both terms are summed over the good
    pixels of the instances.
    """
    count, mean, squares = (np.asarray(each, "float64") for each in found)
    pooled = squares.sum(axis=0) / np.maximum((count - 1.0).clip(0.0).sum(axis=0), 1.0)
    variance = np.where(count > 1.0, squares / np.maximum(count - 1.0, 1.0), pooled)
    there = np.maximum(count, 1.0)
    g = gain(reliability, there)
    linear = (count * g * (mean**2 - variance / there)).sum(axis=1)
    return linear, (count * (g * mean) ** 2).sum(axis=1)


class _Sums(NamedTuple):
    """Sums over groups, `(pixels,)`."""

    groups: _Array
    instances: _Array
    between: _Array
    """Sum of `T r ** 2`, where `r` is the mean residual."""
    within: _Array
    """Sum of squared deviations from the mean residuals."""


def _reliability(sums: _Sums) -> _Array:
    """Return empirical Bayes estimates of the reliability of each pixel.

    The ratio of the mean squares between and within groups, `MSB / MSW`, has about the
    expectation `1 + T var(d) / v`. The degrees of freedom give the sampling variance of
    its logarithm. The estimates of all pixels are shrunk towards their mean. The weight
    of the mean is the sampling variance divided by the variance over pixels, as in
    moderated statistics of few samples (Smyth, 2004).
    """
    reliability = np.zeros(sums.groups.shape)
    free = sums.instances - sums.groups
    between = sums.between / np.maximum(sums.groups, 1.0)
    within = sums.within / np.maximum(free, 1.0)
    least = _ROUNDING * float(np.max(between + within, initial=0.0))
    used = (free > 0.0) & (between > least)
    if not used.any():
        return reliability
    groups, free = sums.groups[used], free[used]
    size = sums.instances[used] / groups
    ratio = between[used] / np.maximum(within[used], _ROUNDING * between[used])
    # The logarithm of a mean square with k degrees of freedom has the bias -1 / k and
    # the variance 2 / k.
    ratio = np.log(ratio) + 1.0 / groups - 1.0 / free
    sampling = 2.0 / groups + 2.0 / free
    spread = max(float(ratio.var() - sampling.mean()), 0.0)
    centre = ratio.mean()
    ratio = centre + (ratio - centre) * spread / (spread + sampling)
    signal = np.expm1(ratio).clip(0.0)
    reliability[used] = signal / (signal + size)
    return reliability
