"""Fully connected encoder of one instance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from symae_keras.layers.dense_decoder import DenseDecoder
from symae_keras.layers.stack import (
    activation_config,
    build_chain,
    call_chain,
    keras_layer,
)
from symae_keras.typing import Shape, Tensor


@keras.saving.register_keras_serializable(package="symae_keras")
class DenseEncoder(keras.Layer):
    """Encodes an instance of any shape with a stack of dense layers.

    The instance is flattened; the hidden layers are activated, the last one is linear.

    Args:
        output_dim: Size of the code.
        units: Sizes of the hidden layers. Defaults to `(512, 256)`.
        activation: Activation of the hidden layers. Defaults to `"gelu"`.

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
        self.output_dim = output_dim
        self.units = tuple(units)
        self.activation = keras.activations.get(activation)
        dtype = self.dtype_policy
        self.chain = [
            keras_layer("Flatten", dtype=dtype),
            *(
                keras.layers.Dense(n, activation=self.activation, dtype=dtype)
                for n in self.units
            ),
            keras.layers.Dense(output_dim, dtype=dtype),
        ]

    def build(self, input_shape: Shape) -> None:
        """Build the stack on a flattened instance."""
        build_chain(self.chain, tuple(input_shape))

    def call(self, inputs: Tensor) -> Tensor:
        """Encode a batch of instances."""
        return call_chain(self.chain, inputs)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """`(batch, output_dim)`."""
        return (input_shape[0], self.output_dim)

    def mirror(self, instance_shape: Sequence[int]) -> DenseDecoder:
        """The decoder with the same hidden layers in reverse order.

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
        )

    def get_config(self) -> dict[str, Any]:
        """Arguments that rebuild the layer."""
        return {
            **super().get_config(),
            "output_dim": self.output_dim,
            "units": self.units,
            "activation": activation_config(self.activation),
        }
