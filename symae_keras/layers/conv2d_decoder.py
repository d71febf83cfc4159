"""Convolutional decoder of one instance with two axes, such as an image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from symae_keras.layers.conv_stack import ConvDecoder


@keras.saving.register_keras_serializable(package="symae_keras")
class Conv2DDecoder(ConvDecoder):
    """Decodes a code to an image with transposed convolutions of stride 2.

    A dense layer makes the smallest map. Each step doubles it and crops it to the size
    that the mirrored encoder had there, so that any height and width comes out
    exactly. The last step is linear, in data units.

    Args:
        instance_shape: `(height, width)` or `(height, width, channels)`.
        filters: Channels of the dense map and of each step but the last, which gives
            the channels of the instance. Defaults to `(64, 32)`.
        kernel_size: Size of the kernels. Defaults to 3.
        normalization: `"layer"` (default), `"group"` or `None`.
        activation: Activation after each normalisation. Defaults to `"gelu"`.

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
        kernel_size: int = 3,
        normalization: str | None = "layer",
        activation: Any = "gelu",
        **kwargs: Any,
    ) -> None:
        super().__init__(
            instance_shape, filters, kernel_size, normalization, activation, **kwargs
        )
