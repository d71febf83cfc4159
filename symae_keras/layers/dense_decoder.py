"""Fully connected decoder of one instance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from symae_keras.layers.stack import activation_config, build_chain, call_chain
from symae_keras.typing import Shape, Tensor


@keras.saving.register_keras_serializable(package="symae_keras")
class DenseDecoder(keras.Layer):
    """Decodes a code to an instance of any shape with a stack of dense layers.

    The hidden layers are activated; the output is linear, in data units.

    Args:
        instance_shape: Shape of one instance.
        units: Sizes of the hidden layers. Defaults to `(256, 512)`.
        activation: Activation of the hidden layers. Defaults to `"gelu"`.

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
        self.instance_shape = tuple(instance_shape)
        self.units = tuple(units)
        self.activation = keras.activations.get(activation)
        dtype = self.dtype_policy
        self.chain = [
            *(
                keras.layers.Dense(n, activation=self.activation, dtype=dtype)
                for n in self.units
            ),
            keras.layers.Dense(int(np.prod(self.instance_shape)), dtype=dtype),
            keras.layers.Reshape(self.instance_shape, dtype=dtype),
        ]

    def build(self, input_shape: Shape) -> None:
        """Build the stack."""
        build_chain(self.chain, input_shape)

    def call(self, inputs: Tensor) -> Tensor:
        """Decode a batch of codes."""
        return call_chain(self.chain, inputs)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """`(batch, *instance_shape)`."""
        return (input_shape[0], *self.instance_shape)

    def get_config(self) -> dict[str, Any]:
        """Arguments that rebuild the layer."""
        return {
            **super().get_config(),
            "instance_shape": self.instance_shape,
            "units": self.units,
            "activation": activation_config(self.activation),
        }
