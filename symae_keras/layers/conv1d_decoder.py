"""Convolutional decoder of one instance with one axis, such as a spectrum."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from symae_keras.layers.conv_stack import ConvDecoder, PerConvolution


@keras.saving.register_keras_serializable(package="symae_keras")
class Conv1DDecoder(ConvDecoder):
    """Decodes a code to a spectrum or signal with convolutions that make maps larger.

    A dense layer makes the smallest map. Each step multiplies its length by a stride
    and crops it to the length that the mirrored encoder had there, so that any length
    comes out exactly. The last step is linear, in data units.

    Args:
        instance_shape: `(pixels,)` or `(pixels, channels)`.
        filters: Channels of the dense map and of each step but the last, which gives
            the channels of the instance. Defaults to `(128, 64, 32)`.
        kernel_size: Size of the kernels, an integer or one a convolution. Defaults to
            5.
        normalization: `"layer"` (default), `"group"` or `None`.
        activation: Activation after each normalisation, by name, or a layer such as
            `keras.layers.LeakyReLU(0.1)`, of which each place has a copy. Defaults to
            `"gelu"`.
        strides: Factor by which each convolution makes its map larger, an integer or
            one for each. Defaults to 2.
        upsampling: How maps are made larger. `"transposed"` (default): a transposed
            convolution. `"nearest"`: repeated pixels, then a convolution.
            `"bed_of_nails"`: zeros between the pixels, then a convolution.
            `"subpixel"`: a convolution to `stride` times the channels, which are
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
    >>> tuple(Conv1DDecoder((251,))(ops.ones((4, 8))).shape)
    (4, 251)
    """

    rank = 1

    def __init__(
        self,
        instance_shape: Sequence[int],
        filters: Sequence[int] = (128, 64, 32),
        kernel_size: PerConvolution = 5,
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
