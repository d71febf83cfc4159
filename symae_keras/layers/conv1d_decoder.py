"""Convolutional decoder of one instance with one axis, such as a spectrum."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from symae_keras.layers.conv_stack import ConvDecoder


@keras.saving.register_keras_serializable(package="symae_keras")
class Conv1DDecoder(ConvDecoder):
    """Decodes a code to a spectrum or signal with transposed convolutions of stride 2.

    A dense layer makes the smallest map. Each step doubles it and crops it to the size
    that the mirrored encoder had there, so that any length comes out exactly. The
    last step is linear, in data units.

    Args:
        instance_shape: `(pixels,)` or `(pixels, channels)`.
        filters: Channels of the dense map and of each step but the last, which gives
            the channels of the instance. Defaults to `(128, 64, 32)`.
        kernel_size: Size of the kernels. Defaults to 5.
        normalization: `"layer"` (default), `"group"` or `None`.
        activation: Activation after each normalisation. Defaults to `"gelu"`.

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
        kernel_size: int = 5,
        normalization: str | None = "layer",
        activation: Any = "gelu",
        **kwargs: Any,
    ) -> None:
        super().__init__(
            instance_shape, filters, kernel_size, normalization, activation, **kwargs
        )
