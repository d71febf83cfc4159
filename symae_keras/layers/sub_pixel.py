"""Upsampling that turns channels into pixels."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from symae_keras.arguments import positive
from symae_keras.typing import Shape, Tensor


@keras.saving.register_keras_serializable(package="symae_keras")
class SubPixel(keras.layers.Layer):
    """Upsamples by moving channels to pixels, also known as pixel shuffle.

    With `r` axes of pixels, `channels * size**r` numbers of a pixel become a cell of
    `size**r` pixels with `channels` each: in row-major order, first over the pixels of
    the cell, then over the channels. For images this is `keras.ops.depth_to_space`. A
    convolution that gives so many channels comes before it.

    Args:
        size: Factor of every axis of pixels. Defaults to 2.

    Call arguments:
        inputs: Tensor `(batch, pixels, channels)`, `(batch, height, width, channels)`,
            or with more axes of pixels.

    Output shape:
        That of the input, with every axis of pixels `size` times as long, and with
        `size**r` times fewer channels.

    Reference:
        - [Shi et al., Real-time single image and video super-resolution using an
          efficient sub-pixel convolutional neural network,
          2016](https://arxiv.org/abs/1609.05158)

    Example:
    >>> from keras import ops
    >>> y = SubPixel(2)(ops.array([[[1.0, 2.0], [3.0, 4.0]]]))
    >>> ops.convert_to_numpy(y)[0, :, 0].tolist()
    [1.0, 2.0, 3.0, 4.0]
    """

    def __init__(self, size: int = 2, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.size = positive("size", size)

    def build(self, input_shape: Shape) -> None:
        """Check that the channels fill the cells."""
        cell = self.size ** (len(input_shape) - 2)
        channels = input_shape[-1]
        if channels is None or channels % cell:
            raise ValueError(
                f"`SubPixel` expects a number of channels that is a multiple of {cell} "
                f"with size={self.size}. Received: shape {tuple(input_shape)}"
            )

    def call(self, inputs: Tensor) -> Tensor:
        """Move channels to pixels."""
        return shuffled(inputs, self.size)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Every axis of pixels times `size`, and channels to match."""
        batch, *sizes, channels = input_shape
        longer = (None if n is None else n * self.size for n in sizes)
        fewer = None if channels is None else channels // self.size ** len(sizes)
        return (batch, *longer, fewer)

    def get_config(self) -> dict[str, Any]:
        """Arguments that rebuild the layer."""
        return {**super().get_config(), "size": self.size}


def shuffled(x: Tensor, size: int) -> Tensor:
    """Move channels to pixels, `size` along every axis of pixels."""
    batch, *sizes, _ = ops.shape(x)
    rank = len(sizes)
    channels = x.shape[-1] // size**rank
    cells = ops.reshape(x, (batch, *sizes, *[size] * rank, channels))
    # From (batch, *sizes, *cell, channels) to axes of which each is beside its own.
    beside = [axis for n in range(1, rank + 1) for axis in (n, n + rank)]
    cells = ops.transpose(cells, (0, *beside, 2 * rank + 1))
    return ops.reshape(cells, (batch, *(n * size for n in sizes), channels))
