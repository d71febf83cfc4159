"""Autoencoder of shot gathers whose coherent code is an image of the medium."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import keras
import numpy as np
import numpy.typing as npt
from keras import ops

from symae_keras._utils.arrays import Codes, Tensor
from symae_keras._utils.validation import (
    invalid,
    positive,
    positive_finite,
    sizes,
)
from symae_keras.layers.fourier_shift import FourierShift
from symae_keras.layers.rytov_kernel import RytovKernel, length, positions
from symae_keras.layers.shift_estimator import ShiftEstimator
from symae_keras.models.groups import GroupedAutoencoder

#: Elements of a nuisance code before the wavelet: two coordinates, origin time.
_PLACE: Final = 3
#: Steps that locate sources in a homogeneous medium, then rounds with the medium.
_STEPS: Final = 12
_ROUNDS: Final = 2
#: Residuals above this number of samples get less weight: they may be a period off.
_OUTLIER: Final = 1.5
#: Relative to the radius of the ring: initial distance of sources, their maximum
#: distance from the start of a round, and the largest step.
_DISTANCE: Final = 1.5
_TRUST: Final = 0.25
_LARGEST_STEP: Final = 0.2
#: Initial values of the trained weights: standard deviations of the relative slowness
#: of a bell, of delays in samples, of logarithms of gains.
_FIRST: Final = {"slowness": 0.05, "delay_error": 0.12, "gain_error": 0.08}
#: Standard deviation of the relative slowness of the background.
_BACKGROUND: Final = 0.01


class _Seen(NamedTuple):
    """Observations of each trace, `(batch, instances, traces)`."""

    delay: Tensor
    """Arrival in samples after the first sample."""
    gain: Tensor
    """Logarithm of the root mean square."""
    good: Tensor
    """1.0, or 0.0 for traces of absent instances and dead ones."""


class _Equations(NamedTuple):
    """Normal equations of the medium, one set per instance, and their parts."""

    matrix: Tensor
    """`(batch, instances, bells + 1, bells + 1)`"""
    vector: Tensor
    """`(batch, instances, bells + 1)`"""
    delays: Tensor
    """Delays in samples per relative slowness of 1, `(..., bells + 1, traces)`."""
    moved: Tensor
    """Delays per step of the source and of time, `(..., traces, 3)`."""
    rest: Tensor
    """Delays that no homogeneous medium explains, `(..., traces)`."""


@keras.saving.register_keras_serializable(package="symae_keras")
class TomographicSymAE(GroupedAutoencoder):
    """SymAE for shot gathers, whose decoder delays wavelets by travel times of rays.

    A medium delays the waves of a source. Networks that mix samples cannot delay
    traces. This autoencoder has the form of `SymAE`, but another encoder and decoder.

    - The coherent code of a group of gathers through one medium contains the relative
      slowness in Gaussian bells on a hexagonal grid, then that of the background.
      `slowness` draws it.
    - The nuisance code of a gather contains the position of its source in km, its
      origin time in samples, and its wavelet.
    - The decoder computes each trace as the wavelet, delayed by the travel time through
      the medium and multiplied by a gain. Delays and logarithms of gains are linear in
      the slowness, see `symae_keras.layers.RytovKernel`.
    - The encoder finds delays with `ShiftEstimator`. The coherent code is the most
      probable medium given the delays and gains of all instances. Sources and origin
      times are unknown and are estimated at the same time. Sums over instances make it
      invariant to their order. The wavelet is the mean of the traces after delays and
      gains are removed.

    Only four numbers are trained: the velocity of the background, and the standard
    deviations of the slowness and of the errors of delays and gains. During training,
    each instance is decoded with the coherent code of the *other* instances of its
    group. A medium that fits the noise of some gathers therefore increases the error of
    the others.

    Sources must lie outside of the receiver array. The positions of receivers must be
    known, but not those of sources. Traces without any good sample are ignored.

    Args:
        instance_shape: `(traces, samples)`.
        receivers: Positions of the receivers in km, one per trace; at least 4.
        velocity: Initial value of the background velocity in km/s. Defaults to 2.
        sampling: Sampling interval in seconds. Defaults to 0.01.
        frequency: Centre of the frequency band of the wavelets in Hz. Defaults to 10.
        wavelet_size: Number of samples of a wavelet, at most that of a trace; the
            arrival is in its middle. Defaults to 64.
        spacing: Distance in km between the bells, at most about half a wavelength.
            Their standard deviation is 0.8 of it. Defaults to 0.09.
        radius: Bells fill a disc of this radius in km around the middle of the
            receivers. Defaults to `None`: 0.7 of the distance to the nearest receiver.
        seed: Not used: nothing is random. Defaults to `None`.

    Call arguments:
        inputs: Tensor `(batch, instances, traces, samples)`, or a dict with
            `"instances"` and `"mask"`: boolean `(batch, instances)`, True = present, or
            of the shape of the instances.
        training: Whether each instance is decoded with the medium of the others.

    Output shape:
        `(batch, instances, traces, samples)`.

    Raises:
        ValueError: An argument is out of its range.

    Source: the symmetric autoencoder of P. Bharadwaj, M. Li & L. Demanet, arXiv
    2108.02537, with travel-time tomography as its encoder; unknown sources are
    separated as in G. L. Pavlis & J. R. Booker, Journal of Geophysical Research 85
    (1980), 4801-4810.

    Example:
    >>> import numpy as np
    >>> from symae_keras.data import simulate_gathers
    >>> gathers = simulate_gathers(n_states=2, n_instances=6)
    >>> angle = np.radians(gathers.axis)
    >>> ring = 0.6 * np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    >>> model = TomographicSymAE((24, 96), ring)
    >>> donors = gathers.x[[1, 0]]
    >>> virtual = model.redatum(coherent_from=gathers.x, nuisance_from=donors)
    >>> truth = gathers.virtual([[0], [1]], [[1], [0]], np.arange(6))
    >>> error = np.mean((ops.convert_to_numpy(virtual) - truth) ** 2)
    >>> bool(error < 0.1 * np.mean((donors - truth) ** 2))
    True
    """

    def __init__(
        self,
        instance_shape: Sequence[int],
        receivers: Sequence[Sequence[float]] | npt.NDArray[Any],
        velocity: float = 2.0,
        sampling: float = 0.01,
        frequency: float = 10.0,
        wavelet_size: int = 64,
        spacing: float = 0.09,
        radius: float | None = None,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        shape = sizes("instance_shape", instance_shape, "(24, 96)")
        where = positions("receivers", receivers)
        if len(shape) != 2 or shape[0] != len(where) or shape[0] < 4:
            raise ValueError(
                "`instance_shape` must be (traces, samples) with at least 4 traces, "
                "and `receivers` must have a position per trace. Received: "
                f"instance_shape={shape} and {len(where)} receivers"
            )
        size = positive("wavelet_size", wavelet_size)
        if not size <= shape[1]:
            raise invalid("wavelet_size", f"at most {shape[1]} samples", wavelet_size)
        middle = np.mean(where, axis=0)
        near = float(np.min(np.linalg.norm(where - middle, axis=-1)))
        disc = 0.7 * near if radius is None else positive_finite("radius", radius)
        places = middle + _hexagonal(positive_finite("spacing", spacing), disc)
        super().__init__(shape, len(places) + 1, _PLACE + size, seed=seed, **kwargs)
        self.velocity = positive_finite("velocity", velocity)
        self.sampling = positive_finite("sampling", sampling)
        self.frequency = positive_finite("frequency", frequency)
        self.wavelet_size = size
        self.spacing, self.radius = float(spacing), radius
        self.receivers = where
        self._receivers = np.asarray(where, "float32")
        self._middle = middle.astype("float32")
        self._reach = float(np.max(np.linalg.norm(where - middle, axis=-1)))
        self.kernel = RytovKernel(
            where, places.tolist(), 0.8 * self.spacing, frequency, dtype="float32"
        )
        self.shift = FourierShift(dtype="float32", name="shift")
        self.delays = ShiftEstimator(dtype="float32", name="delays")
        self.build((None, None, *self.instance_shape))

    # === Networks ===

    def _make_networks(self) -> None:
        """Make no networks: the decoder is a formula, the encoder solves equations."""

    def build(self, input_shape: Any = None) -> None:
        def scale(name: str) -> Any:
            return self.add_weight(shape=(), initializer="zeros", name=name)

        # In percent of the initial value: if the velocity is wrong by 1 %, arrivals
        # move by about a sample.
        self.velocity_change = scale("velocity_change")
        self.log_scales = {name: scale(f"log_{name}") for name in _FIRST}
        self._track_terms()
        self.built = True

    def _variance(self, name: str) -> Tensor:
        scale = ops.cast(self.log_scales[name], "float32")
        return ops.exp(2.0 * scale) * _FIRST[name] ** 2

    def _speed(self) -> Tensor:
        change = ops.cast(self.velocity_change, "float32")
        return self.velocity * ops.exp(0.01 * change)

    # === Encoder ===

    def _codes(self, x: Tensor, mask: Tensor | None) -> Codes:
        seen = self._observe(x, mask)
        equations, source = self._located(seen)
        medium = self._common_medium(equations)
        nuisance = self._nuisance(x, seen, equations, source, medium[:, None])
        return Codes(medium, nuisance)

    def _training_codes(
        self, x: Tensor, mask: Tensor | None, training: bool | None
    ) -> Codes:
        if not training:
            return self._codes(x, mask)
        seen = self._observe(x, mask)
        equations, source = self._located(seen)
        matrix, vector = equations.matrix, equations.vector
        others = self._medium(
            ops.sum(matrix, axis=1, keepdims=True) - matrix,
            ops.sum(vector, axis=1, keepdims=True) - vector,
        )
        return Codes(others, self._nuisance(x, seen, equations, source, others))

    def _observe(self, x: Tensor, mask: Tensor | None) -> _Seen:
        x = ops.cast(x, "float32")
        energy = ops.mean(ops.square(x), axis=-1)
        good = ops.cast(energy > 0.0, "float32")
        if mask is not None:
            good = good * ops.cast(mask, "float32")[..., None]
        # The choice of the largest correlation has no gradient, and none is needed.
        delay = ops.stop_gradient(self.delays(x)) + 0.5 * (x.shape[-1] - 1)
        gain = 0.5 * ops.log(ops.maximum(energy, 1e-30))
        return _Seen(delay, gain, good)

    def _located(self, seen: _Seen) -> tuple[_Equations, Tensor]:
        """Locate the sources and return the equations of the medium around them."""
        source = self._first_sources(seen)
        for _ in range(_ROUNDS - 1):
            equations = self._equations(seen, source)
            medium = self._common_medium(equations)
            source = source + self._step(seen, equations, medium[:, None])
        return self._equations(seen, source), source

    def _first_sources(self, seen: _Seen) -> Tensor:
        """Locate sources in a homogeneous medium by reweighted least squares."""
        late = seen.good * (seen.delay - _mean(seen.delay, seen.good))
        away = -ops.einsum("...r,rd->...d", late, self._receivers - self._middle)
        away = away / (length(away)[..., None] + keras.config.epsilon())
        source = _DISTANCE * self._reach * away + ops.convert_to_tensor(self._middle)
        # For far sources, only the direction of the waves differs. Some damping keeps
        # the steps finite.
        ridge = self._ridge(1e-3)
        for _ in range(_STEPS):
            arrival, moved = self._homogeneous(source)
            rest = seen.delay - arrival
            rest = rest - _mean(rest, seen.good)
            good = seen.good / (1.0 + ops.square(rest / _OUTLIER))
            source = source + self._fitted_step(moved, good, rest, ridge)
        return source

    def _homogeneous(self, source: Tensor) -> tuple[Tensor, Tensor]:
        """Return travel times in samples and their derivatives by source and time."""
        way = source[..., None, :] - ops.convert_to_tensor(self._receivers)
        distance = length(way)[..., None]
        per_km = 1.0 / (self._speed() * self.sampling)
        moved = ops.concatenate(
            [per_km * way / distance, ops.ones_like(distance)], axis=-1
        )
        return per_km * distance[..., 0], moved

    def _equations(self, seen: _Seen, source: Tensor) -> _Equations:
        """Return each instance's equations for the medium, without source and gain."""
        arrival, moved = self._homogeneous(source)
        rest = seen.delay - arrival
        delays, gains = self._fields(source, arrival)
        good = seen.good[..., None, :]
        # Delays that a step of the source or of time explains carry no information.
        clear = self._cleared(delays, moved, seen.good)
        matrix = _product(delays, clear) / self._variance("delay_error")
        vector = ops.einsum("...ar,...r->...a", clear, rest)
        vector = vector / self._variance("delay_error")
        gains = good * (gains - _mean(gains, good))
        bare = seen.gain + 0.5 * ops.log(arrival)
        matrix = matrix + _product(gains, gains) / self._variance("gain_error")
        vector = vector + ops.einsum("...ar,...r->...a", gains, bare) / self._variance(
            "gain_error"
        )
        return _Equations(matrix, vector, delays, moved, rest)

    def _fields(self, source: Tensor, arrival: Tensor) -> tuple[Tensor, Tensor]:
        """Return delays in samples and log gains per relative slowness of 1."""
        seconds, gains = self.kernel(source, self._speed())
        delays = seconds / self.sampling
        background = arrival[..., None, :]
        return (
            ops.concatenate([delays, background], axis=-2),
            ops.concatenate([gains, ops.zeros_like(background)], axis=-2),
        )

    def _cleared(self, delays: Tensor, moved: Tensor, good: Tensor) -> Tensor:
        """Subtract from delays their weighted best fit by steps of source and time."""
        weighted = delays * good[..., None, :]
        normal = _normal(moved, good) + self._ridge(self._variance("delay_error"))
        across = ops.einsum("...ar,...rp->...pa", weighted, moved)
        fit = ops.einsum("...rp,...pa->...ar", moved, _solved(normal, across))
        return weighted - fit * good[..., None, :]

    def _common_medium(self, equations: _Equations) -> Tensor:
        """Return the most probable slowness given all instances of the group."""
        return self._medium(
            ops.sum(equations.matrix, axis=1), ops.sum(equations.vector, axis=1)
        )

    def _medium(self, matrix: Tensor, vector: Tensor) -> Tensor:
        """Return the most probable slowness given normal equations."""
        bells = self.coherent_dim - 1
        prior = ops.concatenate(
            [
                ops.ones((bells,), dtype="float32") / self._variance("slowness"),
                ops.ones((1,), dtype="float32") / _BACKGROUND**2,
            ]
        )
        matrix = matrix + prior * ops.eye(bells + 1, dtype="float32")
        return _solved(matrix, vector[..., None])[..., 0]

    def _step(self, seen: _Seen, equations: _Equations, medium: Tensor) -> Tensor:
        """Return the step of the sources given the medium."""
        by_medium = ops.einsum("...ar,...a->...r", equations.delays, medium)
        rest = equations.rest - by_medium
        ridge = self._ridge(self._variance("delay_error"))
        return self._fitted_step(equations.moved, seen.good, rest, ridge)

    def _fitted_step(
        self, moved: Tensor, good: Tensor, rest: Tensor, ridge: Tensor
    ) -> Tensor:
        """Return the bounded source step that explains delays best, at any time."""
        right = ops.einsum("...rp,...r,...r->...p", moved, good, rest)
        normal = _normal(moved, good) + ridge
        step = _solved(normal, right[..., None])[..., :2, 0]
        largest = _LARGEST_STEP * self._reach
        return step * largest / ops.maximum(length(step)[..., None], largest)

    def _ridge(self, variance: Any) -> Tensor:
        """Return the damping of source steps; for time, it only avoids zeros."""
        trust = (_TRUST * self._reach) ** 2
        resistance = np.diag([1.0 / trust, 1.0 / trust, 1e-4]).astype("float32")
        return variance * ops.convert_to_tensor(resistance)

    def _nuisance(
        self,
        x: Tensor,
        seen: _Seen,
        equations: _Equations,
        source: Tensor,
        medium: Tensor,
    ) -> Tensor:
        source = source + self._step(seen, equations, medium)
        arrival, gain = self._arrivals(source, medium)
        time = _mean(seen.delay - arrival, seen.good)
        wavelet = self._wavelet(x, arrival + time, gain, seen.good)
        return ops.concatenate([source, time, wavelet], axis=-1)

    def _arrivals(self, source: Tensor, medium: Tensor) -> tuple[Tensor, Tensor]:
        """Return travel times in samples and log gains through the medium."""
        arrival, _ = self._homogeneous(source)
        delays, gains = self._fields(source, arrival)
        late = ops.einsum("...ar,...a->...r", delays, medium)
        loud = ops.einsum("...ar,...a->...r", gains, medium)
        return arrival + late, loud - 0.5 * ops.log(arrival)

    def _wavelet(
        self, x: Tensor, arrival: Tensor, gain: Tensor, good: Tensor
    ) -> Tensor:
        """Return the wavelet that explains the traces best, `(..., wavelet_size)`."""
        samples, size = x.shape[-1], self.wavelet_size
        gain = good * ops.exp(gain)
        begin = arrival - 0.5 * size
        aligned = self.shift(ops.cast(x, "float32"), -begin)[..., :size]
        # Samples that lie outside the window of a trace.
        index = begin[..., None] + ops.arange(size, dtype="float32")
        inside = ops.logical_and(index >= 0.0, index <= samples - 1.0)
        weight = gain[..., None] * ops.cast(inside, "float32")
        total = ops.sum(weight * aligned, axis=-2)
        power = ops.sum(weight * gain[..., None], axis=-2)
        return total / (power + 1e-3 * ops.max(power, axis=-1, keepdims=True) + 1e-30)

    # === Decoder ===

    def _decode_normalized(self, coherent: Tensor, latent: Tensor) -> Tensor:
        """Decode one coherent code per group, or one per instance."""
        if len(coherent.shape) == 2:
            coherent = coherent[:, None]
        coherent, latent = ops.cast(coherent, "float32"), ops.cast(latent, "float32")
        source, time = latent[..., :2], latent[..., 2:_PLACE]
        arrival, gain = self._arrivals(source, coherent)
        begin = arrival + time - 0.5 * self.wavelet_size
        missing = self.instance_shape[1] - self.wavelet_size
        wavelet = latent[..., None, _PLACE:]
        wavelet = ops.exp(gain)[..., None] * wavelet
        wavelet = ops.pad(wavelet, [(0, 0)] * 3 + [(0, missing)])
        return ops.cast(self.shift(wavelet, begin), self.compute_dtype)

    def slowness(self, coherent: Tensor, points: npt.ArrayLike) -> Tensor:
        """Compute images of media: the relative slowness at some points.

        Args:
            coherent: Coherent codes `(batch, coherent_dim)`, or differences of codes,
                which show changes.
            points: Positions in km, `(..., 2)`.

        Returns:
            Tensor `(batch, ...)`. The value is 0.05 where waves are 5 % slower than
            `velocity`.
        """
        places = np.asarray(self.kernel.places, "float32")
        way = np.asarray(points, "float32")[..., None, :] - places
        bells = np.exp(-0.5 * np.sum((way / self.kernel.width) ** 2, axis=-1))
        one = np.ones((*bells.shape[:-1], 1), "float32")
        drawn = np.concatenate([bells, one], axis=-1)
        coherent = ops.cast(ops.convert_to_tensor(coherent), "float32")
        return ops.tensordot(coherent, drawn, axes=[[-1], [-1]])


def _hexagonal(spacing: float, radius: float) -> npt.NDArray[Any]:
    """Return the points of a hexagonal grid in a disc around the origin."""
    reach = math.ceil(1.2 * radius / spacing)
    column, row = np.meshgrid(*[np.arange(-2 * reach, 2 * reach + 1)] * 2)
    x = spacing * (column + 0.5 * row)
    y = spacing * math.sqrt(0.75) * row
    points = np.stack([x, y], axis=-1).reshape(-1, 2)
    inside: npt.NDArray[Any] = points[np.hypot(*points.T) <= radius * (1.0 + 1e-6)]
    return inside


def _mean(values: Tensor, weight: Tensor) -> Tensor:
    """Compute the weighted mean over traces and keep its axis."""
    total = ops.maximum(ops.sum(weight, axis=-1, keepdims=True), 1e-6)
    return ops.sum(values * weight, axis=-1, keepdims=True) / total


def _normal(moved: Tensor, good: Tensor) -> Tensor:
    """Return the normal matrix of steps of sources and of time."""
    return ops.einsum("...rp,...r,...rq->...pq", moved, good, moved)


def _product(one: Tensor, other: Tensor) -> Tensor:
    return ops.einsum("...ar,...br->...ab", one, other)


def _solved(matrix: Tensor, right: Tensor) -> Tensor:
    """Solve equations with a positive definite matrix."""
    root = ops.cholesky(matrix)
    half = ops.solve_triangular(root, right, lower=True)
    return ops.solve_triangular(ops.swapaxes(root, -1, -2), half, lower=False)
