"""Convolutional encoder of one instance with two axes, such as an image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from symae_keras.layers.conv2d_decoder import Conv2DDecoder
from symae_keras.layers.conv_stack import ConvEncoder, PerConvolution


@keras.saving.register_keras_serializable(package="symae_keras")
class Conv2DEncoder(ConvEncoder):
    """Encodes an image with strided convolutions and one dense layer.

    Each convolution has "same" padding, then normalisation and activation; the maps are
    flattened and projected linearly to the code. Any size will do.

    Args:
        output_dim: Size of the code. With `None` there is no dense layer: the maps of
            the last convolution, neither normalised nor activated, are flattened to be
            the code.
        filters: Channels of each convolution. Defaults to `(32, 64)`.
        kernel_size: Size of the kernels, an integer or one a convolution. Defaults to
            3.
        normalization: `"layer"` (default), `"group"` or `None`.
        activation: Activation after each normalisation, by name, or a layer such as
            `keras.layers.LeakyReLU(0.1)`, of which each place has a copy. Defaults to
            `"gelu"`.
        strides: Strides of the convolutions, an integer or one for each. Defaults to 2.

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
        output_dim: int | None,
        filters: Sequence[int] = (32, 64),
        kernel_size: PerConvolution = 3,
        normalization: str | None = "layer",
        activation: Any = "gelu",
        strides: PerConvolution = 2,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            output_dim,
            filters,
            kernel_size,
            normalization,
            activation,
            strides,
            **kwargs,
        )
