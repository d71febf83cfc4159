"""Random shifts along the pixels of spectra, to augment data."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from symae_keras.arguments import not_negative
from symae_keras.layers.training_noise import TrainingNoise
from symae_keras.typing import Tensor


@keras.saving.register_keras_serializable(package="symae_keras")
class RandomShift(TrainingNoise):
    """Shifts each spectrum by a random fraction of pixels during training.

    Pixel `i` becomes `x(i - s)` with one shift `s` for each instance, uniform from
    `-max_shift` to `max_shift`. Between pixels `x` is interpolated linearly, and
    outside it repeats its first and last value.

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
        if pixel_axis not in (-1, -2):
            raise ValueError(
                "Invalid value received for argument `pixel_axis`. "
                f"Expected -1 or -2. Received: pixel_axis={pixel_axis}"
            )
        self.max_shift = not_negative("max_shift", max_shift)
        self.pixel_axis = int(pixel_axis)

    def _alter(self, inputs: Tensor) -> Tensor:
        n_leading = len(inputs.shape) + self.pixel_axis
        if n_leading < 0:
            raise ValueError(
                f"`RandomShift` expects inputs of rank {-self.pixel_axis} or more. "
                f"Received: inputs of shape {tuple(inputs.shape)}"
            )
        shape = tuple(ops.shape(inputs))
        ones = (1,) * (-self.pixel_axis - 1)
        # Places in float32: half precision does not count to 4096.
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
        """Arguments that rebuild the layer."""
        return {
            **super().get_config(),
            "max_shift": self.max_shift,
            "pixel_axis": self.pixel_axis,
        }
