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
#: With more rows than this, only a part of them is used.
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
    nuisance_of_state: _Array
    """Zero if the nuisance is read without the state."""
    state_decoder: _Array
    nuisance_decoder: _Array
    bias: _Array


def linear_answer(
    z: _Array,
    present: _Array,
    axes: _Array,
    state_kernel: _Array,
    nuisance_kernel: _Array,
    conditional: bool,
    instance_dropout: float,
) -> LinearAnswer:
    """Compute linear encoders and a linear decoder from a linear mixed model.

    Args:
        z: `(groups, instances, pixels)`.
        present: Boolean `(groups, instances)`.
        axes: Principal axes of `z`, `(pixels, k)`; the model is fitted along them.
        state_kernel: `(pixels, coherent_dim)`. Columns without an axis keep its values,
            and their codes are not decoded.
        nuisance_kernel: `(pixels, nuisance_dim)`, likewise.
        conditional: Whether the nuisance is read from the difference to the state.
        instance_dropout: Share of instances that training removes.

    Raises:
        InputError: Fewer than two groups have two different instances.
    """
    # Not at the top: layers do not need data sets and classical methods otherwise.
    from symae_keras.classical.linear_mixed_model import LinearMixedModel
    from symae_keras.data.groups import GroupedData

    counts = present.sum(axis=1)
    different = _different(z, present)
    if different < 2:
        raise InputError(
            "A linear backbone estimates states and nuisances from the differences "
            "between and within groups, so it needs at least two groups with two "
            f"instances that differ; received {different}. Check the grouping."
        )
    # Groups of several instances first: those of one do not contain differences.
    order = np.argsort(counts < 2, kind="stable")
    some = order[: int(np.searchsorted(np.cumsum(counts[order]), _MOST_ROWS)) + 1]
    model = LinearMixedModel().fit(GroupedData((z @ axes)[some], mask=present[some]))
    between, within = model.between_, model.within_
    size = (1.0 - instance_dropout) / np.mean(1.0 / counts[counts > 0])
    read_state, state = _reduced(
        between, within / max(size, 1.0), state_kernel.shape[1]
    )
    if conditional:
        nuisance = np.linalg.eigh(within)[1][:, ::-1][:, : nuisance_kernel.shape[1]]
        read_nuisance = nuisance
    else:
        read_nuisance, nuisance = _reduced(within, between, nuisance_kernel.shape[1])
    read_state, state = _embedded(axes, read_state, state, state_kernel)
    read_nuisance, nuisance = _embedded(axes, read_nuisance, nuisance, nuisance_kernel)
    coupling = np.zeros((len(state), len(nuisance)))
    if conditional:
        coupling -= state @ read_nuisance
    mean = axes @ model.mean_
    coherent = mean @ read_state
    bias = mean - coherent @ state
    bias -= (mean @ read_nuisance + coherent @ coupling) @ nuisance
    return LinearAnswer(read_state, read_nuisance, coupling, state, nuisance, bias)


def _embedded(
    axes: _Array, read: _Array, decoded: _Array, kernel: _Array
) -> tuple[_Array, _Array]:
    """Return encoder `(pixels, size)` and decoder `(size, pixels)` of a code.

    Args:
        axes: `(pixels, k)`.
        read: Encoder along these axes, `(k, at most size)`.
        decoded: Axes of the code along these axes, of the same shape.
        kernel: `(pixels, size)`; the encoder of all further numbers of the code.
    """
    encoder = kernel.astype("float64")
    encoder[:, : read.shape[1]] = axes @ read
    decoder = np.zeros(encoder.T.shape)
    decoder[: read.shape[1]] = (axes @ decoded).T
    return encoder, decoder


def _different(z: _Array, present: _Array) -> int:
    """Return the number of groups with two different instances."""
    there = present[..., None]
    count = np.maximum(present.sum(axis=1), 1)[:, None]
    means = np.where(there, z, 0.0).sum(axis=1) / count
    apart = np.where(there, np.abs(z - means[:, None]), 0.0).max(axis=(1, 2), initial=0)
    return int((apart > 1e-6 * np.abs(z).max(initial=0.0)).sum())


def _reduced(signal: _Array, noise: _Array, size: int) -> tuple[_Array, _Array]:
    """Return the best predictor of a signal by a few numbers, as two matrices.

    A row `signal + noise` times the first matrix is a code. The code times the
    transpose of the second matrix is the posterior mean of the signal along its
    principal axes (reduced-rank regression).

    Args:
        signal: Covariance of the signal, `(k, k)`.
        noise: Covariance of the noise.
        size: Maximum size of the code.
    """
    predictor = np.linalg.solve(signal + noise, signal)
    predicted = signal @ predictor
    axes = np.linalg.eigh(0.5 * (predicted + predicted.T))[1][:, ::-1][:, :size]
    return predictor @ axes, axes


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
