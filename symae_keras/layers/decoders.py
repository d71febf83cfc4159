"""Decoders."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from symae_keras._utils.arrays import Shape, Tensor
from symae_keras._utils.validation import invalid, sizes
from symae_keras.layers._stack import (
    ConvDecoder,
    PerConvolution,
    WithKernels,
    build_chain,
    call_chain,
)


@keras.saving.register_keras_serializable(package="symae_keras")
class DenseDecoder(WithKernels):
    """Decoder of instances of any shape: a stack of dense layers.

    The hidden layers have an activation. The output layer is linear, in data units.

    Args:
        instance_shape: Shape of one instance.
        units: Sizes of the hidden layers. Defaults to `(256, 512)`.
        activation: Activation of the hidden layers. Defaults to `"gelu"`.
        **kwargs: `use_bias`, `kernel_initializer`, `bias_initializer`,
            `kernel_regularizer` and `bias_regularizer` of all inner layers, with the
            defaults of `keras.layers.Dense`; other arguments of `keras.Layer`.

    Call arguments:
        inputs: Tensor `(batch, code)`.

    Output shape:
        `(batch, *instance_shape)`.

    Example:
    >>> from keras import ops
    >>> tuple(DenseDecoder((28, 28, 1))(ops.ones((4, 8))).shape)
    (4, 28, 28, 1)
    """

    def __init__(
        self,
        instance_shape: Sequence[int],
        units: Sequence[int] = (256, 512),
        activation: Any = "gelu",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.instance_shape = sizes("instance_shape", instance_shape, "(28, 28)")
        self.units = sizes("units", units, "(256, 512)", or_empty=True)
        self.activation = keras.activations.get(activation)
        self.chain = [
            *(
                self._kernel_layer("Dense", n, activation=self.activation)
                for n in self.units
            ),
            self._kernel_layer("Dense", math.prod(self.instance_shape)),
            keras.layers.Reshape(self.instance_shape, dtype=self.dtype_policy),
        ]

    def build(self, input_shape: Shape) -> None:
        build_chain(self.chain, input_shape)

    def call(self, inputs: Tensor) -> Tensor:
        return call_chain(self.chain, inputs)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return (input_shape[0], *self.instance_shape)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "instance_shape": self.instance_shape,
            "units": self.units,
            "activation": keras.activations.serialize(self.activation),
        }


@keras.saving.register_keras_serializable(package="symae_keras")
class Conv1DDecoder(ConvDecoder):
    """Decoder of spectra or signals: a dense layer, then upsampling convolutions.

    The dense layer makes the smallest map. Each step multiplies the length of the map
    by a stride and crops it to the length that the mirrored encoder had there, so that
    any length is exact. The last step is linear, in data units.

    Args:
        instance_shape: `(pixels,)` or `(pixels, channels)`.
        filters: Channels of the dense map and of each step except the last. The last
            step outputs the channels of the instance. Defaults to `(128, 64, 32)`.
        kernel_size: Kernel size, an integer or one per convolution. Defaults to 5.
        normalization: `"layer"` (default), `"group"` or `None`.
        activation: Activation after each normalisation: a name, or a layer such as
            `keras.layers.LeakyReLU(0.1)`, which is copied for each position. Defaults
            to `"gelu"`.
        strides: Upsampling factor of each convolution, an integer or one per
            convolution. Defaults to 2.
        upsampling: Upsampling method. `"transposed"` (default) is a transposed
            convolution. `"nearest"` repeats pixels, then convolves.
            `"bed_of_nails"` inserts zeros between the pixels, then convolves.
            `"subpixel"` convolves to `stride` times the channels, then moves these
            channels to pixels.
        dense: Whether there is a dense layer. Without it, the code itself is the
            smallest map, as an encoder with `output_dim=None` returns it. Defaults to
            True.
        **kwargs: `use_bias`, `kernel_initializer`, `bias_initializer`,
            `kernel_regularizer` and `bias_regularizer` of all inner layers, with the
            defaults of `keras.layers.Dense`; other arguments of `keras.Layer`.

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
        stack = filters, kernel_size, normalization, activation, strides
        super().__init__(instance_shape, upsampling, dense, *stack, **kwargs)


@keras.saving.register_keras_serializable(package="symae_keras")
class Conv2DDecoder(ConvDecoder):
    """Decoder of images: a dense layer, then upsampling convolutions.

    The dense layer makes the smallest map. Each step multiplies the size of the map by
    a stride and crops it to the size that the mirrored encoder had there, so that any
    height and width is exact. The last step is linear, in data units.

    Args:
        instance_shape: `(height, width)` or `(height, width, channels)`.
        filters: Channels of the dense map and of each step except the last. The last
            step outputs the channels of the instance. Defaults to `(64, 32)`.
        kernel_size: Kernel size, an integer or one per convolution. Defaults to 3.
        normalization: `"layer"` (default), `"group"` or `None`.
        activation: Activation after each normalisation: a name, or a layer such as
            `keras.layers.LeakyReLU(0.1)`, which is copied for each position. Defaults
            to `"gelu"`.
        strides: Upsampling factor of each convolution, an integer or one per
            convolution. Defaults to 2.
        upsampling: Upsampling method. `"transposed"` (default) is a transposed
            convolution. `"nearest"` repeats pixels, then convolves.
            `"bed_of_nails"` inserts zeros between the pixels, then convolves.
            `"subpixel"` convolves to `stride**2` times the channels, then moves these
            channels to pixels.
        dense: Whether there is a dense layer. Without it, the code itself is the
            smallest map, as an encoder with `output_dim=None` returns it. Defaults to
            True.
        **kwargs: `use_bias`, `kernel_initializer`, `bias_initializer`,
            `kernel_regularizer` and `bias_regularizer` of all inner layers, with the
            defaults of `keras.layers.Dense`; other arguments of `keras.Layer`.

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
        stack = filters, kernel_size, normalization, activation, strides
        super().__init__(instance_shape, upsampling, dense, *stack, **kwargs)


@keras.saving.register_keras_serializable(package="symae_keras")
class TiedDense(keras.Layer):
    """Decoder with the transposed kernel of the dense layer that encodes.

    The output is `inputs @ transpose(dense.kernel) + bias` in the shape of an instance.
    The bias is a separate weight. Models saved to `.keras` keep the shared kernel; a
    layer made by `from_config` has a separate dense layer.

    Args:
        dense: `keras.layers.Dense` on flattened instances; its kernel is shared.
        instance_shape: Shape of one instance.
        use_bias: Whether the layer has a bias. Defaults to True.
        bias_initializer: Initializer of the bias. Defaults to `"zeros"`.
        bias_regularizer: Regularizer of the bias, or `None` (default).

    Call arguments:
        inputs: Tensor `(batch, dense.units)`.

    Output shape:
        `(batch, *instance_shape)`.

    Reference:
        - [Vincent et al., Stacked denoising autoencoders,
          2010](https://jmlr.org/papers/v11/vincent10a.html), "tied weights"

    Example:
    >>> import keras
    >>> dense = keras.layers.Dense(8, activation="sigmoid")
    >>> decoder = TiedDense(dense, instance_shape=(64,))
    >>> tuple(decoder(dense(keras.ops.ones((4, 64)))).shape)
    (4, 64)
    """

    def __init__(
        self,
        dense: keras.layers.Dense,
        instance_shape: Sequence[int],
        use_bias: bool = True,
        bias_initializer: Any = "zeros",
        bias_regularizer: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if not isinstance(dense, keras.layers.Dense):
            raise invalid("dense", "a keras.layers.Dense", repr(dense))
        self.dense = dense
        self.instance_shape = sizes("instance_shape", instance_shape, "(28, 28)")
        self.use_bias = bool(use_bias)
        self.bias_initializer = keras.initializers.get(bias_initializer)
        self.bias_regularizer = keras.regularizers.get(bias_regularizer)

    def build(self, input_shape: Shape) -> None:
        size = math.prod(self.instance_shape)
        if not self.dense.built:
            self.dense.build((None, size))
        if (input_shape[-1], size) != (self.dense.units, self.dense.kernel.shape[0]):
            raise ValueError(
                "`TiedDense` expects the codes of a dense layer on flattened instances "
                f"of {size} numbers. Received: codes of shape {tuple(input_shape)} and "
                f"a kernel of shape {tuple(self.dense.kernel.shape)}"
            )
        self.bias = None
        if self.use_bias:
            self.bias = self.add_weight(
                name="bias",
                shape=(size,),
                initializer=self.bias_initializer,
                regularizer=self.bias_regularizer,
            )

    def call(self, inputs: Tensor) -> Tensor:
        outputs = ops.matmul(inputs, ops.transpose(self.dense.kernel))
        if self.bias is not None:
            outputs = outputs + self.bias
        return ops.reshape(outputs, (-1, *self.instance_shape))

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return (input_shape[0], *self.instance_shape)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "dense": keras.saving.serialize_keras_object(self.dense),
            "instance_shape": self.instance_shape,
            "use_bias": self.use_bias,
            "bias_initializer": keras.initializers.serialize(self.bias_initializer),
            "bias_regularizer": keras.regularizers.serialize(self.bias_regularizer),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> TiedDense:
        dense = keras.saving.deserialize_keras_object(config["dense"])
        return cls(**{**config, "dense": dense})
