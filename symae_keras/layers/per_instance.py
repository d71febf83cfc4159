"""Wrapper that applies a layer to every instance of every group in a single call."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from symae_keras._utils.arrays import Shape, Tensor


@keras.saving.register_keras_serializable(package="symae_keras")
class PerInstance(keras.layers.Wrapper):
    """Wrapper that applies a layer to each instance, with groups folded into the batch.

    `(B, T, ...)` becomes `(B*T, ...)`, the layer is called once, and its output is
    unfolded to `(B, T, ...)`. The result equals `keras.layers.TimeDistributed`, which
    calls the layer once per instance. Folding is faster (`benchmarks/step_time.py`) and
    accepts any number of instances, known or unknown when the graph is built.

    Batch statistics are over all instances of all groups. Padded instances are
    computed like the others: mask them when groups are pooled.

    Args:
        layer: A `keras.Layer` or `keras.Model` that takes one instance.

    Call arguments:
        inputs: Tensor `(batch, instances, *instance_shape)`.

    Output shape:
        `(batch, instances, *output_shape_of_layer)`.

    Example:
    >>> import keras
    >>> layer = PerInstance(keras.layers.Dense(3))
    >>> tuple(layer(keras.ops.ones((2, 5, 64))).shape)
    (2, 5, 3)
    """

    def __init__(self, layer: keras.Layer, **kwargs: Any) -> None:
        super().__init__(layer, **kwargs)
        self.autocast = False  # the inner layer casts its inputs
        self.supports_masking = True

    def build(self, input_shape: Shape) -> None:
        if len(input_shape) < 3:
            raise ValueError(
                "`PerInstance` expects inputs of shape "
                "(batch, instances, *instance_shape), rank 3 or more. "
                f"Received: input_shape={tuple(input_shape)}"
            )
        if not self.layer.built:
            # A symbolic call also builds layers without a `build` method.
            self.layer(self._instance(input_shape))
        super().build(input_shape)

    def call(self, inputs: Tensor) -> Tensor:
        batch, instances, *shape = ops.shape(inputs)
        flat = ops.reshape(inputs, (-1, *shape))
        outputs = self.layer(flat)
        return ops.reshape(outputs, (batch, instances, *ops.shape(outputs)[1:]))

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        output = self.layer.compute_output_spec(self._instance(input_shape))
        return (*input_shape[:2], *output.shape[1:])

    def _instance(self, input_shape: Shape) -> keras.KerasTensor:
        return keras.KerasTensor((None, *input_shape[2:]), dtype=self.compute_dtype)
