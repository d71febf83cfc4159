"""Pooling over the instances of a group by attention with learned queries."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from symae_keras.arguments import positive
from symae_keras.typing import Shape, Tensor

_LOWEST = -1e30


@keras.saving.register_keras_serializable(package="symae_keras")
class AttentionPooling(keras.Layer):
    """Pools a group with multi-head attention whose queries are learned seeds.

    Each of `num_seeds` learned queries attends over the instances with `num_heads`
    heads: `softmax_t(seed . key_t / sqrt(d)) value_t`. The heads of all seeds are
    joined and projected to `output_dim`. The result does not depend on the order of
    the instances, and masked instances get no weight. A group whose instances are all
    masked gives the bias of the projection. The softmax is taken in float32.

    Args:
        num_heads: Number of heads. Defaults to 4.
        num_seeds: Number of learned queries. Defaults to 1.
        key_dim: Size of each head. Defaults to 16.
        output_dim: Size of the output. Defaults to the size of the features.

    Call arguments:
        inputs: Tensor `(batch, instances, features)`.
        mask: Boolean tensor `(batch, instances)`, True = present, or `None`.

    Output shape:
        `(batch, output_dim)`.

    Reference:
        - [Lee et al., Set Transformer, 2019](https://arxiv.org/abs/1810.00825),
          pooling by multi-head attention

    Example:
    >>> from keras import ops
    >>> tuple(AttentionPooling(num_heads=2)(ops.ones((3, 7, 32))).shape)
    (3, 32)
    """

    def __init__(
        self,
        num_heads: int = 4,
        num_seeds: int = 1,
        key_dim: int = 16,
        output_dim: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.num_heads = positive("num_heads", num_heads)
        self.num_seeds = positive("num_seeds", num_seeds)
        self.key_dim = positive("key_dim", key_dim)
        self.output_dim = output_dim

    def build(self, input_shape: Shape) -> None:
        """Create the seeds and the three projections."""
        features = input_shape[-1]
        joined = self.num_heads * self.key_dim
        # `output_dim` keeps what the user asked for: the config must not change.
        units = self.output_dim or features
        dtype = self.dtype_policy
        self.seeds = self.add_weight(
            name="seeds",
            shape=(self.num_seeds, self.num_heads, self.key_dim),
            initializer="glorot_uniform",
        )
        self.key_projection = keras.layers.Dense(joined, dtype=dtype, name="key")
        self.value_projection = keras.layers.Dense(joined, dtype=dtype, name="value")
        self.output_projection = keras.layers.Dense(units, dtype=dtype, name="output")
        self.key_projection.build((None, None, features))
        self.value_projection.build((None, None, features))
        self.output_projection.build((None, self.num_seeds * joined))

    def call(self, inputs: Tensor, mask: Tensor | None = None) -> Tensor:
        """Pool over axis 1."""
        batch, instances = ops.shape(inputs)[:2]
        heads = (batch, instances, self.num_heads, self.key_dim)
        if mask is not None:
            # Padding may hold NaN, which no weight of 0 would stop.
            mask = ops.cast(mask, "bool")
            inputs = ops.where(ops.expand_dims(mask, -1), inputs, 0.0)
        keys = ops.reshape(self.key_projection(inputs), heads)
        values = ops.reshape(self.value_projection(inputs), heads)
        scores = ops.einsum("shd,bthd->bsht", self.seeds, keys)
        scores = ops.cast(scores, "float32") / self.key_dim**0.5
        if mask is not None:
            present = ops.expand_dims(mask, (1, 2))
            scores = ops.where(present, scores, _LOWEST)
        # By hand: `ops.softmax` warns where a group has one instance.
        weights = ops.exp(scores - ops.max(scores, axis=-1, keepdims=True))
        weights = weights / ops.sum(weights, axis=-1, keepdims=True)
        if mask is not None:
            # Nothing present: the softmax above is uniform over padding.
            weights = ops.where(present, weights, 0.0)
        weights = ops.cast(weights, self.compute_dtype)
        pooled = ops.einsum("bsht,bthd->bshd", weights, values)
        joined = self.num_seeds * self.num_heads * self.key_dim
        return self.output_projection(ops.reshape(pooled, (batch, joined)))

    def compute_mask(self, inputs: Tensor, previous_mask: Tensor | None) -> None:
        """The instance axis is gone, and its mask with it."""
        return None

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """`(batch, output_dim)`."""
        return (input_shape[0], self.output_dim or input_shape[-1])

    def get_config(self) -> dict[str, Any]:
        """Arguments that rebuild the layer."""
        return {
            **super().get_config(),
            "num_heads": self.num_heads,
            "num_seeds": self.num_seeds,
            "key_dim": self.key_dim,
            "output_dim": self.output_dim,
        }
