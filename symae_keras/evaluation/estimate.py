"""The redatuming error where nobody knows the truth, and when not to trust it."""

from __future__ import annotations

import logging
import math
import weakref
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from symae_keras._utils.batching import in_batches, to_numpy
from symae_keras._utils.validation import number, positive
from symae_keras.data.groups import Array, GroupedData
from symae_keras.errors import InputError

_log = logging.getLogger("symae_keras")

#: Groups looked at; more would narrow the interval by little and take memory.
_MOST_GROUPS: Final = 512
_DRAWS: Final = 1000
#: Decoded numbers that are kept at a time.
_MOST_NUMBERS: Final = 1 << 25
#: Of the variance of metadata, from which on groups are said to differ.
_MIN_SHARE: Final = 0.2
_SHUFFLES: Final = 199
_MOST_NAMES: Final = 20
#: What errors up to a bound are called.
_WORDS: Final = {0.05: "Very good", 0.15: "Good", 0.4: "Fair", math.inf: "Poor"}
_ADVICE: Final = {
    "reconstruction": "error of the reconstruction: train longer, or make the codes "
    "larger",
    "nuisance_in_state": "nuisance in the coherent code: measure more instances a "
    "group, or make coherent_dim smaller",
    "state_in_nuisance": "state in the nuisance code: make nuisance_dim smaller, or "
    "the noise stronger",
}


class EstimatedRedatumingError(float):
    """An estimate of the redatuming error, with its parts.

    It is a float, `reconstruction + 2 nuisance_in_state + 2 state_in_nuisance`, in the
    units of `redatuming_error`: mean squared errors over the variance of the data. The
    factors are 2 because a swap suffers from both faults on both sides.

    Attributes:
        reconstruction: Error of the reconstruction.
        nuisance_in_state: Variance that the nuisances of a group cause in the decoded
            instances by way of its coherent code.
        state_in_nuisance: Variance of what nuisance codes hold of the state. It is
            estimated without bias and not cut off, so that it may fall a little below
            0.
        interval: Bounds that hold the estimate for other groups like these with the
            probability `level`, by bootstrap over the groups.
        level: See `interval`.
    """

    reconstruction: float
    nuisance_in_state: float
    state_in_nuisance: float
    interval: tuple[float, float]
    level: float

    def __new__(
        cls,
        reconstruction: float,
        nuisance_in_state: float,
        state_in_nuisance: float,
        interval: tuple[float, float],
        level: float,
    ) -> EstimatedRedatumingError:
        """Sum up the parts."""
        total = reconstruction + 2.0 * (nuisance_in_state + state_in_nuisance)
        self = super().__new__(cls, max(total, 0.0))
        self.reconstruction = reconstruction
        self.nuisance_in_state = nuisance_in_state
        self.state_in_nuisance = state_in_nuisance
        self.interval = interval
        self.level = level
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        # A float's own way to be copied and pickled knows of one number only.
        parts = self.reconstruction, self.nuisance_in_state, self.state_in_nuisance
        return type(self), (*parts, self.interval, self.level)

    def verdict(self, linear: float | None = None) -> str:
        """Say in words what it means, and what to do about the largest part.

        Args:
            linear: The estimate of a linear reference on the same groups, such as
                `MeanSwap`. Defaults to `None`, which leaves it out.

        Example:
        >>> error = EstimatedRedatumingError(0.01, 0.002, 0.2, (0.3, 0.5), 0.9)
        >>> error.verdict(linear=0.13).split(". ")[1]
        'A linear swap of means, which learns nothing, is better: 13 %'
        """
        low, high = map(_percent, self.interval)
        word = next(word for bound, word in _WORDS.items() if self <= bound)
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
            "reconstruction": self.reconstruction,
            "nuisance_in_state": 2.0 * self.nuisance_in_state,
            "state_in_nuisance": 2.0 * self.state_in_nuisance,
        }
        advice = _ADVICE[max(parts, key=lambda name: parts[name])]
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
) -> EstimatedRedatumingError:
    """Estimate the error of virtual instances without knowing any.

    The page "Did it work?" of the documentation derives it. In short, with `e_i` for
    what the coherent code of group `i` gets wrong of its state, as it shows in decoded
    instances, a virtual instance of `i` under a nuisance of `j` is wrong by the
    reconstruction error and by `e_i - e_j`, since the nuisance codes of `j` make good
    for `e_j`. Three swaps that the model can make tell the variance of `e`:

    - `u`: decoded instances of the coherent codes of two halves of a group, under one
      nuisance. Their difference is nuisance that the code took for state.
    - `w`: decoded instances of the nuisance codes of a group, in one state. What the
      means of the groups vary by, beyond what so few instances vary by, is state that
      the code took for nuisance.
    - The covariance of both, since nuisance codes make good for what is wrong in the
      coherent code of the group, which hides as much of the state in them.

    It assumes that nuisances are drawn independently of the groups. If each group has
    nuisances of its own (one night for each star), nobody can tell these from the
    state without further knowledge, and the estimate is too low; see
    `confounded_metadata`.

    Args:
        model: Anything with `encode` and `decode` of groups, such as `SymAE` or a
            classical reference.
        groups: Groups that the model was not trained on, simulated or measured, with
            or without masks. Of more than 512, so many are drawn.
        n_donors: States and nuisances that swaps are made with. Defaults to 8.
        level: Probability of the interval. Defaults to 0.9.
        seed: Seed of donors, halves and bootstrap.

    Returns:
        A float with the attributes `reconstruction`, `nuisance_in_state`,
        `state_in_nuisance`, `interval` and `level`.

    Raises:
        InputError: Fewer than two groups have two instances, or the data are constant.

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
    _warn_of_confounding(groups)
    rng = np.random.default_rng(seed)
    if len(groups) > _MOST_GROUPS:
        chosen = rng.choice(len(groups), _MOST_GROUPS, replace=False)
        groups = groups[np.sort(chosen)]
    several = groups.counts > 1
    if several.sum() < 2:
        raise InputError(
            "The redatuming error can be estimated from two or more groups of two or "
            f"more instances; received {several.sum()} such of {len(groups)} groups."
        )
    codes = in_batches(model.encode, groups.x, groups.model_mask)
    good = np.broadcast_to(groups.good_pixels, groups.x.shape)
    variance = _variance(groups.x, good)
    misfit = _misfits(in_batches(model.decode, *codes), groups.x, good) / variance
    # Pixels count as often as they are good.
    weights = good.sum(axis=(0, 1)).reshape(-1) / good.sum() / variance
    coherent, nuisance = (each[several] for each in codes)
    swaps = _Swaps(model, groups[several], coherent, nuisance, weights, rng)
    contamination, leak = np.mean([swaps.variances() for _ in range(n_donors)], axis=0)
    parts = [misfit, contamination, leak, swaps.interactions(n_donors)]
    totals = _total(*_bootstrap_means(parts, rng))
    tail = 50.0 * (1.0 - level)
    low, high = np.percentile(totals.clip(0.0), (tail, 100.0 - tail))
    means = [float(each.mean()) for each in parts]
    return EstimatedRedatumingError(
        means[0],
        means[1],
        means[2] + max(means[3], 0.0),
        (float(low), float(high)),
        level,
    )


def _total(misfit: Array, contamination: Array, leak: Array, form: Array) -> Array:
    return np.asarray(misfit + 2.0 * (contamination + leak + form.clip(0.0)))


def _variance(x: Array, good: Array) -> float:
    """Variance of good pixels, each around its mean."""
    total = x.sum(axis=(0, 1), where=good, dtype="float64")
    mean = total / good.sum(axis=(0, 1)).clip(1)
    variance = np.mean((x - mean) ** 2, where=good)
    if not variance > 0.0:
        raise InputError("The data are constant, so no relative error can be given.")
    return float(variance)


def _misfits(decoded: Array, x: Array, good: Array) -> Array:
    """Squared errors of groups, weighted so that their mean is that of all pixels."""
    axes = tuple(range(1, x.ndim))
    totals = ((decoded - x) ** 2).sum(axis=axes, where=good, dtype="float64")
    return np.asarray(totals * len(x) / good.sum())


def _bootstrap_means(parts: Sequence[Array], rng: np.random.Generator) -> list[Array]:
    """Means of each part over groups drawn with replacement, `(draws,)`.

    Parts of the same groups are drawn alike, since they depend on each other.
    """
    uniform = rng.random((_DRAWS, max(map(len, parts))))
    drawn = ((uniform[:, : len(each)] * len(each)).astype(int) for each in parts)
    return [each[rows].mean(axis=1) for each, rows in zip(parts, drawn, strict=True)]


class _Swaps:
    """Swaps with donors drawn at random, and what they tell.

    Args:
        model: The model.
        groups: Groups of two or more instances.
        coherent: Their coherent codes.
        nuisance: Their nuisance codes.
        weights: Weights of flattened pixels, relative to the variance of the data.
        rng: Draws donors and halves.
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

    def variances(self) -> tuple[Array, Array]:
        """Nuisance in the state, and state in the nuisance, for each group."""
        counts, present = self.groups.counts, self.groups.present
        # The present instances of each group in random order, and how many of them
        # are in the first half.
        order = np.argsort(self.rng.random(present.shape) + ~present, axis=1)
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
            share += _sum_of_squared_shares(counts, size)
        in_first = np.zeros_like(present)
        np.put_along_axis(
            in_first, order, np.arange(present.shape[1]) < first[:, None], axis=1
        )
        mean, halves, within = in_batches(
            self._decoded_means,
            np.broadcast_to(self.coherent[state], self.coherent.shape),
            self.nuisance,
            present,
            in_first,
        )
        difference = u[0] - u[1]
        contamination = self._mean(difference**2) / share / counts
        # Halves of n1 and n2 have means that vary by v (1 / n1 + 1 / n2), v / n by v
        # of all: the factor is n1 n2 / n^2.
        hidden = self._mean(difference * halves) * first * (counts - first) / counts**2
        noise = within.sum() / (counts - 1).sum() / counts
        between = self._mean((mean - mean.mean(axis=0)) ** 2)
        between *= len(counts) / (len(counts) - 1)
        return contamination, between - noise + 2.0 * hidden - contamination

    def interactions(self, n_partners: int) -> Array:
        """State in the form of the nuisances of a group, beyond their mean.

        Where nuisances act on each state in another way (a multiplicative one acts
        most on bright stars), codes that only subtract the mean keep this action. The
        decoded instances of a group, in one state and around their mean, are then
        nearer to each other than to those of other groups; what the squared distance
        to the nearest one differs by is twice the variance of the action.
        """
        shape = self.nuisance.shape[1], len(self.weights)
        few = max(2, _MOST_NUMBERS // (shape[0] * shape[1]))
        present, nuisance = self.groups.present[:few], self.nuisance[:few]
        if shape[0] < 3 or present.sum(axis=1).min() < 3:
            return np.zeros(len(present))  # no two others to choose the nearest from
        state = self.coherent[self.rng.integers(len(self.coherent))]
        decoded = in_batches(
            self.model.decode,
            np.broadcast_to(state, (len(nuisance), len(state))),
            nuisance,
        )
        scaled = decoded.reshape(len(nuisance), *shape) * np.sqrt(self.weights)
        counts = present.sum(axis=1)
        mean = np.einsum("gt,gtp->gp", present, scaled) / counts[:, None]
        scaled -= mean[:, None]

        own = _squared_distances(scaled, scaled)
        own[:, np.arange(shape[0]), np.arange(shape[0])] = np.inf
        others = np.zeros_like(own[:, :, 0])
        order = self.rng.permutation(len(scaled))
        for step in range(1, n_partners + 1):
            partner = np.empty_like(order)
            partner[order] = np.roll(order, step)
            distances = _squared_distances(scaled, scaled[partner])
            # Of as many others as an instance has in its own group.
            chance = np.where(present[partner], self.rng.random(present.shape), -1.0)
            out = ~present[partner]
            out[np.arange(len(out)), chance.argmax(axis=1)] = True
            distances[np.broadcast_to(out[:, None], distances.shape)] = np.inf
            others += distances.min(axis=2) / n_partners
        own[np.broadcast_to(~present[:, None], own.shape)] = np.inf
        # Means of few instances take off a part of the distance between groups.
        excess = others * (counts / (counts - 1.0))[:, None] - own.min(axis=2)
        total = np.sum(excess, axis=1, where=present)
        return np.asarray(0.5 * total / counts)

    def _coherent_of_half(self, order: Array, start: Any, size: Array) -> Array:
        """Coherent codes of halves of groups, repeated to the size of the groups.

        Repetition leaves the mean over instances alone, and their number too, which
        sums and posteriors depend on.
        """
        slots = np.arange(order.shape[1])
        chosen = np.reshape(start, (-1, 1)) + slots % size[:, None]
        place = np.take_along_axis(order, chosen, axis=1)
        x, good, _ = self.groups.gather(np.arange(len(order)), place)
        mask = None
        if self.groups.masks:
            there = slots < self.groups.counts[:, None]
            good = good & there.reshape(*there.shape, *(1,) * (x.ndim - 2))
            mask = good if self.groups.masks == 2 else there
        return np.asarray(in_batches(self.model.encode, x, mask).coherent)

    def _decoded_means(
        self, coherent: Array, nuisance: Array, present: Array, in_first: Array
    ) -> tuple[Array, Array, Array]:
        """Means of decoded groups, differences of their halves, squares within."""
        decoded = to_numpy(self.model.decode(coherent, nuisance))
        decoded = decoded.reshape(*present.shape, -1)

        def mean(chosen: Array) -> Array:
            total = np.einsum("gt,gtp->gp", chosen, decoded)
            return np.asarray(total / chosen.sum(axis=1, keepdims=True))

        means = mean(present)
        squares = (decoded - means[:, None]) ** 2 @ self.weights
        halves = mean(in_first) - mean(present & ~in_first)
        return means, halves, (squares * present).sum(axis=1)

    def _mean(self, values: Array) -> Array:
        """Weighted mean over pixels."""
        return np.asarray(values @ self.weights)


def _sum_of_squared_shares(counts: Array, size: Array) -> Array:
    """Squared shares in a group of `counts` that repeats `size` instances, summed."""
    times, more = np.divmod(counts, size)
    squares = more * (times + 1) ** 2 + (size - more) * times**2
    return np.asarray(squares / counts**2)


def _squared_distances(a: Array, b: Array) -> Array:
    """Between all instances of groups, `(groups, instances, instances)`."""
    products = np.einsum("gtp,gsp->gts", a, b, optimize=True)
    return np.asarray(
        (a**2).sum(-1)[..., None] + (b**2).sum(-1)[:, None] - 2 * products
    )


# === The assumption ===

#: Groups that the user has been told about; a callback estimates again and again.
_looked_at: weakref.WeakSet[GroupedData] = weakref.WeakSet()


def _warn_of_confounding(groups: GroupedData) -> None:
    if groups in _looked_at:
        return
    _looked_at.add(groups)
    confounded = confounded_metadata(groups)
    if confounded:
        _log.warning(
            "%s: differs between groups more than within them, so that what depends on "
            "it looks like the state, and the estimate of the redatuming error is too "
            "low if the instances depend on it.",
            ", ".join(confounded),
        )


def confounded_metadata(groups: GroupedData) -> dict[str, float]:
    """Find what is known about instances and differs between groups beyond chance.

    If stars are observed in a night each, their nuisances differ by the night, and the
    instances of a star have the same: whatever the night does to them looks like the
    star. Then no method can tell both apart from the spectra, and
    `estimate_redatuming_error` is too low. Columns of metadata tell it: they should be
    as different within groups as between them.

    Args:
        groups: Groups with `instance_metadata`: numbers, or names and other texts.

    Returns:
        For each such column with at least a fifth of its variance between groups, that
        share (of names: of the variance of their indicators). A share counts where it
        is larger than in 199 shuffles.

    Example:
    >>> night = np.repeat([["mon"], ["tue"], ["wed"], ["thu"]], 6, axis=1)
    >>> groups = GroupedData(np.zeros((4, 6, 3)), instance_metadata={"night": night})
    >>> confounded_metadata(groups)
    {'night': 1.0}
    """
    rng = np.random.default_rng(0)
    found = {}
    for name, values in groups.instance_metadata.items():
        if values.ndim != 2:
            continue
        known = groups.present.copy()
        if values.dtype.kind == "f":
            known &= np.isfinite(values)
        rows, of_group = values[known], np.nonzero(known)[0]
        columns = _indicators(rows)
        if columns is None:
            continue
        share = _share_between(columns, of_group)
        if share < _MIN_SHARE:
            continue
        chance = [
            _share_between(columns[rng.permutation(len(columns))], of_group)
            for _ in range(_SHUFFLES)
        ]
        if share > max(chance):
            found[name] = round(share, 3)
    return found


def _indicators(values: Array) -> Array | None:
    """Columns to take variances of: the numbers, or one for each frequent name."""
    if values.dtype.kind in "iufb":
        columns = values.astype(float)[:, None]
    else:
        _, number, counts = np.unique(
            values.astype(str), return_inverse=True, return_counts=True
        )
        often = np.argsort(counts)[::-1][:_MOST_NAMES]
        columns = (number.reshape(-1, 1) == often).astype(float)
    return columns if len(columns) > 1 and columns.var(axis=0).any() else None


def _share_between(columns: Array, of_group: Array) -> float:
    """Variance between groups over all variance, unbiased, by one-way ANOVA."""
    counts = np.bincount(of_group)
    there = counts[counts > 0]
    total = ((columns - columns.mean(axis=0)) ** 2).sum()
    sums = np.stack([np.bincount(of_group, each) for each in columns.T], axis=1)
    means = sums[counts > 0] / there[:, None]
    within = total - (there[:, None] * (means - columns.mean(axis=0)) ** 2).sum()
    free = len(columns) - len(there)
    if free < 1 or len(there) < 2:
        return 0.0
    share = 1.0 - (within / free) / (total / (len(columns) - 1))
    return float(np.clip(share, 0.0, 1.0))
