"""Convolutional encoder of one instance with one axis, such as a spectrum."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from symae_keras.layers.conv1d_decoder import Conv1DDecoder
from symae_keras.layers.conv_stack import ConvEncoder, PerConvolution


@keras.saving.register_keras_serializable(package="symae_keras")
class Conv1DEncoder(ConvEncoder):
    """Encodes a spectrum or signal with strided convolutions and one dense layer.

    Each convolution has "same" padding, then normalisation and activation; the maps are
    flattened and projected linearly to the code. Any length will do.

    Args:
        output_dim: Size of the code. With `None` there is no dense layer: the maps of
            the last convolution, neither normalised nor activated, are flattened to be
            the code.
        filters: Channels of each convolution. Defaults to `(32, 64, 128)`.
        kernel_size: Size of the kernels, an integer or one a convolution. Defaults to
            5.
        normalization: `"layer"` (default), `"group"` or `None`.
        activation: Activation after each normalisation, by name, or a layer such as
            `keras.layers.LeakyReLU(0.1)`, of which each place has a copy. Defaults to
            `"gelu"`.
        strides: Strides of the convolutions, an integer or one for each. Defaults to 2.

    Call arguments:
        inputs: Tensor `(batch, *instance_shape)`, where the instance shape is
            `(pixels,)` or `(pixels, channels)`.

    Output shape:
        `(batch, output_dim)`.

    Example:
    >>> from keras import ops
    >>> tuple(Conv1DEncoder(output_dim=8)(ops.ones((4, 251))).shape)
    (4, 8)
    """

    rank = 1
    decoder = Conv1DDecoder

    def __init__(
        self,
        output_dim: int | None,
        filters: Sequence[int] = (32, 64, 128),
        kernel_size: PerConvolution = 5,
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
