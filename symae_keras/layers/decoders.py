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
    """Decodes a code to an instance of any shape with a stack of dense layers.

    The hidden layers are activated; the output is linear, in data units.

    Args:
        instance_shape: Shape of one instance.
        units: Sizes of the hidden layers. Defaults to `(256, 512)`.
        activation: Activation of the hidden layers. Defaults to `"gelu"`.
        **kwargs: `use_bias`, `kernel_initializer`, `bias_initializer`,
            `kernel_regularizer` and `bias_regularizer` of all layers inside, with the
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
        **kwargs: `use_bias`, `kernel_initializer`, `bias_initializer`,
            `kernel_regularizer` and `bias_regularizer` of all layers inside, with the
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
        **kwargs: `use_bias`, `kernel_initializer`, `bias_initializer`,
            `kernel_regularizer` and `bias_regularizer` of all layers inside, with the
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
    """Decodes a code with the transposed kernel of the dense layer that made it.

    The output is `inputs @ transpose(dense.kernel) + bias`, with a bias of its own, in
    the shape of an instance. Models saved to `.keras` keep the sharing; a layer made by
    `from_config` has a dense layer of its own.

    Args:
        dense: The `keras.layers.Dense` on flattened instances whose kernel is shared.
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
