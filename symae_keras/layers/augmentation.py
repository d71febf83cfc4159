"""Random changes of instances during training."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from symae_keras._utils.arrays import Tensor
from symae_keras._utils.validation import choice, not_negative, positive
from symae_keras.layers._random import TrainingNoise


@keras.saving.register_keras_serializable(package="symae_keras")
class RandomScale(TrainingNoise):
    """Random scaling of instances during training.

    Each instance is multiplied by its own factor `exp(strength * e)`, where `e` is
    drawn from a standard normal distribution. The factor is always positive, and `2` is
    as likely as `1/2`.

    Args:
        strength: Standard deviation of the logarithm of the factor; not negative.
        seed: Integer seed of the draws, or `None` (default).
        pixel_axes: Number of trailing axes of an instance: 1 for `(pixels,)`, 2 for
            `(pixels, channels)`. Defaults to 1.

    Call arguments:
        inputs: Tensor `(..., *instance_shape)` with at least `pixel_axes` axes.
        training: Whether to scale.

    Output shape:
        Same as the input.

    Example:
    >>> from keras import ops
    >>> layer = RandomScale(strength=0.1, seed=0)
    >>> scaled = layer(ops.ones((4, 28)), training=True)
    >>> bool(ops.all(scaled == scaled[:, :1])), bool(scaled[0, 0] == scaled[1, 0])
    (True, False)
    """

    def __init__(
        self,
        strength: float,
        seed: int | None = None,
        pixel_axes: int = 1,
        **kwargs: Any,
    ) -> None:
        super().__init__(seed, **kwargs)
        self.strength = not_negative("strength", strength)
        self.pixel_axes = positive("pixel_axes", pixel_axes)

    def _alter(self, inputs: Tensor) -> Tensor:
        n_leading = self._leading(inputs, self.pixel_axes)
        shape = (*tuple(ops.shape(inputs))[:n_leading], *(1,) * self.pixel_axes)
        noise = keras.random.normal(shape, dtype="float32", seed=self.seed_generator)
        return inputs * ops.cast(ops.exp(self.strength * noise), inputs.dtype)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "strength": self.strength,
            "pixel_axes": self.pixel_axes,
        }


@keras.saving.register_keras_serializable(package="symae_keras")
class RandomShift(TrainingNoise):
    """Random shift of spectra by a fraction of pixels during training.

    Pixel `i` becomes `x(i - s)`. Each instance has its own shift `s`, drawn uniformly
    from `-max_shift` to `max_shift`. `x` is interpolated linearly between pixels.
    Outside its range, `x` repeats the first or the last value.

    Args:
        max_shift: Largest shift in pixels, not negative; need not be an integer.
        seed: Integer seed of the draws, or `None` (default).
        pixel_axis: Axis of the pixels: -1 for `(..., pixels)` or -2 for
            `(..., pixels, channels)`, whose channels shift together. Defaults to -1.

    Call arguments:
        inputs: Tensor of any rank that has this axis.
        training: Whether to shift.

    Output shape:
        Same as the input.

    Example:
    >>> from keras import ops
    >>> layer = RandomShift(max_shift=2.5, seed=0)
    >>> ramp = ops.tile(ops.arange(28, dtype="float32"), (4, 1))
    >>> moved = ops.abs(layer(ramp, training=True) - ramp)
    >>> 0.0 < float(ops.max(moved)) <= 2.5
    True
    """

    def __init__(
        self,
        max_shift: float,
        seed: int | None = None,
        pixel_axis: int = -1,
        **kwargs: Any,
    ) -> None:
        super().__init__(seed, **kwargs)
        self.max_shift = not_negative("max_shift", max_shift)
        self.pixel_axis = choice("pixel_axis", pixel_axis, (-1, -2))

    def _alter(self, inputs: Tensor) -> Tensor:
        n_leading = self._leading(inputs, -self.pixel_axis)
        shape = tuple(ops.shape(inputs))
        ones = (1,) * (-self.pixel_axis - 1)
        # Positions are float32: half precision cannot count to 4096.
        shift = keras.random.uniform(
            (*shape[:n_leading], 1, *ones),
            -self.max_shift,
            self.max_shift,
            dtype="float32",
            seed=self.seed_generator,
        )
        last = shape[n_leading] - 1
        pixels = ops.reshape(ops.arange(shape[n_leading], dtype="float32"), (-1, *ones))
        place = ops.clip(pixels - shift, 0, ops.cast(last, "float32"))
        left = ops.floor(place)
        part = ops.cast(place - left, inputs.dtype)
        left = ops.cast(left, "int32")
        right = ops.minimum(left + 1, last)
        return (1 - part) * ops.take_along_axis(
            inputs, left, axis=self.pixel_axis
        ) + part * ops.take_along_axis(inputs, right, axis=self.pixel_axis)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "max_shift": self.max_shift,
            "pixel_axis": self.pixel_axis,
        }
