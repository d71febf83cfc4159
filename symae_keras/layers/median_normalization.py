"""Normalisation of every instance by its own median."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from symae_keras.arguments import positive
from symae_keras.typing import Shape, Tensor

# Medians below it count as zero: far below any flux, far above float32's underflow.
_SMALLEST = 1e-30
# What bad pixels are lifted to, so that sorting puts them last.
_LARGEST = 1e38


@keras.saving.register_keras_serializable(package="symae_keras")
class MedianNormalization(keras.Layer):
    """Divides every instance by the median of its pixels.

    The median takes off the brightness of a spectrum and is not moved by a few deep
    lines or cosmic rays. It is taken over good pixels; for an even number of them it is
    the mean of the two in the middle, as in NumPy. An instance without good pixels, or
    with a median of zero (below 1e-30), is not divided. All of it is computed in
    float32 at least, from inputs that are not cast to half precision before.

    Args:
        pixel_axes: How many trailing axes are pixels: 1 for `(pixels,)`, 2 for
            `(pixels, channels)` or grey images. Defaults to 1.

    Call arguments:
        inputs: Tensor `(..., *instance_shape)` of any rank from `pixel_axes` on.
        pixel_mask: Boolean tensor that broadcasts to that shape, True = good, or `None`
            if all pixels are good. Bad pixels come out as 0, whatever they held.

    Output shape:
        Same as the input.

    Example:
    >>> from keras import ops
    >>> layer = MedianNormalization()
    >>> x = ops.array([[2.0, 4.0, 9.0]])
    >>> ops.convert_to_numpy(layer(x)).tolist()
    [[0.5, 1.0, 2.25]]
    >>> good = ops.array([[True, True, False]])
    >>> ops.convert_to_numpy(layer.scale(x, pixel_mask=good)).tolist()
    [[3.0]]
    """

    def __init__(self, pixel_axes: int = 1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.pixel_axes = positive("pixel_axes", pixel_axes)
        # Fluxes of 1e-17 would be zeros in half precision.
        self.autocast = False
        self.supports_masking = True
        self.built = True

    def call(self, inputs: Tensor, pixel_mask: Tensor | None = None) -> Tensor:
        """Divide by the median of the good pixels."""
        x, good = self._prepare(inputs, pixel_mask)
        return ops.cast(x / self._median(x, good), self.compute_dtype)

    def scale(self, inputs: Tensor, pixel_mask: Tensor | None = None) -> Tensor:
        """What `call` divides by.

        Args:
            inputs: As in a call.
            pixel_mask: As in a call.

        Returns:
            Medians, with pixel axes of length 1; 1 where an instance is not divided.
        """
        if isinstance(inputs, keras.KerasTensor):
            leading = tuple(inputs.shape)[: len(inputs.shape) - self.pixel_axes]
            return keras.KerasTensor((*leading, *(1,) * self.pixel_axes), self._dtype)
        return self._median(*self._prepare(inputs, pixel_mask))

    @property
    def _dtype(self) -> str:
        return str(keras.backend.result_type(self.compute_dtype, "float32"))

    def _prepare(
        self, inputs: Tensor, pixel_mask: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Inputs in float32 at least with zeros for bad pixels, and the full mask."""
        x = ops.convert_to_tensor(inputs)
        if len(x.shape) < self.pixel_axes:
            raise ValueError(
                f"`MedianNormalization` expects inputs of rank {self.pixel_axes} or "
                f"more. Received: inputs of shape {tuple(x.shape)}"
            )
        x = ops.cast(x, self._dtype)
        good = ops.ones_like(x, dtype="bool")
        if pixel_mask is None:
            return x, good
        good = ops.logical_and(good, ops.cast(pixel_mask, "bool"))
        return ops.where(good, x, ops.zeros_like(x)), good

    def _median(self, x: Tensor, good: Tensor) -> Tensor:
        leading = tuple(ops.shape(x))[: len(x.shape) - self.pixel_axes]
        lifted = ops.where(good, x, ops.full_like(x, _LARGEST))
        lifted = ops.sort(ops.reshape(lifted, (*leading, -1)), axis=-1)
        n_good = ops.reshape(ops.cast(good, "int32"), (*leading, -1))
        n_good = ops.sum(n_good, axis=-1, keepdims=True)
        # The two in the middle: the same place twice for an odd number.
        place = ops.arange(ops.shape(lifted)[-1], dtype="int32")
        zeros = ops.zeros_like(lifted)
        lower = ops.where(place == (n_good - 1) // 2, lifted, zeros)
        upper = ops.where(place == n_good // 2, lifted, zeros)
        median = 0.5 * ops.sum(lower + upper, axis=-1, keepdims=True)
        usable = ops.logical_and(n_good > 0, ops.abs(median) >= _SMALLEST)
        # Chosen before anything is divided, so that no gradient is infinite.
        median = ops.where(usable, median, ops.ones_like(median))
        return ops.reshape(median, (*leading, *(1,) * self.pixel_axes))

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Same as the input."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Arguments that rebuild the layer."""
        return {**super().get_config(), "pixel_axes": self.pixel_axes}
