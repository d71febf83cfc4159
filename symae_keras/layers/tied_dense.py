"""Decoder that shares the kernel of a dense encoder."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from symae_keras.typing import Shape, Tensor


@keras.saving.register_keras_serializable(package="symae_keras")
class TiedDense(keras.Layer):
    """Decodes a code with the transposed kernel of the dense layer that made it.

    The output is `inputs @ transpose(dense.kernel) + bias`, with a bias of its own, in
    the shape of an instance. Models saved to `.keras` keep the sharing; a layer made by
    `from_config` has a dense layer of its own.

    Args:
        dense: The `keras.layers.Dense` on flattened instances whose kernel is shared.
        instance_shape: Shape of one instance.

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
        self, dense: keras.layers.Dense, instance_shape: Sequence[int], **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        if not isinstance(dense, keras.layers.Dense):
            raise ValueError(
                "Invalid value received for argument `dense`. "
                f"Expected a keras.layers.Dense. Received: dense={dense!r}"
            )
        self.dense = dense
        self.instance_shape = tuple(int(n) for n in instance_shape)

    def build(self, input_shape: Shape) -> None:
        """Make the bias, and the kernel unless its owner was built before."""
        size = math.prod(self.instance_shape)
        if not self.dense.built:
            self.dense.build((None, size))
        if (input_shape[-1], size) != (self.dense.units, self.dense.kernel.shape[0]):
            raise ValueError(
                "`TiedDense` expects the codes of a dense layer on flattened instances "
                f"of {size} numbers. Received: codes of shape {tuple(input_shape)} and "
                f"a kernel of shape {tuple(self.dense.kernel.shape)}"
            )
        self.bias = self.add_weight(name="bias", shape=(size,), initializer="zeros")

    def call(self, inputs: Tensor) -> Tensor:
        """Decode a batch of codes."""
        outputs = ops.matmul(inputs, ops.transpose(self.dense.kernel)) + self.bias
        return ops.reshape(outputs, (-1, *self.instance_shape))

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """`(batch, *instance_shape)`."""
        return (input_shape[0], *self.instance_shape)

    def get_config(self) -> dict[str, Any]:
        """Arguments that rebuild the layer."""
        return {
            **super().get_config(),
            "dense": keras.saving.serialize_keras_object(self.dense),
            "instance_shape": self.instance_shape,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> TiedDense:
        """Rebuild the layer from `get_config`."""
        dense = keras.saving.deserialize_keras_object(config["dense"])
        return cls(**{**config, "dense": dense})
