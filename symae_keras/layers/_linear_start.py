"""Closed-form initial weights of a linear backbone."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from symae_keras.errors import InputError

_Array = npt.NDArray[Any]

#: Added to standard deviations, as a fraction of the largest one, so that components
#: of pure noise are not amplified.
_FLOOR: Final = 0.05
#: Added to the normal equations of the decoder.
_RIDGE: Final = 1e-4
#: With more rows and more pixels than this, only a subset of the rows is used.
_MOST_ROWS: Final = 4096


class Coordinates(NamedTuple):
    """Soft-whitened coordinates of instances; see `LinearBackbone`."""

    mean: _Array
    """`(pixels,)`."""
    directions: _Array
    """Principal axes, `(pixels, k)`."""
    stretch: _Array
    """Factors along them, relative to the common factor of all other axes, `(k,)`."""
    scale: float

    def __call__(self, x: _Array, good: _Array) -> _Array:
        """Return the coordinates of `(..., pixels)`; bad pixels count as the mean."""
        x = np.where(good, x - self.mean, 0.0)
        along = (x @ self.directions) * (self.stretch - 1.0)
        return np.asarray(self.scale * (x + along @ self.directions.T))


def coordinates(x: _Array, good: _Array, size: int, whitening: float) -> Coordinates:
    """Compute soft-whitened coordinates from groups.

    Args:
        x: `(groups, instances, pixels)`.
        good: Boolean, of the same shape.
        size: Number of axes to return. If there are fewer, the rest are 0.
        whitening: Components are divided by their standard deviation to this power.
    """
    x = np.where(good, x, 0.0).astype("float64")
    mean = x.sum(axis=(0, 1)) / np.maximum(good.sum(axis=(0, 1)), 1)
    rows = np.where(good, x - mean, 0.0)[good.any(axis=2)]
    axes, spread = principal_axes(rows, size)
    directions, stretch = np.zeros((x.shape[2], size)), np.ones(size)
    if not spread.size or spread[0] == 0.0:
        return Coordinates(mean, directions, stretch, 1.0)
    floor = _FLOOR * spread[0]
    directions[:, : spread.size] = axes
    stretch[: spread.size] = (floor / (spread + floor)) ** whitening
    plain = Coordinates(mean, directions, stretch, 1.0)
    stretched = plain(rows + mean, np.ones(rows.shape, bool))
    scale = np.sqrt(np.mean(rows**2) / np.mean(stretched**2))
    return plain._replace(scale=float(scale))


class LinearAnswer(NamedTuple):
    """Kernels of `LinearBackbone`."""

    state_read_out: _Array
    nuisance_read_out: _Array
    state_decoder: _Array
    nuisance_decoder: _Array
    bias: _Array


def linear_answer(
    z: _Array, present: _Array, state_kernel: _Array, nuisance_kernel: _Array
) -> LinearAnswer:
    """Compute the linear encoders and the linear decoder of groups.

    Args:
        z: `(groups, instances, pixels)`.
        present: Boolean `(groups, instances)`.
        state_kernel: `(pixels, coherent_dim)`. Columns without an axis keep its values.
        nuisance_kernel: `(pixels, nuisance_dim)`, likewise.

    Raises:
        InputError: No group has two different instances.
    """
    there = present[..., None]
    count = np.maximum(present.sum(axis=1), 1)[:, None]
    means = np.where(there, z, 0.0).sum(axis=1) / count
    deviations = np.where(there, z - means[:, None], 0.0)[present]
    if not np.any(np.abs(deviations) > 1e-6 * np.abs(z).max(initial=0.0)):
        raise InputError(
            "A linear backbone estimates nuisances from the differences within groups, "
            "but received no group with two instances that differ. Check the grouping."
        )
    nuisance = nuisance_kernel.astype("float64")
    axes, _ = principal_axes(deviations, nuisance.shape[1])
    nuisance[:, : axes.shape[1]] = axes
    means = means[present.any(axis=1)]
    state = state_kernel.astype("float64")
    apart = means - means @ axes @ axes.T
    apart, _ = principal_axes(apart, state.shape[1])
    state[:, : apart.shape[1]] = apart
    codes = np.where(there, z @ state, 0.0).sum(axis=1) / count
    group = np.broadcast_to(np.arange(len(z))[:, None], present.shape)[present]
    rows = z[present]
    inputs = np.hstack([codes[group], rows @ nuisance, np.ones((len(rows), 1))])
    system = inputs.T @ inputs + _RIDGE * np.eye(inputs.shape[1])
    decoder = np.linalg.solve(system, inputs.T @ rows)
    p = state.shape[1]
    return LinearAnswer(state, nuisance, decoder[:p], decoder[p:-1], decoder[-1])


def principal_axes(rows: _Array, size: int) -> tuple[_Array, _Array]:
    """Return the first principal axes of rows around 0, and standard deviations.

    The arrays have shapes `(pixels, k)` and `(k,)`. `k` is the smaller of `size` and
    the rank.
    """
    count, pixels = rows.shape
    if min(count, pixels) > _MOST_ROWS:
        rows = rows[:: -(-count // _MOST_ROWS)]
        count = len(rows)
    if pixels <= count:
        squares, axes = np.linalg.eigh(rows.T @ rows)
    else:
        squares, left = np.linalg.eigh(rows @ rows.T)
        length = np.sqrt(np.maximum(squares, np.finfo(float).tiny))
        axes = rows.T @ (left / length)
    order = np.argsort(squares)[::-1][:size]
    order = order[squares[order] > 1e-12 * squares.max(initial=0.0)]
    return axes[:, order], np.sqrt(squares[order] / max(count, 1))
