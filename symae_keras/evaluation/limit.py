"""Redatuming error that a linear method can reach, predicted before training."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Final

import numpy as np

from symae_keras._utils.validation import is_integer, number, positive_finite
from symae_keras.classical import LinearMixedModel
from symae_keras.data.groups import Array, GroupedData
from symae_keras.errors import InputError
from symae_keras.evaluation._halves import is_crossed
from symae_keras.evaluation._limit_signs import signs_of_confounding
from symae_keras.evaluation._limit_terms import (
    Interactions,
    Moments,
    components,
    noise_variance,
)

#: More instances would reduce the interval only slightly, and take time.
_MOST_INSTANCES: Final = 4096
#: Data with more pixels are reduced to this number of principal components.
_MOST_COMPONENTS: Final = 256
#: Number of instances for the principal components.
_MOST_FOR_COMPONENTS: Final = 2048
_FOLDS: Final = 5
_BLOCKS_OF_FOLD: Final = 4
#: After this number of EM steps, the likelihood changes little.
_STEPS: Final = 15
#: Every number from 2 to 64 and a geometric grid beyond.
_EVERY: Final = 64
_GRID: Final = np.unique(
    np.concatenate([np.arange(2, _EVERY + 1), np.geomspace(_EVERY, 1 << 16, 61)])
).astype(int)


@dataclasses.dataclass(frozen=True)
class RedatumingLimit:
    """Redatuming error of the best linear method, by number of instances per group.

    All errors are in the units of `redatuming_error`: mean squared errors divided by
    the variance of the data without pixel noise.

    Attributes:
        n_instances: Numbers of instances per group, `T`.
        errors: Predicted redatuming error for each of them.
        intervals: Confidence interval of each error, from a jackknife over groups.
        level: Confidence level of the intervals.
        interaction: The part of every error that is due to nuisances that act
            differently on each state. More instances do not reduce it; a nonlinear
            model such as `SymAE` can.
        noise: Variance of white pixel noise, which comes from the instances that
            provide the nuisance; 0 if no white noise is detected.
        warnings: Signs that nuisances are confounded with groups, one sentence each. In
            this case, predictions are too low.
        curve: Predicted errors for the numbers of instances in `curve_instances`.
        curve_instances: Increasing numbers of instances, from 2 to 65536.
    """

    n_instances: tuple[int, ...]
    errors: tuple[float, ...]
    intervals: tuple[tuple[float, float], ...]
    level: float
    interaction: float
    noise: float
    warnings: tuple[str, ...]
    curve: tuple[float, ...] = dataclasses.field(repr=False)
    curve_instances: tuple[int, ...] = dataclasses.field(repr=False)

    def instances_for(self, error: float) -> int | None:
        """Return the smallest number of instances per group that achieves an error.

        Args:
            error: The wanted redatuming error, positive.

        Returns:
            The number, or `None` if no number up to 65536 achieves the error. It is at
            least 2, because one instance per group contains no information on
            nuisances.

        Raises:
            ValueError: `error` is not a positive finite number.
        """
        positive_finite("error", error)
        reached = np.flatnonzero(np.asarray(self.curve) <= error)
        if not len(reached):
            return None
        last = int(reached[0])
        if last == 0 or self.curve_instances[last] <= _EVERY:
            return self.curve_instances[last]
        # Between two points of the grid, the error is linear in 1 / T.
        low, high = self.curve_instances[last - 1], self.curve_instances[last]
        above, below = self.curve[last - 1], self.curve[last]
        share = (above - error) / (above - below)
        inverse = 1.0 / low + share * (1.0 / high - 1.0 / low)
        return min(high, math.ceil(1.0 / inverse))


def redatuming_limit(
    groups: GroupedData,
    instances: Sequence[int] = (2, 4, 8, 16, 32),
    level: float = 0.9,
    seed: int = 0,
) -> RedatumingLimit:
    """Predict the redatuming error of the best linear method, without ground truth.

    The data are modelled by a mean, states with covariance `B`, nuisances with
    covariance `W`, and white noise of variance `v` per pixel. A part of `W`, with
    covariance `I`, is the interaction of nuisance and state. `W` includes `I` and `v`.
    The linear mixed model predicts state `i` under a nuisance of group `j` as `C_i +
    x_j[t] - C_j`, where `C = mean + G (group mean - mean)`. With `G = B (B + W / T)^-1`
    from other groups, its mean squared error is exactly

            2 trace((1 - G) B (1 - G)' + G W G' / T)         nuisance in the state
            estimate
            + 2 trace(I)                                     interaction with the state
            + v pixels                                       noise of x_j[t]
            - 2 / T trace(G (I + v))                         already contained in C_j

    divided by `trace(B + W) - v pixels`. `LinearMixedModel` is fitted in 5 folds, and
    unbiased moments of the left-out groups give the first line. For the exact `G`, that
    line is `2 trace(B - B (B + W / T)^-1 B)`. The error decreases with `T`, unless most
    of it is noise, which partly cancels with `C_j` for few instances.

    `I` is estimated from the change of the covariance within groups with the state.
    Among all effects that explain the change, the smallest are used. Interactions that
    do not change covariances are missed. `v` is estimated from the smallest eigenvalues
    of `W` if they are equal.

    The computation takes less than 30 s. If there are more than 4096 instances, groups
    are drawn at random. More than 256 pixels are replaced by 256 principal components;
    the remainder is modelled as one state and one nuisance of equal variance in all
    directions. Bad pixels are imputed by principal components, and pixels that are bad
    in more than half of the instances are left out. In a crossed design, where instance
    `t` of every group was measured by instrument `t`, the effects of the instruments on
    all groups are subtracted.

    Args:
        groups: Measured or simulated groups, of any sizes.
        instances: Numbers of instances per group to predict for, increasing. Defaults
            to 2, 4, 8, 16 and 32.
        level: Confidence level of the intervals. Defaults to 0.9.
        seed: Seed for the drawing of groups from large data. Defaults to 0.

    Returns:
        A `RedatumingLimit`.

    Raises:
        InputError: Fewer than three groups have two or more instances, an instance is
            not finite, the data are constant, all instances of each group are equal,
            or `instances` is not increasing.
        ValueError: `level` is not between 0 and 1.

    Example:
    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=(400, 1, 6)) + rng.normal(size=(400, 4, 6))
    >>> limit = redatuming_limit(GroupedData(x), instances=(4, 9))
    >>> abs(limit.errors[0] - 0.2) < 0.03, abs(limit.errors[1] - 0.1) < 0.02
    (True, True)
    >>> 7 <= limit.instances_for(0.1) <= 11
    True
    """
    wanted = list(instances)
    if (
        not wanted
        or not all(is_integer(each, 1) for each in wanted)
        or any(a >= b for a, b in zip(wanted[:-1], wanted[1:], strict=True))
    ):
        raise InputError(
            "instances must be increasing positive integers, such as (2, 4, 8); "
            f"received {wanted}."
        )
    number("level", level, "0 < level < 1", lambda value: 0.0 < value < 1.0)
    groups = _drawn(groups, np.random.default_rng(seed))
    rows = _Rows.of(groups, np.random.default_rng(seed))
    scores = rows.padded()
    model = LinearMixedModel(max_iter=2 * _STEPS).fit(scores)
    folds, blocks = _folds(rows.counts)

    numbers = np.unique([*_GRID, *wanted])
    moments, tails = [], []
    for fold in range(folds.max() + 1):
        other = LinearMixedModel(model.shrinkage_, max_iter=_STEPS).fit(
            scores[folds != fold]
        )
        chosen = blocks[folds == fold]
        held = scores[folds == fold]
        moments.append(Moments.of(other, held, chosen, blocks.max() + 1, numbers))
        tails.append(moments[-1].nuisance_spectrum(other))
    total = Moments.joined(moments)
    v = noise_variance(np.mean(tails, axis=0), rows.pixels, rows.rest_within)
    interactions = Interactions.of(model, scores, blocks, v)

    rest = rows.rest_between, rows.rest_within, rows.rest_pixels

    def errors(part: Moments, effect: Array) -> tuple[Array, float, float]:
        left = part.left(rest)
        overlap = interactions.overlap(model, effect, numbers) + v * part.gain(rest)
        size = float(np.trace(effect))
        variance = part.variance(rest) + rows.places - v * rows.pixels
        if not variance > 0.0:
            raise InputError("The data contain noise only: nothing can be predicted.")
        error = 2.0 * (left + size - overlap / numbers) + v * rows.pixels
        return (
            np.maximum(error, 0.0) / variance,
            2.0 * size / variance,
            v * rows.pixels / variance,
        )

    curve, interaction, noise = errors(total, interactions.effect())
    without = np.stack(
        [
            errors(total.without(block), interactions.effect(block))[0]
            for block in range(blocks.max() + 1)
        ]
    )
    spread = ((without - without.mean(axis=0)) ** 2).sum(axis=0)
    deviation = np.sqrt(spread * (1.0 - 1.0 / len(without)))
    width = deviation * _quantile(level, len(without) - 1)
    place = np.searchsorted(numbers, wanted)
    return RedatumingLimit(
        tuple(map(int, wanted)),
        tuple(curve[place].tolist()),
        tuple(
            (max(0.0, float(curve[n] - width[n])), float(curve[n] + width[n]))
            for n in place
        ),
        level,
        interaction,
        noise,
        signs_of_confounding(groups, scores, rows.crossed),
        tuple(curve[numbers > 1].tolist()),
        tuple(numbers[numbers > 1].tolist()),
    )


def _quantile(level: float, free: int) -> float:
    """Return the two-sided quantile of Student's distribution."""
    from scipy.stats import t

    return float(t.ppf(0.5 + 0.5 * level, free))


def _drawn(groups: GroupedData, rng: np.random.Generator) -> GroupedData:
    """Return non-empty groups, and only some of them if there are many instances."""
    good = groups.good_pixels.reshape(*groups.x.shape[:2], -1).any(axis=2)
    counts = good.sum(axis=1)
    if (counts > 1).sum() < 3:
        raise InputError(
            "The limit can be predicted from at least three groups with two or more "
            f"instances; received {(counts > 1).sum()} such of {len(groups)} groups."
        )
    order = np.arange(len(groups))
    if counts.sum() > _MOST_INSTANCES:
        order = rng.permutation(len(groups))
        # Groups with several instances come first.
        order = order[np.argsort(counts[order] < 2, kind="stable")]
        enough = np.cumsum(counts[order]) <= _MOST_INSTANCES
        enough[:3] = True
        order = np.sort(order[enough])
    return groups[order[counts[order] > 0]]


def _folds(counts: Array) -> tuple[Array, Array]:
    """Return the fold and the block of each group; a fold has several blocks.

    Every block gets its share of the groups of two or more instances.
    """
    several = int((counts > 1).sum())
    n_folds = min(_FOLDS, several)
    n_blocks = n_folds * max(1, min(_BLOCKS_OF_FOLD, several // n_folds))
    blocks = np.empty(len(counts), int)
    blocks[np.argsort(counts < 2, kind="stable")] = np.arange(len(counts)) % n_blocks
    return blocks % n_folds, blocks


@dataclasses.dataclass(frozen=True)
class _Rows:
    """Scaled instances as principal components, and the variance outside of them."""

    x: Array
    group: Array
    counts: Array
    pixels: int
    rest_between: float
    """Variance between groups outside the components."""
    rest_within: float
    places: float
    """Variance of the effects of positions in a crossed design."""
    crossed: bool

    @property
    def rest_pixels(self) -> int:
        """Number of directions outside the components."""
        return self.pixels - int(self.x.shape[1])

    @classmethod
    def of(cls, groups: GroupedData, rng: np.random.Generator) -> _Rows:
        flat = (*groups.x.shape[:2], -1)
        good = np.broadcast_to(groups.good_pixels, groups.x.shape).reshape(flat)
        group, place = np.nonzero(good.any(axis=2))
        good = good[group, place]
        x = np.where(good, groups.x.reshape(flat)[group, place], 0.0).astype("float64")
        if not np.isfinite(x).all():
            raise InputError(
                "Some present instances contain NaN or infinite values; mask them as "
                "absent or as bad pixels, or repair them."
            )
        often = good.mean(axis=0) >= 0.5
        if not often.any():
            raise InputError(
                "Every pixel is bad in more than half of the instances, so no "
                "covariance can be estimated."
            )
        x, good = x[:, often], good[:, often]
        counts = np.bincount(group, minlength=len(groups))
        mean = x.sum(axis=0) / good.sum(axis=0)
        x = np.where(good, x - mean, 0.0)
        scale = math.sqrt((x**2).sum() / good.sum())
        if not scale > 1e-12 * np.abs(mean).max():
            raise InputError(
                "The data are constant, so no relative error can be given."
            )
        x /= scale
        if not good.all():
            x = _filled(x, good, group, counts)
        crossed, places = is_crossed(groups), 0.0
        if crossed:
            effects = _means(x, place)
            x -= effects[place]
            places = float((effects[place] ** 2).sum() / len(x))
        if not ((x - _means(x, group)[group]) ** 2).sum() > 1e-24 * x.size:
            raise InputError(
                "All instances of each group are equal, so no nuisance is detected; "
                "check the grouping."
            )
        pixels = x.shape[1]
        between = within = 0.0
        if pixels > _MOST_COMPONENTS:
            chosen = np.arange(len(x))
            if len(x) > _MOST_FOR_COMPONENTS:
                chosen = rng.permutation(len(x))[:_MOST_FOR_COMPONENTS]
            basis = components(x[chosen], _MOST_COMPONENTS)
            kept = x @ basis
            between, within = (
                max(0.0, whole - part)
                for whole, part in zip(
                    _variances(x, group), _variances(kept, group), strict=True
                )
            )
            x = kept
        return cls(x, group, counts, pixels, between, within, places, crossed)

    def padded(self) -> GroupedData:
        """Return groups of components."""
        place = (
            np.arange(len(self.x)) - (np.cumsum(self.counts) - self.counts)[self.group]
        )
        mask = np.arange(self.counts.max()) < self.counts[:, None]
        x = np.zeros((*mask.shape, self.x.shape[1]))
        x[self.group, place] = self.x
        return GroupedData(x, mask=mask)


def _means(x: Array, index: Array) -> Array:
    counts = np.bincount(index)
    total = np.zeros((len(counts), x.shape[1]))
    np.add.at(total, index, x)
    return np.asarray(total / np.maximum(counts, 1)[:, None])


def _variances(x: Array, group: Array) -> tuple[float, float]:
    """Return unbiased variances between and within groups, summed over columns."""
    means, counts = _means(x, group), np.bincount(group)
    within = ((x - means[group]) ** 2).sum() / (len(x) - len(means))
    of_means = ((means - means.mean(axis=0)) ** 2).sum() / (len(means) - 1)
    return float(of_means - within * np.mean(1.0 / counts)), float(within)


def _filled(x: Array, good: Array, group: Array, counts: Array) -> Array:
    """Return centred rows whose bad pixels are imputed by principal components."""
    seen = _means(good.astype(float), group) * counts[:, None]
    means = _means(x, group) * counts[:, None] / np.maximum(seen, 1.0)
    x = np.where(good, x, means[group])
    few = np.arange(len(x))[:: max(1, len(x) // _MOST_FOR_COMPONENTS)]
    size = min(20, len(few) // 4 + 1, x.shape[1] // 4 + 1)
    for _ in range(10):
        basis = components(x[few], size)
        x = np.where(good, x, x @ basis @ basis.T)
    return x
