"""Delays and gains of waves caused by small anomalies of a medium."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import keras
from keras import ops

from symae_keras._utils.arrays import Shape, Tensor
from symae_keras._utils.validation import invalid, is_number, positive_finite

#: Frequencies for the band average, relative to the centre of the band, and weights.
_BAND: Final = (0.6, 0.8, 1.0, 1.2, 1.4)
_DEVIATION: Final = 0.3


@keras.saving.register_keras_serializable(package="symae_keras")
class RytovKernel(keras.layers.Layer):
    """Delay and gain kernel of anomalies for waves from a source to a receiver.

    Anomalies are Gaussian bells of slowness around fixed positions in a plane. In the
    Rytov approximation, the logarithm of the spectrum of a trace is linear in the
    strengths of the anomalies. Delays and logarithms of gains are therefore sums of
    this kernel times strengths. The kernel is wide: waves of finite frequency are also
    sensitive to the Fresnel zone around the straight ray. The kernel is averaged over
    a band of frequencies, 0.6 to 1.4 times the centre. The layer has no weights, and
    sources and velocity receive gradients.

    Args:
        receivers: Positions of receivers in km, `(receivers, 2)`.
        places: Centres of the anomalies in km, `(anomalies, 2)`. The closed form is
            valid if sources and receivers are at least two widths away.
        width: Standard deviation of the bells in km.
        frequency: Centre of the band in Hz.

    Call arguments:
        sources: Positions in km, `(..., 2)`.
        velocity: Velocity of the background in km/s, a scalar.

    Output shape:
        Two tensors `(..., anomalies, receivers)` for a relative slowness of 1: delays
        in seconds (positive means later) and logarithms of gains. Always float32.

    Source: M. J. Woodward, Wave-equation tomography, Geophysics 57 (1992), 15-26;
    F. A. Dahlen, S.-H. Hung & G. Nolet, Geophysical Journal International 141 (2000),
    157-174. The integral over a bell has a closed form after distances are expanded to
    second order around the centre of the bell.

    Example: at high frequencies, an anomaly on the ray delays the wave by the integral
    of slowness along the ray, `0.1 * sqrt(2 pi) * 0.1 km / (2 km/s)`
    >>> from keras import ops
    >>> kernel = RytovKernel([[1.0, 0.0]], [[0.0, 0.0]], width=0.1, frequency=400.0)
    >>> delay, gain = kernel(ops.convert_to_tensor([[-1.0, 0.0]]), velocity=2.0)
    >>> bool(abs(0.1 * float(delay[0, 0, 0]) - 0.0125) < 1e-4)
    True
    """

    def __init__(
        self,
        receivers: Sequence[Sequence[float]],
        places: Sequence[Sequence[float]],
        width: float,
        frequency: float,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.autocast = False  # phases of many cycles need float32
        self.receivers = positions("receivers", receivers)
        self.places = positions("places", places)
        self.width = positive_finite("width", width)
        self.frequency = positive_finite("frequency", frequency)

    def call(self, sources: Tensor, velocity: Any) -> tuple[Tensor, Tensor]:
        sources = ops.cast(ops.convert_to_tensor(sources), "float32")
        velocity = ops.cast(velocity, "float32")
        receivers = ops.convert_to_tensor(self.receivers, dtype="float32")
        places = ops.convert_to_tensor(self.places, dtype="float32")
        to_receiver = receivers - places[:, None]
        second = length(to_receiver)
        from_source = places - sources[..., None, :]
        first = length(from_source)[..., None]
        direct = length(receivers - sources[..., None, :])[..., None, :]
        # -1 if the anomaly lies on the straight ray.
        cosine = -ops.einsum("...ad,ard->...ar", from_source, to_receiver)
        cosine = cosine / (first * second)
        geometry = first, second, direct, cosine
        delay, gain, phases, weights = 0.0, 0.0, 0.0, 0.0
        for part in _BAND:
            angular = 2.0 * math.pi * part * self.frequency
            weight = math.exp(-0.5 * ((part - 1.0) / _DEVIATION) ** 2)
            size, angle = self._scattered(angular / velocity, *geometry)
            # The best-fitting line through the origin and the phases of the band.
            delay = delay - weight * angular * size * ops.sin(angle)
            gain = gain + weight * size * ops.cos(angle)
            phases += weight * angular**2
            weights += weight
        return delay / phases, gain / weights

    def _scattered(
        self, wave: Tensor, first: Tensor, second: Tensor, direct: Tensor, cosine: Any
    ) -> tuple[Tensor, Tensor]:
        """Return modulus and argument of the scattered wave over the direct wave."""
        area = self.width**2
        bend = 1.0 + cosine
        curvature = 1.0 / first + 1.0 / second
        real = 1.0 - ops.square(wave * area) * (1.0 - ops.square(cosine)) / (
            first * second
        )
        imaginary = wave * area * curvature
        square = ops.square(real) + ops.square(imaginary)
        angle = ops.arctan2(imaginary, real)
        # The complex number (2 + i e) / (real + i imaginary).
        e = wave * area * bend * curvature
        decay = (2.0 * real + e * imaginary) / square
        turn = (e * real - 2.0 * imaginary) / square
        loss = 0.5 * ops.square(wave) * area * bend
        size = math.sqrt(2.0 * math.pi) * area * ops.power(wave, 1.5)
        size = size * ops.sqrt(direct / (first * second)) * ops.exp(-loss * decay)
        detour = first + second - direct
        phase = -0.25 * math.pi - wave * detour - loss * turn - 0.5 * angle
        return size / ops.power(square, 0.25), phase

    def compute_output_shape(
        self, sources_shape: Shape, velocity_shape: Any = ()
    ) -> tuple[Shape, Shape]:
        shape = (*sources_shape[:-1], len(self.places), len(self.receivers))
        return shape, shape

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "receivers": [list(each) for each in self.receivers],
            "places": [list(each) for each in self.places],
            "width": self.width,
            "frequency": self.frequency,
        }


def length(vector: Tensor) -> Tensor:
    """Return the lengths of vectors along the last axis."""
    # The square root has no gradient at 0.
    return ops.sqrt(ops.maximum(ops.sum(ops.square(vector), axis=-1), 1e-12))


def positions(name: str, value: Any) -> tuple[tuple[float, float], ...]:
    """Return positions in a plane as pairs of numbers, or raise."""
    try:
        rows = [tuple(row) for row in value]
    except TypeError:
        rows = []
    if not rows or not all(len(row) == 2 and all(map(is_number, row)) for row in rows):
        raise invalid(name, "pairs of numbers, one per position", repr(value))
    return tuple((float(x), float(y)) for x, y in rows)
