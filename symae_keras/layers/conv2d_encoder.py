"""Convolutional encoder of one instance with two axes, such as an image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from symae_keras.layers.conv2d_decoder import Conv2DDecoder
from symae_keras.layers.conv_stack import ConvEncoder


@keras.saving.register_keras_serializable(package="symae_keras")
class Conv2DEncoder(ConvEncoder):
    """Encodes an image with strided convolutions and one dense layer.

    Each convolution has stride 2 and "same" padding, then normalisation and activation;
    the maps are flattened and projected linearly to the code. Any size will do.

    Args:
        output_dim: Size of the code.
        filters: Channels of each convolution. Defaults to `(32, 64)`.
        kernel_size: Size of the kernels. Defaults to 3.
        normalization: `"layer"` (default), `"group"` or `None`.
        activation: Activation after each normalisation. Defaults to `"gelu"`.

    Call arguments:
        inputs: Tensor `(batch, *instance_shape)`, where the instance shape is
            `(height, width)` or `(height, width, channels)`.

    Output shape:
        `(batch, output_dim)`.

    Example:
    >>> from keras import ops
    >>> tuple(Conv2DEncoder(output_dim=8)(ops.ones((4, 28, 27, 1))).shape)
    (4, 8)
    """

    rank = 2
    decoder = Conv2DDecoder

    def __init__(
        self,
        output_dim: int,
        filters: Sequence[int] = (32, 64),
        kernel_size: int = 3,
        normalization: str | None = "layer",
        activation: Any = "gelu",
        **kwargs: Any,
    ) -> None:
        super().__init__(
            output_dim, filters, kernel_size, normalization, activation, **kwargs
        )
