"""Upsampling that puts zeros between the values."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from symae_keras.arguments import positive
from symae_keras.layers.sub_pixel import shuffled
from symae_keras.typing import Shape, Tensor


@keras.saving.register_keras_serializable(package="symae_keras")
class BedOfNails(keras.layers.Layer):
    """Upsamples with zeros: each value becomes the first one of a cell of zeros.

    A convolution that follows has a kernel of its own for each place in a cell, as a
    transposed convolution has.

    Args:
        size: Factor of every axis of pixels. Defaults to 2.

    Call arguments:
        inputs: Tensor `(batch, pixels, channels)`, `(batch, height, width, channels)`,
            or with more axes of pixels.

    Output shape:
        That of the input, with every axis of pixels `size` times as long.

    Example:
    >>> from keras import ops
    >>> y = BedOfNails(2)(ops.array([[1.0, 2.0], [3.0, 4.0]])[None, :, :, None])
    >>> for row in ops.convert_to_numpy(y)[0, :, :, 0].tolist():
    ...     print(row)
    [1.0, 0.0, 2.0, 0.0]
    [0.0, 0.0, 0.0, 0.0]
    [3.0, 0.0, 4.0, 0.0]
    [0.0, 0.0, 0.0, 0.0]
    """

    def __init__(self, size: int = 2, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.size = positive("size", size)

    def call(self, inputs: Tensor) -> Tensor:
        """Put zeros behind each value, on every axis of pixels."""
        # Channels of zeros become the pixels between the values.
        rank, channels = len(inputs.shape) - 2, inputs.shape[-1]
        zeros = channels * (self.size**rank - 1)
        cells = ops.pad(inputs, ((0, 0),) * (rank + 1) + ((0, zeros),))
        return shuffled(cells, self.size)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Every axis of pixels times `size`."""
        batch, *sizes, channels = input_shape
        longer = (None if n is None else n * self.size for n in sizes)
        return (batch, *longer, channels)

    def get_config(self) -> dict[str, Any]:
        """Arguments that rebuild the layer."""
        return {**super().get_config(), "size": self.size}
