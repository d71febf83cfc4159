"""Estimate of the redatuming error without ground truth."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any, Final

import numpy as np

from symae_keras._utils.arrays import in_batches, to_numpy
from symae_keras._utils.validation import number, positive
from symae_keras.data.check import refuse_range
from symae_keras.data.groups import Array, GroupedData
from symae_keras.errors import InputError
from symae_keras.evaluation._halves import (
    in_random_order,
    is_crossed,
    repeated_part,
    sum_of_squared_shares,
)
from symae_keras.evaluation._interactions import (
    from_covariance,
    from_neighbours,
    states_of_halves,
)
from symae_keras.evaluation._noise import noise_in_reconstruction
from symae_keras.evaluation.confounding import warn_of_confounding
from symae_keras.models._detail import residuals, terms_of_change

#: More groups would reduce the interval only slightly, and need more memory.
_MOST_GROUPS: Final = 1024
_DRAWS: Final = 1000
#: Maximum number of decoded values in memory.
_MOST_NUMBERS: Final = 1 << 25
#: Number of common states with which interactions are measured.
_STATES: Final = 4
#: Ratings of errors up to each bound.
_WORDS: Final = {0.05: "Very good", 0.15: "Good", 0.4: "Fair", math.inf: "Poor"}
#: Rating of errors above that of the linear mean swap.
NOT_BETTER: Final = "Not better than a linear method"
_ADVICE: Final = {
    "noise": "pixel noise, which virtual instances do not contain: their own error is "
    "about {without} %",
    "reconstruction": "error of the reconstruction: train longer, or make the codes "
    "larger",
    "nuisance_in_state": "nuisance in the coherent code: measure more instances per "
    "group, or make coherent_dim smaller",
    "state_in_nuisance": "state in the nuisance code: make nuisance_dim smaller, "
    "increase the noise, or make a small coherent_dim larger",
    "uncertainty": "uncertainty, because there are few groups: hold out more, and the "
    "estimate may be lower",
}


class EstimatedRedatumingError(float):
    """An estimate of the redatuming error, with its parts.

    It is a float, `reconstruction + 2 nuisance_in_state + 2 state_in_nuisance`, in the
    units of `redatuming_error`: mean squared errors over the variance of the data. The
    factors are 2 because a swap mixes two groups, and each contributes both errors.

    Attributes:
        reconstruction: Error of the reconstruction, including the state detail that
            `redatum` restores.
        nuisance_in_state: Variance of decoded instances that is due to nuisances in the
            coherent code.
        state_in_nuisance: Variance of decoded instances that is due to the state in the
            nuisance codes. It is the mean over all values, at least 0, that are
            consistent with a measurement and its standard error.
        interval: Confidence interval, from a bootstrap over groups. It is widened for
            few groups, as Student's t distribution is.
        level: Confidence level of `interval`.
        uncertainty: The part of `state_in_nuisance` that is only due to its standard
            error. More groups reduce it.
        noise: The part of `reconstruction` that is white noise of the instances. The
            error of virtual instances with respect to noise-free ones is
            `self - noise`. It is 0 if no white noise is detected, and negative if the
            model reproduces most of the noise.
    """

    reconstruction: float
    nuisance_in_state: float
    state_in_nuisance: float
    interval: tuple[float, float]
    level: float
    uncertainty: float
    noise: float

    def __new__(
        cls,
        reconstruction: float,
        nuisance_in_state: float,
        state_in_nuisance: float,
        interval: tuple[float, float],
        level: float,
        uncertainty: float = 0.0,
        noise: float = 0.0,
    ) -> EstimatedRedatumingError:
        """Compute the total from the parts."""
        total = reconstruction + 2.0 * (nuisance_in_state + state_in_nuisance)
        self = super().__new__(cls, max(total, 0.0))
        self.reconstruction = reconstruction
        self.nuisance_in_state = nuisance_in_state
        self.state_in_nuisance = state_in_nuisance
        self.interval = interval
        self.level = level
        self.uncertainty = uncertainty
        self.noise = noise
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        # By default, copying and pickling a float keep its value only.
        parts = self.reconstruction, self.nuisance_in_state, self.state_in_nuisance
        others = self.interval, self.level, self.uncertainty, self.noise
        return type(self), (*parts, *others)

    def verdict(self, linear: float | None = None) -> str:
        """Describe the result in words, with advice about the largest part.

        Args:
            linear: The estimate for `MeanSwap` on the same groups, for comparison.
                Defaults to `None`.

        Returns:
            One line of text.

        Example:
        >>> error = EstimatedRedatumingError(0.01, 0.002, 0.2, (0.3, 0.5), 0.9)
        >>> error.verdict(linear=0.13).split(". ")[1]
        'A linear swap of means, which learns nothing, is better: 13 %'
        >>> error.verdict().split(":")[0], error.verdict(linear=0.13).split(":")[0]
        ('Poor', 'Not better than a linear method')
        """
        low, high = map(_percent, self.interval)
        word = next(word for bound, word in _WORDS.items() if self <= bound)
        if linear is not None and linear < self:
            word = NOT_BETTER
        text = (
            f"{word}: virtual instances are wrong by about {_percent(self)} % of the "
            f"variance of the data ({100.0 * self.level:.0f} % interval: {low} to "
            f"{high} %)."
        )
        if linear is not None:
            than = "better" if linear < self else "worse"
            text += (
                " A linear swap of means, which learns nothing, is "
                f"{than}: {_percent(linear)} %."
            )
        parts = {
            "noise": self.noise,
            "reconstruction": self.reconstruction - self.noise,
            "nuisance_in_state": 2.0 * self.nuisance_in_state,
            "state_in_nuisance": 2.0 * (self.state_in_nuisance - self.uncertainty),
            "uncertainty": 2.0 * self.uncertainty,
        }
        advice = _ADVICE[max(parts, key=lambda name: parts[name])]
        advice = advice.format(without=_percent(max(self - self.noise, 0.0)))
        return f"{text} Most of it is {advice}."

    def __repr__(self) -> str:
        low, high = self.interval
        return (
            f"EstimatedRedatumingError({float(self):.4f}, {self.level:.0%} interval "
            f"{low:.4f} to {high:.4f}, reconstruction={self.reconstruction:.4f}, "
            f"nuisance_in_state={self.nuisance_in_state:.4f}, "
            f"state_in_nuisance={self.state_in_nuisance:.4f})"
        )


def _percent(share: float) -> str:
    return f"{100.0 * share:.{0 if share >= 0.1 else 1}f}"


def estimate_redatuming_error(
    model: Any,
    groups: GroupedData,
    n_donors: int = 8,
    level: float = 0.9,
    seed: int = 0,
    swapped: GroupedData | None = None,
) -> EstimatedRedatumingError:
    """Estimate the error of virtual instances without ground truth.

    Let `e_i` be the part of the state of group `i` that its coherent code misses, in
    decoded units. The nuisance codes of the group contain this part, because the model
    still reconstructs the group. A virtual instance of `i` with a nuisance of `j`
    therefore has the error `e_j - e_i`, in addition to the reconstruction error. Three
    quantities, which need no ground truth, give the variance of `e`:

    - The difference of decoded instances between the coherent codes of two halves of a
      group, with the same nuisance code.
    - The variance between groups of instances decoded from their nuisance codes with
      one coherent code, minus the variance expected from the instances (ANOVA).
    - The covariance of the two, because the nuisance codes compensate for nuisance in
      the coherent code of their group.

    A nuisance can act differently on each state, as a gain does. In groups of three or
    more instances, the estimate detects that decoded nuisances depend on the state: the
    covariance within groups changes with the coherent code, or nearest neighbours
    belong to the same group.

    In a crossed design, where instance `t` of every group was measured by instrument
    `t`, the effects of instruments on all groups are subtracted, because they cancel.

    The page "Did it work?" of the documentation has the derivation. If `redatum` of the
    model restores detail of the state (see its `fit_detail`), the reconstruction error
    is reduced by the corresponding gain in virtual instances.

    The estimate assumes that nuisances are independent of groups. If each group has
    separate nuisances (for example, each star is observed in one night), they cannot be
    separated from the state, and the estimate is too low. A warning is logged if
    metadata indicate this, see `confounded_metadata`.

    Args:
        model: A model with `encode` and `decode` for groups, such as `SymAE` or
            `symae_keras.classical.GroupedPCA`.
        groups: Held-out groups, simulated or measured, with or without masks. If there
            are more than 1024 groups, 1024 are drawn.
        n_donors: Number of random states and nuisances to swap with. Defaults to 8.
        level: Confidence level of the interval. Defaults to 0.9.
        seed: Seed of donors, halves and bootstrap. Defaults to 0.
        swapped: Groups whose codes are swapped to measure the parts other than the
            reconstruction error, for example training and held-out groups together.
            With few groups, these parts vary by chance. Unlike the reconstruction
            error, they are similar on groups that a network was trained on, but too low
            on those that a linear mixed model was fitted to. Defaults to `None`, the
            same groups.

    Returns:
        An `EstimatedRedatumingError`, a float with the attributes `reconstruction`,
        `nuisance_in_state`, `state_in_nuisance`, `noise`, `interval` and `level`.

    Raises:
        InputError: Fewer than two groups have at least two instances, or the data are
            constant.

    Example:
    >>> from symae_keras.classical import MeanSwap
    >>> from symae_keras.data import simulate_exposures
    >>> from symae_keras.evaluation import redatuming_error
    >>> groups = simulate_exposures(n_states=200, n_instances=8, seed=0)
    >>> model = MeanSwap().fit(groups)
    >>> estimate = estimate_redatuming_error(model, groups)
    >>> 0.8 < estimate / redatuming_error(model, groups) < 1.25
    True
    """
    positive("n_donors", n_donors)
    number("level", level, "0 < level < 1", lambda value: 0.0 < value < 1.0)
    warn_of_confounding(groups)
    rng = np.random.default_rng(seed)
    groups = _drawn(groups, rng)
    swapped = groups if swapped is None else _drawn(swapped, rng)
    several = swapped.counts > 1
    if several.sum() < 2:
        raise InputError(
            "The redatuming error can be estimated from at least two groups with two "
            f"or more instances; received {several.sum()} such of {len(swapped)} "
            "groups."
        )
    codes = in_batches(model.encode, groups.x, groups.model_mask)
    good = np.broadcast_to(groups.good_pixels, groups.x.shape)
    mean, variance = _moments(groups.x, good)
    decoded = in_batches(model.decode, *codes)
    misfit = _misfits(decoded, groups.x, good) / variance
    scatter = _misfits(mean, groups.x, good) / variance
    if getattr(model, "detail", None) is not None:
        misfit += _changes_by_detail(model, groups) / variance
    # The weight of a pixel is the number of instances in which it is good.
    weights = good.sum(axis=(0, 1)).reshape(-1) / good.sum() / variance
    if swapped is not groups:
        codes = in_batches(model.encode, swapped.x, swapped.model_mask)
    coherent, nuisance = (each[several] for each in codes)
    swaps = _Swaps(model, swapped[several], coherent, nuisance, weights, rng)
    contamination, leak = np.mean([swaps.variances() for _ in range(n_donors)], axis=0)
    form = swaps.interactions(n_donors)
    error = float(leak.std() / np.sqrt(len(leak)))

    def total(misfit: Any, contamination: Any, leak: Any, form: Any) -> Any:
        return misfit + 2.0 * (contamination + leak + np.maximum(form, 0.0))

    parts = [misfit, contamination, leak, form]
    *draws, relative = _bootstrap_means([*parts, scatter], rng)
    means = [float(each.mean()) for each in parts]
    noise = noise_in_reconstruction(model, groups, decoded, rng) / variance
    leaked = float(_mean_of_positive(means[2], error))
    # An error without any leak is possible unless the leak is significant.
    least, most = np.maximum(draws[2], 0.0), _mean_of_positive(draws[2], error)
    relative += _variance_of_mean(groups.x, mean, good) / variance
    relative = relative.clip(1e-6)
    low, high = (
        total(draws[0], draws[1], each, draws[3]) / relative for each in (least, most)
    )
    tail = 50.0 * (1.0 - level)
    return EstimatedRedatumingError(
        means[0],
        means[1],
        leaked + max(means[3], 0.0),
        _widened(
            total(means[0], means[1], leaked, means[3]),
            (np.percentile(low, tail), np.percentile(high, 100.0 - tail)),
            level,
            int(several.sum()),
        ),
        level,
        leaked - max(means[2], 0.0),
        min(noise, means[0]),
    )


def _drawn(groups: GroupedData, rng: np.random.Generator) -> GroupedData:
    """Return the groups, or a random part of many."""
    if len(groups) <= _MOST_GROUPS:
        return groups
    return groups[np.sort(rng.choice(len(groups), _MOST_GROUPS, replace=False))]


def _widened(
    value: float, ends: tuple[Any, Any], level: float, n_groups: int
) -> tuple[float, float]:
    """Return a bootstrap interval that is widened for few groups.

    A bootstrap of few groups varies less than the groups do. The factor of distances
    from the value, on a logarithmic scale, is that of intervals of a mean: the quantile
    of Student's t distribution instead of that of the normal distribution.
    """
    from scipy.stats import norm, t

    low, high = max(float(ends[0]), 0.0), float(ends[1])
    if not value > 0.0:
        return min(low, value), max(high, value)
    tail = 0.5 * (1.0 + level)
    factor = t.ppf(tail, n_groups - 1) / norm.ppf(tail)
    factor *= math.sqrt(n_groups / (n_groups - 1))
    return (
        value * min(low / value, 1.0) ** factor,
        value * max(high / value, 1.0) ** factor,
    )


def _mean_of_positive(value: Any, error: float) -> Any:
    """Return the mean of a non-negative quantity, given a measurement.

    The measurement is normal with the standard error `error`. Unlike clipping at zero,
    this preserves the order of measurements.
    """
    from scipy.special import log_ndtr

    if not error > 0.0:
        return np.maximum(value, 0.0)
    score = np.asarray(value) / error
    # The ratio of density and distribution, computed from logarithms for accuracy at
    # very negative scores.
    ratio = np.exp(-0.5 * score**2 - 0.5 * np.log(2.0 * np.pi) - log_ndtr(score))
    return error * (score + ratio)


def _moments(x: Array, good: Array) -> tuple[Array, float]:
    """Return the mean of good values, and the mean over pixels of their variance."""
    total = x.sum(axis=(0, 1), where=good, dtype="float64")
    mean = total / good.sum(axis=(0, 1)).clip(1)
    variance = float(np.mean((x - mean) ** 2, where=good))
    rounding = 8.0 * float(np.finfo(mean.dtype).eps) * float(np.abs(mean).max())
    if not variance > rounding**2:
        raise InputError("The data are constant, so no relative error can be given.")
    refuse_range(math.sqrt(variance), "The data")
    return mean, variance


def _variance_of_mean(x: Array, mean: Array, good: Array) -> float:
    """Return the variance of the mean over groups, which their own variance lacks."""
    counts = good.sum(axis=(0, 1)).clip(1)
    sums = np.sum(x - mean, axis=1, where=good) / counts
    squares = (sums**2).sum(axis=0, dtype="float64") * len(x) / (len(x) - 1)
    return float((squares * counts).sum() / counts.sum())


def _misfits(decoded: Array, x: Array, good: Array) -> Array:
    """Return squared errors per group, whose mean is the mean over all good pixels."""
    axes = tuple(range(1, x.ndim))
    totals = ((decoded - x) ** 2).sum(axis=axes, where=good, dtype="float64")
    return np.asarray(totals * len(x) / good.sum())


def _changes_by_detail(model: Any, groups: GroupedData) -> Array:
    """Return the change of errors by the detail that `redatum` restores, per group.

    These are errors of virtual instances. Instances of the group itself cannot be used
    for comparison, because the mean residual contains their noise.
    """
    found = residuals(model, groups.x, groups.model_mask)
    linear, quadratic = terms_of_change(found, model.detail.reshape(-1))
    return np.asarray((quadratic - 2.0 * linear) * len(groups) / found.counts.sum())


def _bootstrap_means(parts: Sequence[Array], rng: np.random.Generator) -> list[Array]:
    """Return bootstrap means of each part, `(draws,)`.

    Parts of equal length use the same draws, because they are correlated.
    """
    uniform = rng.random((_DRAWS, max(map(len, parts))))
    drawn = ((uniform[:, : len(each)] * len(each)).astype(int) for each in parts)
    return [each[rows].mean(axis=1) for each, rows in zip(parts, drawn, strict=True)]


class _Swaps:
    """Variances of decoded instances after swaps with random donor groups.

    Args:
        model: The model.
        groups: Groups of two or more instances.
        coherent: Their coherent codes.
        nuisance: Their nuisance codes.
        weights: Weights of flattened pixels, divided by the variance of the data.
        rng: Generator for donors and halves.
    """

    def __init__(
        self,
        model: Any,
        groups: GroupedData,
        coherent: Array,
        nuisance: Array,
        weights: Array,
        rng: np.random.Generator,
    ) -> None:
        self.model = model
        self.groups = groups
        self.coherent = coherent
        self.nuisance = nuisance
        self.weights = weights
        self.rng = rng
        self.crossed = is_crossed(groups)

    def variances(self) -> tuple[Array, Array]:
        """Return nuisance in the state and state in the nuisance, per group."""
        counts, present = self.groups.counts, self.groups.present
        # Present instances in random order; the first `first` are the first half.
        order = in_random_order(self.groups, self.rng, same=self.crossed)
        first = counts // 2
        state, donor = self.rng.integers(len(counts), size=2)
        place = order[donor, 0]
        taken = self.nuisance[donor, place][None, None]
        u, share = [], np.zeros(len(counts))
        for start, size in ((0, first), (first, counts - first)):
            coherent = self._coherent_of_half(order, start, size)
            nuisance = np.broadcast_to(taken, (len(counts), *taken.shape[1:]))
            decoded = in_batches(self.model.decode, coherent, nuisance)
            u.append(decoded.reshape(len(counts), -1))
            share += sum_of_squared_shares(counts, size)
        in_first = np.zeros_like(present)
        np.put_along_axis(
            in_first, order, np.arange(present.shape[1]) < first[:, None], axis=1
        )
        coherent = np.broadcast_to(self.coherent[state], self.coherent.shape)
        difference = u[0] - u[1]
        effects, free = None, 1.0
        if self.crossed:
            # The effect of an instrument on all groups, or on all groups of a kind, is
            # not an error of a swap.
            effects = self._means_of_places(coherent)
            basis = _basis(self.coherent)
            difference = difference - basis @ (basis.T @ difference)
            free = len(counts) / (len(counts) - basis.shape[1])
        mean, halves, within = in_batches(
            partial(self._decoded_means, effects),
            coherent,
            self.nuisance,
            present,
            in_first,
        )
        contamination = free * self._mean(difference**2) / share / counts
        # The difference of means of n1 and n2 instances has the variance
        # v (1 / n1 + 1 / n2), the mean of all n has v / n: the ratio is n1 n2 / n^2.
        hidden = self._mean(difference * halves) * first * (counts - first) / counts**2
        hidden *= free
        noise = free * within.sum() / (counts - 1).sum() / counts
        between = self._mean((mean - mean.mean(axis=0)) ** 2)
        between *= len(counts) / (len(counts) - 1)
        return contamination, between - noise + 2.0 * hidden - contamination

    def interactions(self, n_partners: int) -> Array:
        """Return the state in the nuisance codes, beyond its mean.

        It is the larger of two measurements, which are means of the returned values,
        see `_interactions`. Only groups of three or more instances are used; 0 if there
        are fewer than two. The states and the covariance are those of different
        instances, so that a nuisance does not appear in both.
        """
        counts, present = self.groups.counts, self.groups.present
        shape = present.shape[1], len(self.weights)
        few = max(2, _MOST_NUMBERS // (shape[0] * shape[1]))
        # In groups of two, the only neighbour is always the nearest.
        chosen = np.flatnonzero(counts > 2)[:few]
        if len(chosen) < 2:
            return np.zeros(1)
        first, second = counts // 2, counts - counts // 2
        order = in_random_order(self.groups, self.rng, same=self.crossed)
        states = states_of_halves(
            self._coherent_of_half(order, 0, first.clip(1))[chosen],
            self._coherent_of_half(order, first, second.clip(1))[chosen],
        )
        in_second = np.zeros_like(present)
        slots = np.arange(present.shape[1])
        later = (slots >= first[:, None]) & (slots < counts[:, None])
        np.put_along_axis(in_second, order, later, axis=1)
        present, in_second = present[chosen], in_second[chosen]
        found: list[Array] = []
        for state in self.coherent[self.rng.integers(len(counts), size=_STATES)]:
            decoded = in_batches(
                self.model.decode,
                np.broadcast_to(state, (len(chosen), *state.shape)),
                self.nuisance[chosen],
            )
            scaled = decoded.reshape(len(chosen), *shape) * np.sqrt(self.weights)
            if self.crossed:
                scaled -= scaled.mean(axis=0, where=present[..., None])
            if not found:
                near = from_neighbours(scaled, present, n_partners, self.rng)
            found.append(from_covariance(scaled, in_second, states))
        changes = np.mean(found, axis=0)
        return np.asarray(changes if changes.mean() > near.mean() else near)

    def _coherent_of_half(self, order: Array, start: Any, size: Array) -> Array:
        """Return coherent codes of half groups, repeated to the size of the groups."""
        x, mask = repeated_part(self.groups, order, start, size)
        return np.asarray(in_batches(self.model.encode, x, mask).coherent)

    def _means_of_places(self, coherent: Array) -> Array:
        """Return the mean over groups of each decoded instance, centred."""
        present = self.groups.present
        total = np.zeros((present.shape[1], len(self.weights)))

        def add(coherent: Array, nuisance: Array, present: Array) -> Array:
            decoded = to_numpy(self.model.decode(coherent, nuisance))
            decoded = decoded.reshape(*present.shape, -1)
            total[:] += np.einsum("gt,gtp->tp", present, decoded)
            return present

        in_batches(add, coherent, self.nuisance, present)
        means = total / present.sum(axis=0).clip(1)[:, None]
        return np.asarray(means - means.mean(axis=0), "float32")

    def _decoded_means(
        self,
        effects: Array | None,
        coherent: Array,
        nuisance: Array,
        present: Array,
        in_first: Array,
    ) -> tuple[Array, Array, Array]:
        """Return group means, differences of halves, and squares within groups.

        Effects of positions are subtracted if given.
        """
        decoded = to_numpy(self.model.decode(coherent, nuisance))
        decoded = decoded.reshape(*present.shape, -1)
        if effects is not None:
            decoded = decoded - effects

        def mean(chosen: Array) -> Array:
            total = np.einsum("gt,gtp->gp", chosen, decoded)
            return np.asarray(total / chosen.sum(axis=1, keepdims=True))

        means = mean(present)
        squares = (decoded - means[:, None]) ** 2 @ self.weights
        halves = mean(in_first) - mean(present & ~in_first)
        return means, halves, (squares * present).sum(axis=1)

    def _mean(self, values: Array) -> Array:
        """Return the weighted mean over pixels."""
        return np.asarray(values @ self.weights)


def _basis(codes: Array) -> Array:
    """Return an orthonormal basis of linear functions of codes, `(groups, size)`.

    With few groups, it contains a constant only.
    """
    constant = np.ones((len(codes), 1))
    if len(codes) < 4 * (codes.shape[1] + 1):
        return np.asarray(constant / math.sqrt(len(codes)))
    scaled = (codes - codes.mean(axis=0)) / codes.std(axis=0).clip(1e-12)
    u, values, _ = np.linalg.svd(np.hstack([constant, scaled]), full_matrices=False)
    return np.asarray(u[:, values > 1e-6 * values[0]], "float32")
