"""Encoders."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from symae_keras._utils.arrays import Shape, Tensor
from symae_keras._utils.validation import positive, sizes
from symae_keras.layers._stack import (
    ConvEncoder,
    PerConvolution,
    WithKernels,
    build_chain,
    call_chain,
    keras_layer,
)
from symae_keras.layers.decoders import Conv1DDecoder, Conv2DDecoder, DenseDecoder


@keras.saving.register_keras_serializable(package="symae_keras")
class DenseEncoder(WithKernels):
    """Encoder of instances of any shape: a stack of dense layers.

    The instance is flattened. The hidden layers have an activation; the last layer is
    linear.

    Args:
        output_dim: Size of the code.
        units: Sizes of the hidden layers. Defaults to `(512, 256)`.
        activation: Activation of the hidden layers. Defaults to `"gelu"`.
        **kwargs: `use_bias`, `kernel_initializer`, `bias_initializer`,
            `kernel_regularizer` and `bias_regularizer` of all inner layers, with the
            defaults of `keras.layers.Dense`; other arguments of `keras.Layer`.

    Call arguments:
        inputs: Tensor `(batch, *instance_shape)`.

    Output shape:
        `(batch, output_dim)`.

    Example:
    >>> from keras import ops
    >>> tuple(DenseEncoder(output_dim=8)(ops.ones((4, 256))).shape)
    (4, 8)
    """

    def __init__(
        self,
        output_dim: int,
        units: Sequence[int] = (512, 256),
        activation: Any = "gelu",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.output_dim = positive("output_dim", output_dim)
        self.units = sizes("units", units, "(512, 256)", or_empty=True)
        self.activation = keras.activations.get(activation)
        self.chain = [
            keras_layer("Flatten", dtype=self.dtype_policy),
            *(
                self._kernel_layer("Dense", n, activation=self.activation)
                for n in self.units
            ),
            self._kernel_layer("Dense", self.output_dim),
        ]

    def build(self, input_shape: Shape) -> None:
        build_chain(self.chain, tuple(input_shape))

    def call(self, inputs: Tensor) -> Tensor:
        return call_chain(self.chain, inputs)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return (input_shape[0], self.output_dim)

    def mirror(self, instance_shape: Sequence[int]) -> DenseDecoder:
        """Return the decoder with the same hidden layers in reverse order.

        Args:
            instance_shape: Shape of one instance.

        Returns:
            An unbuilt `DenseDecoder`.
        """
        return DenseDecoder(
            instance_shape,
            units=self.units[::-1],
            activation=self.activation,
            dtype=self.dtype_policy,
            **self._kernel_options(),
        )

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "output_dim": self.output_dim,
            "units": self.units,
            "activation": keras.activations.serialize(self.activation),
        }


@keras.saving.register_keras_serializable(package="symae_keras")
class Conv1DEncoder(ConvEncoder):
    """Encoder of spectra or signals: strided convolutions and one dense layer.

    Each convolution has "same" padding and is followed by normalisation and activation.
    The maps are flattened and projected linearly to the code. Any length is accepted.

    Args:
        output_dim: Size of the code. With `None` there is no dense layer: the flattened
            maps of the last convolution, without normalisation or activation, are the
            code.
        filters: Channels of each convolution. Defaults to `(32, 64, 128)`.
        kernel_size: Kernel size, an integer or one per convolution. Defaults to 5.
        normalization: `"layer"` (default), `"group"` or `None`.
        activation: Activation after each normalisation: a name, or a layer such as
            `keras.layers.LeakyReLU(0.1)`, which is copied for each position. Defaults
            to `"gelu"`.
        strides: Strides, an integer or one per convolution. Defaults to 2.
        **kwargs: `use_bias`, `kernel_initializer`, `bias_initializer`,
            `kernel_regularizer` and `bias_regularizer` of all inner layers, with the
            defaults of `keras.layers.Dense`; other arguments of `keras.Layer`.

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
        stack = filters, kernel_size, normalization, activation, strides
        super().__init__(output_dim, *stack, **kwargs)


@keras.saving.register_keras_serializable(package="symae_keras")
class Conv2DEncoder(ConvEncoder):
    """Encoder of images: strided convolutions and one dense layer.

    Each convolution has "same" padding and is followed by normalisation and activation.
    The maps are flattened and projected linearly to the code. Any size is accepted.

    Args:
        output_dim: Size of the code. With `None` there is no dense layer: the flattened
            maps of the last convolution, without normalisation or activation, are the
            code.
        filters: Channels of each convolution. Defaults to `(32, 64)`.
        kernel_size: Kernel size, an integer or one per convolution. Defaults to 3.
        normalization: `"layer"` (default), `"group"` or `None`.
        activation: Activation after each normalisation: a name, or a layer such as
            `keras.layers.LeakyReLU(0.1)`, which is copied for each position. Defaults
            to `"gelu"`.
        strides: Strides, an integer or one per convolution. Defaults to 2.
        **kwargs: `use_bias`, `kernel_initializer`, `bias_initializer`,
            `kernel_regularizer` and `bias_regularizer` of all inner layers, with the
            defaults of `keras.layers.Dense`; other arguments of `keras.Layer`.

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
        stack = filters, kernel_size, normalization, activation, strides
        super().__init__(output_dim, *stack, **kwargs)
