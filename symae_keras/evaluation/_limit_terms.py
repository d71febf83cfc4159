"""Terms of the error of a linear mixed model, from left-out groups."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Final

import numpy as np

from symae_keras.classical import LinearMixedModel
from symae_keras.data.groups import Array, GroupedData

#: Numbers of directions of the state, and of nuisances, in the interaction model.
_STATES: Final = 20
MOST_NUISANCES: Final = 20
#: Minimum share of a direction's variance in the group means that the state explains.
_MIN_RELIABILITY: Final = 0.3
#: Damping of effects of weak nuisances, relative to the strongest.
_DAMPING: Final = 0.05
_STEPS: Final = 30
#: Eigenvalues that differ by no more than this factor count as white noise.
_FLAT: Final = 1.5
#: White noise with a larger share of the variance within groups counts as a nuisance.
_MOST_NOISE: Final = 0.5

#: Variances between and within groups, and directions, outside the components.
Rest = tuple[float, float, int]


@dataclasses.dataclass(frozen=True)
class Moments:
    """Sums over the groups of each block, `(blocks, numbers)` or `(blocks,)`.

    `G` depends on the number of instances and comes from a model of other groups.
    """

    numbers: Array
    means: Array
    """Squares of the group means times `1 - G`."""
    missed: Array
    """Squares of the deviations times `1 - G`."""
    taken: Array
    """Squares of the deviations times `G`, divided by the number of instances."""
    traces: Array
    """Trace of `G`, one per group."""
    squared_means: Array
    squared_deviations: Array
    groups: Array
    free: Array
    """Degrees of freedom of deviations."""
    inverse_counts: Array
    spread: Array
    """Second moment of deviations of all blocks, `(components, components)`."""

    @classmethod
    def of(
        cls,
        model: LinearMixedModel,
        held: GroupedData,
        blocks: Array,
        n_blocks: int,
        numbers: Array,
    ) -> Moments:
        """Compute the sums for groups that the model was not fitted to."""
        basis, ratio = _diagonal(model)
        gain = ratio / (ratio + 1.0 / numbers[:, None])
        inverse = np.linalg.inv(basis)
        metric = basis.T @ basis
        means, deviations, counts = centred(held, model.mean_)
        sums = np.zeros((4, n_blocks, len(numbers)))
        plain = np.zeros((5, n_blocks))
        spread = np.zeros_like(metric)
        for block in np.unique(blocks):
            own = blocks == block
            within = deviations[own].reshape(-1, len(metric))
            within_moment = within.T @ within
            spread += within_moment
            between = means[own].T @ means[own]
            of_means = metric * (inverse @ between @ inverse.T)
            of_deviations = metric * (inverse @ within_moment @ inverse.T)
            lost = 1.0 - gain
            sums[:, block] = (
                ((lost @ of_means) * lost).sum(axis=1),
                ((lost @ of_deviations) * lost).sum(axis=1),
                ((gain @ of_deviations) * gain).sum(axis=1) / numbers,
                own.sum() * gain.sum(axis=1),
            )
            plain[:, block] = (
                np.trace(between),
                np.trace(within_moment),
                own.sum(),
                (counts[own] - 1).sum(),
                (1.0 / counts[own]).sum(),
            )
        return cls(numbers, *(*sums, *plain, spread))

    @classmethod
    def joined(cls, parts: Sequence[Moments]) -> Moments:
        """Add the moments of all folds."""
        names = [each.name for each in dataclasses.fields(cls)][1:]
        totals = (sum(getattr(part, name) for part in parts) for name in names)
        return cls(parts[0].numbers, *totals)

    def without(self, block: int) -> Moments:
        """Return the moments without one block."""
        kept = np.arange(len(self.groups)) != block
        names = [each.name for each in dataclasses.fields(self)][1:-1]
        return dataclasses.replace(
            self, **{name: getattr(self, name)[kept] for name in names}
        )

    def left(self, rest: Rest) -> Array:
        """Return the squared error of the state per number of instances, at least 0."""
        free, groups = self.free.sum(), self.groups.sum()
        share = self.inverse_counts.sum() / groups
        missed = self.means.sum(axis=0) / groups
        missed = missed - share * self.missed.sum(axis=0) / free
        error = missed + self.taken.sum(axis=0) / free
        if rest[0] > 0.0 and rest[1] > 0.0:
            error = error + 1.0 / (1.0 / rest[0] + self.numbers / rest[1])
        return np.asarray(np.maximum(error, 0.0))

    def gain(self, rest: Rest) -> Array:
        """Return the trace of `G` for each number of instances."""
        gain = self.traces.sum(axis=0) / self.groups.sum()
        if rest[0] > 0.0:
            gain = gain + rest[2] * rest[0] / (rest[0] + rest[1] / self.numbers)
        return np.asarray(gain)

    def variance(self, rest: Rest) -> float:
        """Return the variance of the data, summed over pixels."""
        within = self.squared_deviations.sum() / self.free.sum()
        share = self.inverse_counts.sum() / self.groups.sum()
        between = self.squared_means.sum() / self.groups.sum() - share * within
        return float(max(between, 0.0) + within + rest[0] + rest[1])

    def nuisance_spectrum(self, model: LinearMixedModel) -> Array:
        """Return variances along the model's nuisances, the largest first."""
        vectors = np.linalg.eigh(model.within_)[1][:, ::-1]
        return np.asarray(
            ((self.spread @ vectors) * vectors).sum(axis=0) / self.free.sum().clip(1)
        )


def components(x: Array, size: int) -> Array:
    """Return orthonormal principal components, `(pixels, size)` or fewer."""
    if len(x) < x.shape[1]:
        values, vectors = np.linalg.eigh(x @ x.T)
        kept = values > 1e-12 * values[-1]
        vectors = vectors[:, kept] / np.sqrt(values[kept])
        return np.asarray(x.T @ vectors[:, ::-1][:, :size])
    return np.asarray(np.linalg.eigh(x.T @ x)[1][:, ::-1][:, :size])


def noise_variance(spectrum: Array, pixels: int, rest: float) -> float:
    """Return the variance of white noise per pixel, 0 if none is detected.

    Args:
        spectrum: Variances within groups along nuisances that were found in other
            groups.
        pixels: Number of pixels.
        rest: Variance within groups in directions outside `spectrum`.
    """
    outside = pixels - len(spectrum)
    if outside:
        spectrum = np.append(spectrum, np.full(outside, rest / outside))
    if pixels < 8:
        return 0.0
    higher = float(spectrum[pixels // 2 : 3 * pixels // 4].mean())
    lower = float(spectrum[3 * pixels // 4 :].mean())
    white = lower > 0.0 and higher <= _FLAT * lower
    if not white or lower * pixels > _MOST_NOISE * spectrum.sum():
        return 0.0
    return 0.5 * (higher + lower)


@dataclasses.dataclass(frozen=True)
class Interactions:
    """Change of the covariance within groups with the state.

    If a nuisance `n` acts on the state `s` as `F(s) n`, `F(s) = F_0 + sum_k s_k F_k`,
    the covariance within groups changes by `F_0 F_k' + F_k F_0'` for each unit of
    `s_k`. Of all `F_k` that are consistent with the change, the smallest is used: its
    squared size is the squared Bures distance between the two normal distributions.
    Products of different blocks of groups are not biased by the noise of either block.
    """

    values: Array
    """Variances of nuisances, without noise."""
    vectors: Array
    changes: Array
    """Sums of the changes, `(blocks, states, nuisances, nuisances)`."""
    groups: Array
    """Number of groups in each block."""

    @classmethod
    def of(
        cls, model: LinearMixedModel, scores: GroupedData, blocks: Array, noise: float
    ) -> Interactions:
        """Compute the changes.

        The leave-one-out estimate of the state prevents skewed nuisances, whose group
        means depend on their variances, from being counted as interactions. It needs at
        least three instances per group.
        """
        means, deviations, counts = centred(scores, model.mean_, fitted=True)
        several = counts > 1
        means, deviations = means[several], deviations[several]
        counts, blocks = counts[several], blocks[several]
        free = (counts - 1).sum()
        flat = deviations.reshape(-1, deviations.shape[-1])
        values, vectors = np.linalg.eigh(flat.T @ flat / free)
        vectors = vectors[:, ::-1][:, :MOST_NUISANCES]
        total = values[::-1][:MOST_NUISANCES]
        nuisances = deviations @ vectors
        typical = float(counts.mean())
        variances, states = np.linalg.eigh(model.between_)
        variances, states = variances[::-1][:_STATES], states[:, ::-1][:, :_STATES]
        _, kept = _weights(model, typical, states, variances)
        states, variances = states[:, kept], variances[kept]
        changes = np.zeros(
            (int(blocks.max()) + 1, len(variances), len(total), len(total))
        )
        for count in np.unique(counts):
            own = counts == count
            weights, _ = _weights(model, float(count), states, variances)
            state = means[own] @ weights
            each = np.broadcast_to(
                state[:, None], (*deviations[own].shape[:2], len(variances))
            )
            if count > 2:
                each = each - (deviations[own] @ weights) / (count - 2.0)
            for block in np.unique(blocks[own]):
                here = blocks[own] == block
                found = np.einsum(
                    "itk,itl,itm->klm",
                    each[here],
                    nuisances[own][here],
                    nuisances[own][here],
                    optimize=True,
                )
                expected = state[here].sum(axis=0)[:, None, None] * np.diag(total)
                changes[block] += found / (count - 1.0) - expected
        return cls(
            np.maximum(total - noise, 0.0),
            vectors,
            changes,
            np.bincount(blocks, minlength=len(changes)),
        )

    def effect(self, without: int | None = None) -> Array:
        """Return the covariance of the interaction, `(nuisances, nuisances)`.

        Args:
            without: A block to leave out. Defaults to `None`.
        """
        size = len(self.values)
        effect = np.zeros((size, size))
        kept = np.arange(len(self.changes)) != without
        changes = self.changes[kept] / self.groups[kept].sum()
        if len(changes) < 2 or not changes.shape[1] or not self.values.max() > 0.0:
            return effect
        damping = (_DAMPING * self.values.max()) ** 2
        for step in range(_STEPS):
            # The interaction's part of the covariance is not a separate nuisance.
            values, turn = np.linalg.eigh(np.diag(self.values) - effect)
            values = np.maximum(values, 0.0)
            sums = values[:, None] + values
            factor = np.sqrt(values) * sums / (sums**2 + damping)
            parts = _turned(changes, turn) * factor
            square = _sum_of_squares(parts.sum(axis=0)) - _sum_of_squares(parts)
            square *= len(parts) / (len(parts) - 1.0)
            found = turn @ (0.5 * (square + square.T)) @ turn.T
            effect = 0.5 * (effect + found) if step else found
        if not np.trace(effect) > 0.0:
            return np.zeros((size, size))
        return np.asarray(effect)

    def overlap(self, model: LinearMixedModel, effect: Array, numbers: Array) -> Array:
        """Return the trace of `G` times the interaction, per number of instances."""
        basis, ratio = _diagonal(model)
        inner = np.linalg.solve(basis, self.vectors @ effect)
        shares = (inner * (basis.T @ self.vectors)).sum(axis=1)
        gain = ratio / (ratio + 1.0 / numbers[:, None])
        return np.asarray(gain @ shares)


def centred(
    groups: GroupedData, mean: Array, fitted: bool = False
) -> tuple[Array, Array, Array]:
    """Return centred group means, deviations (0 where absent), and counts.

    Args:
        groups: Groups of `(components,)`.
        mean: The mean.
        fitted: Whether `mean` is replaced by the mean of these groups.
    """
    present, counts = groups.present[..., None], groups.counts
    x = np.where(present, groups.x, 0.0)
    means = x.sum(axis=1) / counts[:, None]
    deviations = np.where(present, x - means[:, None], 0.0)
    centre = means.mean(axis=0) if fitted else mean
    return means - centre, deviations, counts


def _turned(matrices: Array, turn: Array) -> Array:
    """Return `turn' m turn` of symmetric matrices `m`, `(..., size, size)`.

    Products of all matrices at once are faster than many small ones.
    """
    size = len(turn)
    half = (matrices.reshape(-1, size) @ turn).reshape(matrices.shape)
    whole = np.swapaxes(half, -1, -2).reshape(-1, size) @ turn
    return np.asarray(whole.reshape(matrices.shape))


def _sum_of_squares(matrices: Array) -> Array:
    """Return the sum of `m m'` of matrices `m`, `(..., size, size)`."""
    rows = np.moveaxis(matrices, -2, 0).reshape(matrices.shape[-2], -1)
    return np.asarray(rows @ rows.T)


def _diagonal(model: LinearMixedModel) -> tuple[Array, Array]:
    """Return `A` and `r` with `between = A diag(r) A'` and `within = A A'`."""
    factor = np.linalg.cholesky(model.within_)
    half = np.linalg.solve(factor, model.between_)
    values, vectors = np.linalg.eigh(np.linalg.solve(factor, half.T))
    return factor @ vectors, np.maximum(values, 0.0)


def _weights(
    model: LinearMixedModel, count: float, states: Array, variances: Array
) -> tuple[Array, Array]:
    """Return weights of group means for states of unit variance, and which to keep."""
    gain = np.linalg.solve(model.between_ + model.within_ / count, model.between_)
    weights = gain @ states
    shown = (weights * (model.between_ @ states)).sum(axis=0)
    reliable = shown > _MIN_RELIABILITY * np.maximum(variances, 0.0)
    reliable &= shown > 0.0
    scale = np.sqrt(np.maximum(variances, 0.0)) / np.where(shown > 0.0, shown, 1.0)
    return weights * scale, reliable
