"""Convolutional decoder of one instance with two axes, such as an image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from symae_keras.layers.conv_stack import ConvDecoder, PerConvolution


@keras.saving.register_keras_serializable(package="symae_keras")
class Conv2DDecoder(ConvDecoder):
    """Decodes a code to an image with convolutions that make maps larger.

    A dense layer makes the smallest map. Each step multiplies its size by a stride and
    crops it to the size that the mirrored encoder had there, so that any height and
    width comes out exactly. The last step is linear, in data units.

    Args:
        instance_shape: `(height, width)` or `(height, width, channels)`.
        filters: Channels of the dense map and of each step but the last, which gives
            the channels of the instance. Defaults to `(64, 32)`.
        kernel_size: Size of the kernels, an integer or one a convolution. Defaults to
            3.
        normalization: `"layer"` (default), `"group"` or `None`.
        activation: Activation after each normalisation, by name, or a layer such as
            `keras.layers.LeakyReLU(0.1)`, of which each place has a copy. Defaults to
            `"gelu"`.
        strides: Factor by which each convolution makes its map larger, an integer or
            one for each. Defaults to 2.
        upsampling: How maps are made larger. `"transposed"` (default): a transposed
            convolution. `"nearest"`: repeated pixels, then a convolution.
            `"bed_of_nails"`: zeros between the pixels, then a convolution.
            `"subpixel"`: a convolution to `stride**2` times the channels, which are
            then moved to pixels.
        dense: Whether there is a dense layer. Without it the code itself is the
            smallest map, as an encoder with `output_dim=None` gives it. Defaults to
            True.

    Call arguments:
        inputs: Tensor `(batch, code)`.

    Output shape:
        `(batch, *instance_shape)`.

    Example:
    >>> from keras import ops
    >>> tuple(Conv2DDecoder((28, 27, 1))(ops.ones((4, 8))).shape)
    (4, 28, 27, 1)
    """

    rank = 2

    def __init__(
        self,
        instance_shape: Sequence[int],
        filters: Sequence[int] = (64, 32),
        kernel_size: PerConvolution = 3,
        normalization: str | None = "layer",
        activation: Any = "gelu",
        strides: PerConvolution = 2,
        upsampling: str = "transposed",
        dense: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            instance_shape,
            filters,
            kernel_size,
            normalization,
            activation,
            strides,
            upsampling,
            dense,
            **kwargs,
        )
