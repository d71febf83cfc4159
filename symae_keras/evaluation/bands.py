"""Simultaneous conformal bands for virtual instances."""

from __future__ import annotations

import logging
import math
from typing import Any, Final, Self

import numpy as np

from symae_keras._utils.arrays import in_batches
from symae_keras._utils.validation import number
from symae_keras.data.groups import Array, GroupedData
from symae_keras.errors import InputError
from symae_keras.evaluation._conformal import groups_needed, quantile
from symae_keras.evaluation._halves import (
    in_random_order,
    is_crossed,
    repeated_part,
    sum_of_squared_shares,
)
from symae_keras.evaluation.estimate import estimate_redatuming_error
from symae_keras.evaluation.new_data import MIN_GROUPS, NewData

_log = logging.getLogger("symae_keras")

_MOST_GROUPS: Final = 512
#: Maximum number of instances in memory during calibration.
_MOST_NUMBERS: Final = 1 << 25
#: Minimum share of the square of a residual that is left without noise.
_LEAST_LEFT: Final = 0.02
#: Number of differences between codes of halves that define the scale of a band.
_DIFFERENCES: Final = 8


class Bands:
    """Simultaneous conformal bands for virtual instances.

    A band contains the whole true virtual instance, all pixels at once, with the
    probability `level`. The band is

        D(C_i, N_j[t]) -+ quantile * scale(pixel)

    where the scale estimates the local error and the quantile is calibrated on held-out
    groups. Every group counts equally: the scores of its instances share a weight of 1
    (hierarchical conformal prediction). If each of `n` groups has one score, the
    quantile is the `ceil((n + 1) level)`-th smallest score.

    The true virtual instance cannot be measured, except in a **crossed** design, where
    instance `t` of every group has the same nuisance, such as an instrument:

    - Crossed: instance `t` of group `i` is predicted from the other instances of `i`
        and the nuisance of instance `t` of another group, and compared with the
        measured one. The coverage then follows from the exchangeability of groups
        alone. The band refers to a measurement, with its own noise and position.
    - Not crossed: the error of a virtual instance is `e_j - e_i + r`, see the page "Did
        it work?". `r` is observed, and white noise is subtracted from its square.
        Differences between decoded halves of a group, and decoded nuisances of other
        groups, have the form of `e`, and are scaled to the variances that
        `estimate_redatuming_error` finds. The band refers to the noise-free virtual
        instance. The coverage is valid only if nuisances are independent of groups, as
        the estimate assumes.

    Attributes:
        level: Probability that a band contains the whole virtual instance.
        crossed: Whether the calibration groups have a crossed design.
        quantile: Half-width of the bands in units of the scale.
        n_groups: Number of calibration groups.
        variance: The part of the squared scale that is common to all virtual instances,
            float32 or float64 of `instance_shape`.
        code_differences: Differences between coherent codes of one instance each,
            `(differences, coherent_dim)`; `None` for crossed designs. For virtual
            instances from `a` and to `b` present instances, the mean square of `D(C +
            h, N) - D(C - h, N)` is added to the squared scale, where `h` is half a
            difference times `sqrt(1 / a + 1 / b)`.

    Reference:
        - [Lei et al., Distribution-free predictive inference for regression,
          2018](https://arxiv.org/abs/1604.04173)
        - [Diquigiovanni, Fontana & Vantini, Conformal prediction bands for multivariate
          functional data, 2022](https://arxiv.org/abs/2106.01792)
        - [Lee, Barber & Willett, Distribution-free inference with hierarchical data,
          2023](https://arxiv.org/abs/2306.06342)

    Example:
    >>> from symae_keras.classical import GroupedPCA
    >>> from symae_keras.data import simulate_exposures
    >>> groups = simulate_exposures(n_states=150, n_instances=4, seed=0)
    >>> model = GroupedPCA().fit(groups[:80])
    >>> bands = Bands.fit(model, groups[80:120], level=0.9)
    >>> xa, xb = groups.x[120:135], groups.x[135:]
    >>> lower, upper = bands.of(coherent_from=xa, nuisance_from=xb)
    >>> lower.shape, bool((lower < upper).all())
    ((15, 4, 256), True)
    """

    def __init__(
        self,
        model: Any,
        level: float,
        crossed: bool,
        scores: Array,
        fixed: Array,
        differences: Array | None,
        new_data: NewData | None,
    ) -> None:
        self.level = level
        self.crossed = crossed
        self.quantile = quantile(scores, level)
        self.n_groups = len(scores)
        self._model = model
        self.variance = fixed
        self.code_differences = differences
        self._new_data = new_data

    @classmethod
    def fit(
        cls,
        model: Any,
        groups: GroupedData,
        level: float = 0.9,
        crossed: bool | None = None,
        seed: int = 0,
    ) -> Self:
        """Calibrate bands on held-out groups.

        Args:
            model: A model with `encode`, `decode` and `redatum` for groups, such as
                `SymAE`.
            groups: Groups that the model was not trained on, with or without masks.
                Groups of one instance are left out. If there are more than 512 groups,
                512 are drawn.
            level: Probability that a band contains the whole virtual instance. Defaults
                to 0.9.
            crossed: Whether instance `t` of every group has the same nuisance. With
                `None` (default), the design is crossed if the position of an instance
                explains more than half of the variance within groups.
            seed: Seed of halves and draws. Defaults to 0.

        Returns:
            The bands.

        Raises:
            InputError: Fewer than `level / (1 - level)` groups (9 for 0.9) have several
                instances.
        """
        number("level", level, "0 < level < 1", lambda value: 0.0 < value < 1.0)
        rng = np.random.default_rng(seed)
        n_several = int((groups.counts > 1).sum())
        needed = max(groups_needed(level), 2)
        if n_several < needed:
            raise InputError(
                f"Bands with level {level:g} need at least {needed} held-out groups "
                f"of two or more instances; received {n_several}; hold out more "
                "groups, or choose a lower level."
            )
        new_data = NewData.fit(model, groups) if len(groups) >= MIN_GROUPS else None
        groups = groups[groups.counts > 1]
        most = max(needed, min(_MOST_GROUPS, _MOST_NUMBERS // groups.x[0].size))
        if len(groups) > most:
            groups = groups[np.sort(rng.permutation(len(groups))[:most])]
        if crossed is None:
            crossed = is_crossed(groups)
        found: tuple[Array, Array, Array | None]
        if crossed:
            found = _measured_errors(model, groups)
        else:
            found = _composed_errors(model, groups, rng)
        scores, fixed, differences = found
        return cls(model, level, crossed, scores, fixed, differences, new_data)

    def of(
        self,
        coherent_from: Any,
        nuisance_from: Any,
        coherent_mask: Array | None = None,
        nuisance_mask: Array | None = None,
    ) -> tuple[Array, Array]:
        """Return bands for virtual instances: states under the nuisances of others.

        If groups or instances differ from the held-out ones, the logger `"symae_keras"`
        issues a warning, see `NewData`: bands are not valid for them.

        Args:
            coherent_from: `(groups, instances_a, *instance_shape)`, the states to show,
                or `GroupedData`.
            nuisance_from: `(groups, instances_b, *instance_shape)`, the nuisances to
                show them under, or `GroupedData`. A single group in either argument is
                used for all groups of the other.
            coherent_mask: Mask of `coherent_from`, see `SymAE.encode`.
            nuisance_mask: Mask of `nuisance_from`.

        Returns:
            `lower, upper`: float32 arrays `(groups, instances_b, *instance_shape)`.
            Where an instance of `nuisance_from` is absent, they are not meaningful.

        Raises:
            InputError: The numbers of groups do not fit.
        """
        states = _as_groups(coherent_from, coherent_mask)
        nuisances = _as_groups(nuisance_from, nuisance_mask)
        if self._new_data is not None:
            for name, each in (("coherent", states), ("nuisance", nuisances)):
                for sentence in self._new_data.check(each).warnings():
                    _log.warning("%s_from: %s", name, sentence)
        sizes = len(states), len(nuisances)
        if sizes[0] != sizes[1] and 1 not in sizes:
            raise InputError(
                "coherent_from and nuisance_from must have the same number of groups, "
                "or one of them a single group, which is used for all; received "
                f"{sizes[0]} and {sizes[1]}."
            )
        every = np.arange(max(sizes))
        states = states[every % sizes[0]]
        nuisances = nuisances[every % sizes[1]]
        virtual = _virtual(self._model, states, nuisances)
        variance = np.broadcast_to(self.variance, virtual.shape)
        if self.code_differences is not None:
            coherent = in_batches(self._model.encode, states.x, states.model_mask)[0]
            nuisance = in_batches(self._model.encode, nuisances.x, nuisances.model_mask)
            shares = 1.0 / states.counts.clip(1) + 1.0 / nuisances.counts.clip(1)
            variance = variance + _spread(
                self._model, coherent, nuisance[1], self.code_differences, shares
            )
        half = np.sqrt(variance)
        half = (self.quantile * half).astype("float32")
        return virtual - half, virtual + half


def _as_groups(x: Any, mask: Array | None) -> GroupedData:
    if isinstance(x, GroupedData):
        return x
    x = np.asarray(x)
    if mask is not None and np.ndim(mask) == x.ndim:
        mask = np.asarray(mask, bool)
        present = np.asarray(mask.any(axis=tuple(range(2, x.ndim))))
        return GroupedData(x, mask=present, pixel_mask=mask)
    return GroupedData(x, mask=mask)


def _virtual(model: Any, states: GroupedData, nuisances: GroupedData) -> Array:
    return _redatum(
        model, (states.x, states.model_mask), (nuisances.x, nuisances.model_mask)
    )


def _redatum(
    model: Any,
    states: tuple[Array, Array | None],
    nuisances: tuple[Array, Array | None],
) -> Array:
    virtual = in_batches(
        lambda xa, ma, xb, mb: model.redatum(
            coherent_from=xa, nuisance_from=xb, coherent_mask=ma, nuisance_mask=mb
        ),
        *states,
        *nuisances,
    )
    return np.asarray(virtual)


def _over(values: Array, ndim: int) -> Array:
    """Add axes of length 1 for pixels."""
    return values.reshape(*values.shape, *(1,) * (ndim - values.ndim))


# === Scores in a crossed design ===


def _measured_errors(model: Any, groups: GroupedData) -> tuple[Array, Array, None]:
    """Return scores, and variances of measured instances around predicted ones."""
    x, present = groups.x, groups.present
    good = np.broadcast_to(groups.good_pixels, x.shape)
    donors = groups[np.roll(np.arange(len(groups)), -1)]
    errors = np.zeros(x.shape, "float32")
    known = np.zeros_like(present)
    for place in range(x.shape[1]):
        hidden = np.arange(x.shape[1]) == place
        mask = present & ~hidden
        known[:, place] = present[:, place] & donors.present[:, place]
        known[:, place] &= mask.any(axis=1)
        if groups.masks == 2:
            mask = good & _over(mask, x.ndim)
        virtual = _redatum(model, (x, mask), (donors.x, donors.model_mask))
        errors[:, place] = (x - virtual)[:, place]
    good = good & _over(known, x.ndim)
    errors = np.where(good, errors, 0.0)
    rows = known.any(axis=1)
    errors, good, known = errors[rows], good[rows], known[rows]
    squares = (errors**2).sum(axis=1, dtype="float64")
    counts = good.sum(axis=1)
    fixed, others = _means(squares, counts)
    scores = _scores(errors, np.sqrt(others)[:, None], known)
    return scores, fixed, None


def _means(totals: Array, counts: Array) -> tuple[Array, Array]:
    """Return the mean over groups, and the means over all groups but each one."""
    total, count = totals.sum(axis=0), counts.sum(axis=0)
    mean = total / np.clip(count, 1, None)
    # A tiny scale replaces 0 in pixels without residual.
    floor = max(1e-8 * float(mean.mean()), float(np.finfo("float32").tiny))
    others = (total - totals) / np.clip(count - counts, 1, None)
    # Nothing is known where no instance is good.
    return np.where(count > 0, mean.clip(floor), np.nan), others.clip(floor)


def _scores(errors: Array, scale: Array, known: Array) -> Array:
    """Return the largest error of each instance relative to its scale."""
    ratios = np.abs(errors) / scale
    largest = ratios.max(axis=tuple(range(2, errors.ndim)))
    return np.where(known, largest, np.nan)


# === Scores without ground truth ===


def _composed_errors(
    model: Any, groups: GroupedData, rng: np.random.Generator
) -> tuple[Array, Array, Array]:
    """Return scores of composed errors, and the two parts of their scale.

    These parts are the variance per pixel that is common to all virtual instances, and
    differences of coherent codes, scaled to the error of a code of one instance.
    """
    x, present, counts = groups.x, groups.present, groups.counts
    good = np.broadcast_to(groups.good_pixels, x.shape)
    estimate = estimate_redatuming_error(model, groups, seed=int(rng.integers(2**31)))
    mean = x.sum(axis=(0, 1), where=good, dtype="float64")
    mean /= good.sum(axis=(0, 1)).clip(1)
    variance = float(np.mean((x - mean) ** 2, where=good))

    coherent, nuisance = in_batches(model.encode, x, groups.model_mask)
    reconstruction = _virtual(model, groups, groups)
    misfit = np.where(good, x - reconstruction, 0.0)
    misfit *= _without_noise(misfit, good, variance * max(estimate.noise, 0.0))

    donors = np.roll(np.arange(len(groups)), -1)
    differences = _differences_of_halves(model, groups, rng)
    size = np.sqrt(2.0 / counts)[:, None] * rng.choice([-1.0, 1.0], (len(groups), 1))
    drawn = _effect(model, coherent, nuisance, size * differences[donors])
    drawn *= _to_mean_square(drawn, good, 2.0 * variance * estimate.nuisance_in_state)

    foreign = _virtual(model, groups, groups[donors])
    hidden = _mean_over(foreign, present[donors]) - _mean_over(reconstruction, present)
    hidden *= _to_mean_square(
        hidden[:, None],
        np.asarray(good.any(axis=1, keepdims=True)),
        2.0 * variance * max(estimate.state_in_nuisance, 0.0),
    )
    hidden *= _over(rng.choice([-1.0, 1.0], len(groups)), hidden.ndim)

    errors = np.where(good, misfit + drawn + hidden[:, None], 0.0)
    shares = good.sum(axis=1)
    squares = (misfit**2).sum(axis=1, dtype="float64")
    fixed, others = _means(squares + shares * hidden**2, shares)
    kept = differences[rng.permutation(len(groups))[:_DIFFERENCES]]
    spread = _spread(model, coherent, nuisance, kept, 2.0 / counts)
    scale = np.sqrt(others[:, None] + spread)
    return _scores(errors, scale, present), fixed, kept


def _without_noise(misfit: Array, good: Array, noise: float) -> Array:
    """Return the factor of each instance that removes noise from its residual.

    Virtual instances do not contain the noise. One factor for all instances would give
    the residuals the right mean square, but hide that some are larger than others.

    Args:
        misfit: Residuals, 0 in bad pixels.
        good: Good pixels, in the shape of `misfit`.
        noise: Mean squared error that is noise.
    """
    pixels = tuple(range(2, misfit.ndim))
    counts = good.sum(axis=pixels)
    squares = (misfit**2).sum(axis=pixels, dtype="float64") / counts.clip(1)
    left = np.maximum(squares - noise, _LEAST_LEFT * squares)
    factor = np.sqrt(left / np.where(squares > 0.0, squares, 1.0))
    return _over(factor, misfit.ndim).astype(misfit.dtype)


def _differences_of_halves(
    model: Any, groups: GroupedData, rng: np.random.Generator
) -> Array:
    """Return differences between the coherent codes of two halves of each group.

    They are scaled to the error of a code of one instance, `(groups, coherent_dim)`.
    """
    counts, first = groups.counts, groups.counts // 2
    order = in_random_order(groups, rng)
    codes, shares = [], np.zeros(len(groups))
    for start, size in ((0, first), (first, counts - first)):
        part = repeated_part(groups, order, start, size)
        codes.append(in_batches(model.encode, *part)[0])
        shares += sum_of_squared_shares(counts, size)
    return np.asarray((codes[0] - codes[1]) / np.sqrt(shares)[:, None])


def _effect(model: Any, coherent: Array, nuisance: Array, difference: Array) -> Array:
    """Return the change of decoded instances by a difference of coherent codes."""
    half = (0.5 * difference).astype("float32")
    change = in_batches(model.decode, coherent + half, nuisance)
    change -= in_batches(model.decode, coherent - half, nuisance)
    return np.asarray(change)


def _spread(
    model: Any, coherent: Array, nuisance: Array, differences: Array, shares: Array
) -> Array:
    """Return the mean squared effect of differences, scaled by a share."""
    size = np.sqrt(shares)[:, None]
    effects = (
        _effect(model, coherent, nuisance, size * each[None]) for each in differences
    )
    return np.asarray(sum(effect**2 for effect in effects) / len(differences))


def _mean_over(x: Array, present: Array) -> Array:
    """Return means over present instances."""
    total = np.where(_over(present, x.ndim), x, 0.0).sum(axis=1, dtype="float64")
    return np.asarray(total / _over(present.sum(axis=1), x.ndim - 1))


def _to_mean_square(values: Array, good: Array, wanted: float) -> float:
    """Return the factor that gives values the mean square `wanted`."""
    found = float(np.mean(values**2, where=np.broadcast_to(good, values.shape)))
    return math.sqrt(wanted / found) if found > 0.0 else 0.0
