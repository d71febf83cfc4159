"""Strided convolutional encoder and its mirrored decoder, in one or two dimensions.

`Conv1DEncoder`, `Conv2DEncoder` and their decoders differ in the rank only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import keras
import numpy as np
from keras import ops

from symae_keras.layers.stack import (
    activation_config,
    build_chain,
    call_chain,
    halved,
    normalization_layer,
)
from symae_keras.typing import Shape, Tensor


class _ConvStack(keras.Layer):
    """The arguments that encoder and decoder have in common."""

    rank: ClassVar[int]

    def __init__(
        self,
        filters: Sequence[int],
        kernel_size: int,
        normalization: str | None,
        activation: Any,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.filters = tuple(filters)
        if not self.filters:
            raise ValueError(
                "Invalid value received for argument `filters`. Expected one size per "
                "convolution, at least one. Received: filters=()"
            )
        self.kernel_size = kernel_size
        self.normalization = normalization
        self.activation = keras.activations.get(activation)

    def _step(self, layer: str, filters: int) -> list[keras.Layer]:
        """A convolution of stride 2, normalised and activated."""
        dtype = self.dtype_policy
        conv = getattr(keras.layers, layer.format(self.rank))
        return [
            conv(filters, self.kernel_size, strides=2, padding="same", dtype=dtype),
            normalization_layer(self.normalization, filters, dtype),
            keras.layers.Activation(self.activation, dtype=dtype),
        ]

    def get_config(self) -> dict[str, Any]:
        """Arguments that rebuild the layer."""
        return {
            **super().get_config(),
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "normalization": self.normalization,
            "activation": activation_config(self.activation),
        }


class ConvEncoder(_ConvStack):
    """Encoder of any rank: convolutions of stride 2, then one linear dense layer."""

    decoder: ClassVar[type[ConvDecoder]]

    def __init__(
        self,
        output_dim: int,
        filters: Sequence[int],
        kernel_size: int,
        normalization: str | None,
        activation: Any,
        **kwargs: Any,
    ) -> None:
        super().__init__(filters, kernel_size, normalization, activation, **kwargs)
        self.output_dim = output_dim
        self.chain = [layer for n in self.filters for layer in self._step("Conv{}D", n)]
        self.flatten = keras.layers.Flatten(dtype=self.dtype_policy)
        self.head = keras.layers.Dense(output_dim, dtype=self.dtype_policy)

    def _with_channels(self, shape: Shape) -> Shape:
        if len(shape) not in (self.rank + 1, self.rank + 2):
            raise ValueError(
                f"`{type(self).__name__}` expects instances with {self.rank} axes, or "
                f"{self.rank + 1} with channels last. "
                f"Received: instance_shape={tuple(shape[1:])}"
            )
        return shape if len(shape) == self.rank + 2 else (*shape, 1)

    def build(self, input_shape: Shape) -> None:
        """Build the convolutions and the dense layer on their flattened output."""
        shape = build_chain(self.chain, self._with_channels(tuple(input_shape)))
        build_chain([self.flatten, self.head], shape)

    def call(self, inputs: Tensor) -> Tensor:
        """Encode a batch of instances."""
        if len(inputs.shape) == self.rank + 1:
            inputs = ops.expand_dims(inputs, -1)
        return self.head(self.flatten(call_chain(self.chain, inputs)))

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """`(batch, output_dim)`."""
        return (input_shape[0], self.output_dim)

    def mirror(self, instance_shape: Sequence[int]) -> ConvDecoder:
        """The decoder with the same convolutions in reverse order.

        Args:
            instance_shape: Shape of one instance.

        Returns:
            An unbuilt decoder of the same rank.
        """
        return self.decoder(
            instance_shape,
            filters=self.filters[::-1],
            kernel_size=self.kernel_size,
            normalization=self.normalization,
            activation=self.activation,
            dtype=self.dtype_policy,
        )

    def get_config(self) -> dict[str, Any]:
        """Arguments that rebuild the layer."""
        return {**super().get_config(), "output_dim": self.output_dim}


class ConvDecoder(_ConvStack):
    """Decoder of any rank: a dense layer, then transposed convolutions of stride 2.

    A transposed convolution of stride 2 doubles a length; the result is cropped to the
    length that the mirrored encoder had there, so that every length comes out exact.
    """

    def __init__(
        self,
        instance_shape: Sequence[int],
        filters: Sequence[int],
        kernel_size: int,
        normalization: str | None,
        activation: Any,
        **kwargs: Any,
    ) -> None:
        super().__init__(filters, kernel_size, normalization, activation, **kwargs)
        self.instance_shape = tuple(instance_shape)
        if len(self.instance_shape) not in (self.rank, self.rank + 1):
            raise ValueError(
                f"`{type(self).__name__}` gives instances with {self.rank} axes, or "
                f"{self.rank + 1} with channels last. "
                f"Received: instance_shape={self.instance_shape}"
            )
        dtype = self.dtype_policy
        lengths = [
            halved(n, len(self.filters)) for n in self.instance_shape[: self.rank]
        ]
        # From the smallest map to the instance: sizes[0] is what the dense layer gives.
        self._sizes = list(zip(*lengths, strict=True))[::-1]
        smallest = (*self._sizes[0], self.filters[0])
        self.stem = [
            keras.layers.Dense(int(np.prod(smallest)), dtype=dtype),
            keras.layers.Reshape(smallest, dtype=dtype),
            keras.layers.Activation(self.activation, dtype=dtype),
        ]
        self.steps = [self._step("Conv{}DTranspose", n) for n in self.filters[1:]]
        channels = self.instance_shape[self.rank :] or (1,)
        conv = getattr(keras.layers, f"Conv{self.rank}DTranspose")
        head = conv(
            channels[0], self.kernel_size, strides=2, padding="same", dtype=dtype
        )
        self.steps.append([head])

    def build(self, input_shape: Shape) -> None:
        """Build the stack, each step on the cropped output of the one before."""
        shape = build_chain(self.stem, tuple(input_shape))
        for step, size in zip(self.steps, self._sizes[1:], strict=True):
            shape = build_chain(step, shape)
            shape = (shape[0], *size, shape[-1])

    def call(self, inputs: Tensor) -> Tensor:
        """Decode a batch of codes."""
        x = call_chain(self.stem, inputs)
        for step, size in zip(self.steps, self._sizes[1:], strict=True):
            x = call_chain(step, x)
            x = x[(slice(None), *(slice(0, n) for n in size))]
        if len(self.instance_shape) == self.rank:
            x = ops.squeeze(x, -1)
        return x

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """`(batch, *instance_shape)`."""
        return (input_shape[0], *self.instance_shape)

    def get_config(self) -> dict[str, Any]:
        """Arguments that rebuild the layer."""
        return {**super().get_config(), "instance_shape": self.instance_shape}
