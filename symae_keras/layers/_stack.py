"""Chains of layers, and the convolution stacks of encoders and decoders."""

from __future__ import annotations

import inspect
import random
from collections.abc import Sequence
from typing import Any, ClassVar

import keras
import numpy as np
from keras import ops

from symae_keras._utils.arrays import Shape, Tensor
from symae_keras._utils.validation import choice, one_each, positive_or_none, sizes
from symae_keras.layers.upsampling import BedOfNails, SubPixel


def keras_layer(
    name: str, /, *arguments: Any, rank: int = 1, dtype: Any = None, **options: Any
) -> keras.Layer:
    """Make a Keras layer with channels last, even if the global setting is different.

    The name has braces for the rank, which is the number of pixel axes: `"Conv{}D"`.
    """
    cls = getattr(keras.layers, name.format(rank))
    if "data_format" in inspect.signature(cls).parameters:
        options["data_format"] = "channels_last"
    return cls(*arguments, dtype=dtype, **options)


def build_chain(chain: Sequence[keras.Layer], shape: Shape) -> Shape:
    """Build each layer on the output of the previous one; return the last shape."""
    for layer in chain:
        if not layer.built:
            layer.build(shape)
        shape = layer.compute_output_shape(shape)
    return shape


def call_chain(chain: Sequence[keras.Layer], inputs: Tensor) -> Tensor:
    """Call each layer on the output of the previous one."""
    for layer in chain:
        inputs = layer(inputs)
    return inputs


def activation_layer(activation: Any, dtype: Any) -> keras.Layer:
    """Make an activation layer, or copy it if it is a layer, which may have weights."""
    if not isinstance(activation, keras.Layer):
        return keras.layers.Activation(activation, dtype=dtype)
    config = activation.get_config()
    del config["name"]
    return type(activation).from_config({**config, "dtype": dtype})


def normalization_layer(kind: str | None, filters: int, dtype: Any) -> keras.Layer:
    """Make the normalisation after a convolution; never over the batch.

    `"layer"` normalises over the channels of each pixel. `"group"` normalises over all
    pixels of each instance, with eight channels per group.
    """
    kind = choice("normalization", kind, ("layer", "group", None))
    if kind is None:
        return keras.layers.Identity(dtype=dtype)
    if kind == "layer":
        return keras.layers.LayerNormalization(dtype=dtype)
    groups = filters // 8 if filters % 8 == 0 else 1
    return keras.layers.GroupNormalization(groups, dtype=dtype)


def strided(size: int, strides: Sequence[int]) -> list[int]:
    """Return the lengths of an axis before and after each "same" padded convolution.

    >>> strided(13, (2, 1, 3))
    [13, 7, 7, 3]
    """
    sizes = [size]
    for stride in strides:
        sizes.append(-(-sizes[-1] // stride))
    return sizes


def halved(size: int, times: int) -> list[int]:
    """Return the lengths of an axis before and after each stride-2 convolution."""
    return strided(size, (2,) * times)


#: One number for all convolutions, or one per convolution.
PerConvolution = int | Sequence[int]

_EACH = "per convolution"
_UPSAMPLINGS = ("transposed", "nearest", "bed_of_nails", "subpixel")


def copied(initializer: Any) -> Any:
    """Return an equal initializer, so that two weights do not get the same draw."""
    if isinstance(initializer, keras.initializers.Initializer):
        return initializer.clone()
    return initializer


class WithKernels(keras.Layer):
    """Base class of layers that are made of dense layers and convolutions."""

    def __init__(
        self,
        *,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.use_bias = bool(use_bias)
        # Each initializer draws its seed from Python's generator. These layers serve
        # only as patterns and must not change the seeds of the others.
        state = random.getstate()
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.bias_initializer = keras.initializers.get(bias_initializer)
        random.setstate(state)
        self.kernel_regularizer = keras.regularizers.get(kernel_regularizer)
        self.bias_regularizer = keras.regularizers.get(bias_regularizer)

    def _kernel_layer(
        self, name: str, /, *arguments: Any, **options: Any
    ) -> keras.Layer:
        """Make a Keras layer that has a kernel; see `keras_layer`."""
        options |= self._kernel_options()
        for each in ("kernel_initializer", "bias_initializer"):
            options[each] = copied(options[each])
        return keras_layer(name, *arguments, dtype=self.dtype_policy, **options)

    def _kernel_options(self) -> dict[str, Any]:
        """Return the arguments of this class, in the form that a mirror accepts."""
        return {
            "use_bias": self.use_bias,
            "kernel_initializer": self.kernel_initializer,
            "bias_initializer": self.bias_initializer,
            "kernel_regularizer": self.kernel_regularizer,
            "bias_regularizer": self.bias_regularizer,
        }

    def get_config(self) -> dict[str, Any]:
        initializer = keras.initializers.serialize
        regularizer = keras.regularizers.serialize
        return {
            **super().get_config(),
            "use_bias": self.use_bias,
            "kernel_initializer": initializer(self.kernel_initializer),
            "bias_initializer": initializer(self.bias_initializer),
            "kernel_regularizer": regularizer(self.kernel_regularizer),
            "bias_regularizer": regularizer(self.bias_regularizer),
        }


class _ConvStack(WithKernels):
    """Base class of encoders and decoders: their arguments and convolutions."""

    rank: ClassVar[int]

    def __init__(
        self,
        filters: Sequence[int],
        kernel_size: PerConvolution,
        normalization: str | None,
        activation: Any,
        strides: PerConvolution,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.filters = sizes("filters", filters, "(32, 64, 128)")
        count = len(self.filters)
        self._kernels = one_each("kernel_size", kernel_size, count, _EACH)
        self._strides = one_each("strides", strides, count, _EACH)
        self.kernel_size = _as_given(kernel_size)
        self.strides = _as_given(strides)
        self.normalization = normalization
        self.activation = keras.activations.get(activation)

    def _layer(self, name: str, *arguments: Any) -> keras.Layer:
        """Make a Keras layer without a kernel."""
        return keras_layer(name, *arguments, rank=self.rank, dtype=self.dtype_policy)

    def _convolution(self, name: str, *arguments: Any, **options: Any) -> keras.Layer:
        """Make a Keras convolution; its name has braces for the rank."""
        options = {"padding": "same", "rank": self.rank, **options}
        return self._kernel_layer(name, *arguments, **options)

    def _after(self, filters: int) -> list[keras.Layer]:
        """Return the layers after a convolution that is not the last one."""
        return [
            normalization_layer(self.normalization, filters, self.dtype_policy),
            activation_layer(self.activation, self.dtype_policy),
        ]

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "normalization": self.normalization,
            "activation": keras.activations.serialize(self.activation),
            "strides": self.strides,
        }


class ConvEncoder(_ConvStack):
    """Encoder of any rank: strided convolutions, then a linear dense layer."""

    decoder: ClassVar[type[ConvDecoder]]

    def __init__(self, output_dim: int | None, *stack: Any, **kwargs: Any) -> None:
        super().__init__(*stack, **kwargs)
        self.output_dim = positive_or_none("output_dim", output_dim)
        chain: list[keras.Layer] = []
        for arguments in zip(self.filters, self._kernels, self._strides, strict=True):
            chain.append(self._convolution("Conv{}D", *arguments))
            chain += self._after(arguments[0])
        if output_dim is None:
            # The output of the last convolution is the code, so it is linear.
            del chain[-2:]
        self.chain = chain
        self.flatten = self._layer("Flatten")
        self.head = (
            self._layer("Identity")
            if self.output_dim is None
            else self._kernel_layer("Dense", self.output_dim)
        )

    def _with_channels(self, shape: Shape) -> Shape:
        if len(shape) not in (self.rank + 1, self.rank + 2):
            raise ValueError(
                f"`{type(self).__name__}` expects instances with {self.rank} axes, or "
                f"{self.rank + 1} with channels last. "
                f"Received: instance_shape={tuple(shape[1:])}"
            )
        return shape if len(shape) == self.rank + 2 else (*shape, 1)

    def build(self, input_shape: Shape) -> None:
        shape = build_chain(self.chain, self._with_channels(tuple(input_shape)))
        build_chain([self.flatten, self.head], shape)

    def call(self, inputs: Tensor) -> Tensor:
        if len(inputs.shape) == self.rank + 1:
            inputs = ops.expand_dims(inputs, -1)
        return self.head(self.flatten(call_chain(self.chain, inputs)))

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        if self.output_dim is not None:
            return (input_shape[0], self.output_dim)
        sizes = self._with_channels(tuple(input_shape))[1:-1]
        if None in sizes:
            return (input_shape[0], None)
        smallest = [strided(int(n or 0), self._strides)[-1] for n in sizes]
        return (input_shape[0], int(np.prod(smallest)) * self.filters[-1])

    def mirror(
        self, instance_shape: Sequence[int], upsampling: str = "transposed"
    ) -> ConvDecoder:
        """Return the decoder with the same convolutions in reverse order.

        Args:
            instance_shape: Shape of one instance.
            upsampling: Upsampling method of the decoder; see its class. Defaults to
                `"transposed"`.

        Returns:
            An unbuilt decoder of the same rank.
        """
        return self.decoder(
            instance_shape,
            filters=self.filters[::-1],
            kernel_size=_reversed(self.kernel_size),
            normalization=self.normalization,
            activation=self.activation,
            strides=_reversed(self.strides),
            upsampling=upsampling,
            dense=self.output_dim is not None,
            dtype=self.dtype_policy,
            **self._kernel_options(),
        )

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "output_dim": self.output_dim}


class ConvDecoder(_ConvStack):
    """Decoder of any rank: a dense layer, then convolutions that enlarge the maps.

    Each convolution multiplies the length by its stride. The result is cropped to the
    length that the mirrored encoder had there, so that every length is exact.
    """

    def __init__(
        self,
        instance_shape: Sequence[int],
        upsampling: str,
        dense: bool,
        *stack: Any,
        **kwargs: Any,
    ) -> None:
        super().__init__(*stack, **kwargs)
        self.upsampling = choice("upsampling", upsampling, _UPSAMPLINGS)
        self.dense = dense
        self.instance_shape = sizes("instance_shape", instance_shape, "(28, 28)")
        if len(self.instance_shape) not in (self.rank, self.rank + 1):
            raise ValueError(
                f"`{type(self).__name__}` returns instances with {self.rank} axes, or "
                f"{self.rank + 1} with channels last. "
                f"Received: instance_shape={self.instance_shape}"
            )
        lengths = [
            strided(n, self._strides[::-1]) for n in self.instance_shape[: self.rank]
        ]
        # From the smallest map to the instance; sizes[0] is the dense layer's output.
        self._sizes = list(zip(*lengths, strict=True))[::-1]
        smallest = (*self._sizes[0], self.filters[0])
        stem = [self._layer("Reshape", smallest)]
        if dense:
            stem.insert(0, self._kernel_layer("Dense", int(np.prod(smallest))))
            stem.append(activation_layer(self.activation, self.dtype_policy))
        channels = self.instance_shape[self.rank :] or (1,)
        each = zip(
            (*self.filters[1:], channels[0]), self._kernels, self._strides, strict=True
        )
        steps = [[*self._larger(*one), *self._after(one[0])] for one in each]
        del steps[-1][-2:]
        self.stem, self.steps = stem, steps

    def _larger(self, filters: int, kernel: int, stride: int) -> list[keras.Layer]:
        """Make layers that multiply every pixel axis by the stride."""
        if self.upsampling == "transposed":
            return [self._convolution("Conv{}DTranspose", filters, kernel, stride)]
        if self.upsampling == "subpixel":
            filters *= stride**self.rank
            larger = SubPixel(stride, dtype=self.dtype_policy)
            return [self._convolution("Conv{}D", filters, kernel), larger]
        if self.upsampling == "nearest":
            larger = self._layer("UpSampling{}D", stride)
        else:
            larger = BedOfNails(stride, dtype=self.dtype_policy)
        return [larger, self._convolution("Conv{}D", filters, kernel)]

    def build(self, input_shape: Shape) -> None:
        shape = build_chain(self.stem, tuple(input_shape))
        for step, size in zip(self.steps, self._sizes[1:], strict=True):
            shape = build_chain(step, shape)
            shape = (shape[0], *size, shape[-1])

    def call(self, inputs: Tensor) -> Tensor:
        x = call_chain(self.stem, inputs)
        for step, size in zip(self.steps, self._sizes[1:], strict=True):
            x = call_chain(step, x)
            x = x[(slice(None), *(slice(0, n) for n in size))]
        if len(self.instance_shape) == self.rank:
            x = ops.squeeze(x, -1)
        return x

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return (input_shape[0], *self.instance_shape)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "instance_shape": self.instance_shape,
            "upsampling": self.upsampling,
            "dense": self.dense,
        }


def _as_given(value: PerConvolution) -> int | tuple[int, ...]:
    """Return the value as an attribute: a tuple, or one number for all."""
    return tuple(value) if isinstance(value, Sequence) else value


def _reversed(value: PerConvolution) -> PerConvolution:
    return value[::-1] if isinstance(value, Sequence) else value
