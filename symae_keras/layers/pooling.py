"""Pooling over the instances of groups."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from symae_keras._utils.arrays import Shape, Tensor
from symae_keras._utils.moved import renamed
from symae_keras._utils.validation import choice, positive, positive_or_none
from symae_keras.layers._stack import WithKernels, copied
from symae_keras.layers.penalties import first

_LOWEST = -1e30


class _Pooling(keras.Layer):
    """Base class of layers that remove the instance axis and its mask."""

    def compute_mask(self, inputs: Any, previous_mask: Any) -> None:
        return None


@keras.saving.register_keras_serializable(package="symae_keras")
class AttentionPooling(WithKernels, _Pooling):
    """Multi-head attention pooling of groups, with learned seeds as queries.

    Each of `num_seeds` learned queries attends over the instances with `num_heads`
    heads: `softmax_t(seed . key_t / sqrt(d)) value_t`. The heads of all seeds are
    joined and projected to `output_dim`. The result does not depend on the order of
    the instances, and masked instances get zero weight. For a group whose instances are
    all masked, the output is the bias of the projection. The softmax is computed in
    float32.

    Args:
        num_heads: Number of heads. Defaults to 4.
        num_seeds: Number of learned queries. Defaults to 1.
        key_dim: Size of each head. Defaults to 16.
        output_dim: Size of the output. Defaults to the size of the features.
        **kwargs: `use_bias`, `kernel_initializer`, `bias_initializer`,
            `kernel_regularizer` and `bias_regularizer` of the three projections, with
            the defaults of `keras.layers.Dense`; other arguments of `keras.Layer`. The
            same options apply to the seeds.

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
        self.output_dim = positive_or_none("output_dim", output_dim)

    def build(self, input_shape: Shape) -> None:
        features = input_shape[-1]
        joined = self.num_heads * self.key_dim
        # `output_dim` stays as the user set it, because the config must not change.
        units = self.output_dim or features
        self.seeds = self.add_weight(
            name="seeds",
            shape=(self.num_seeds, self.num_heads, self.key_dim),
            initializer=copied(self.kernel_initializer),
            regularizer=self.kernel_regularizer,
        )
        self.key_projection = self._kernel_layer("Dense", joined, name="key")
        self.value_projection = self._kernel_layer("Dense", joined, name="value")
        self.output_projection = self._kernel_layer("Dense", units, name="output")
        self.key_projection.build((None, None, features))
        self.value_projection.build((None, None, features))
        self.output_projection.build((None, self.num_seeds * joined))

    def call(self, inputs: Tensor, mask: Tensor | None = None) -> Tensor:
        batch, instances = ops.shape(inputs)[:2]
        heads = (batch, instances, self.num_heads, self.key_dim)
        if mask is not None:
            # Padding may contain NaN, which a weight of 0 does not remove.
            mask = ops.cast(mask, "bool")
            inputs = ops.where(ops.expand_dims(mask, -1), inputs, 0.0)
        keys = ops.reshape(self.key_projection(inputs), heads)
        values = ops.reshape(self.value_projection(inputs), heads)
        scores = ops.einsum("shd,bthd->bsht", self.seeds, keys)
        scores = ops.cast(scores, "float32") / self.key_dim**0.5
        if mask is not None:
            present = ops.expand_dims(mask, (1, 2))
            scores = ops.where(present, scores, _LOWEST)
        # Written out, because `ops.softmax` warns if a group has one instance.
        weights = ops.exp(scores - ops.max(scores, axis=-1, keepdims=True))
        weights = weights / ops.sum(weights, axis=-1, keepdims=True)
        if mask is not None:
            # No instance is present: the softmax above is uniform over padding.
            weights = ops.where(present, weights, 0.0)
        weights = ops.cast(weights, self.compute_dtype)
        pooled = ops.einsum("bsht,bthd->bshd", weights, values)
        joined = self.num_seeds * self.num_heads * self.key_dim
        return self.output_projection(ops.reshape(pooled, (batch, joined)))

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return (input_shape[0], self.output_dim or input_shape[-1])

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "num_heads": self.num_heads,
            "num_seeds": self.num_seeds,
            "key_dim": self.key_dim,
            "output_dim": self.output_dim,
        }


@keras.saving.register_keras_serializable(package="symae_keras")
class DeepSetsPooling(_Pooling):
    """Pooling of features over the instances of groups, without masked instances.

    The result does not depend on the order of the instances. A group whose instances
    are all masked gives zeros. Sums are computed in float32 for every dtype policy.

    Args:
        mode: `"mean"` (default), `"sum"` or `"max"`.

    Call arguments:
        inputs: Tensor `(batch, instances, *features)`.
        mask: Boolean tensor `(batch, instances)`, True = present, or `None`.

    Output shape:
        `(batch, *features)`.

    Reference:
        - [Zaheer et al., Deep Sets, 2017](https://arxiv.org/abs/1703.06114)

    Example:
    >>> from keras import ops
    >>> x = ops.convert_to_tensor([[[1.0], [3.0], [100.0]]])
    >>> mask = ops.convert_to_tensor([[True, True, False]])
    >>> float(DeepSetsPooling("mean")(x, mask=mask)[0, 0])
    2.0
    """

    def __init__(self, mode: str = "mean", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.mode = choice("mode", mode, ("mean", "sum", "max"))

    def call(self, inputs: Tensor, mask: Tensor | None = None) -> Tensor:
        x = ops.cast(inputs, "float32")
        if mask is None:
            pooled = getattr(ops, self.mode)(x, axis=1)
            return ops.cast(pooled, self.compute_dtype)
        mask = ops.cast(mask, "bool")
        features = len(inputs.shape) - 2
        mask = ops.reshape(mask, (*ops.shape(mask), *(1,) * features))
        if self.mode == "max":
            pooled = ops.max(ops.where(mask, x, _LOWEST), axis=1)
            pooled = ops.where(ops.any(mask, axis=1), pooled, 0.0)
        else:
            pooled = ops.sum(ops.where(mask, x, 0.0), axis=1)
            if self.mode == "mean":
                count = ops.sum(ops.cast(mask, "float32"), axis=1)
                pooled = pooled / ops.maximum(count, 1.0)
        return ops.cast(pooled, self.compute_dtype)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return (input_shape[0], *input_shape[2:])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "mode": self.mode}


@keras.saving.register_keras_serializable(package="symae_keras")
@renamed("__call__", instance_mask="mask")
class GaussianPooling(_Pooling):
    """Pooling of diagonal Gaussians over the instances of groups, without masked ones.

    `m[t]` and `v[t]` are the means and variances of the instances. For each element of
    the code:

    - `"product"`, as in the multi-level VAE: the normalised product of the densities,
      with variance `1 / sum_t 1 / v[t]` and mean `variance * sum_t m[t] / v[t]`. More
      instances give a smaller variance.
    - `"average"`, as in the group-based VAE: the averages of `m[t]` and of `v[t]`.

    A group whose instances are all masked gives the standard normal distribution.
    Everything is computed in float32; log variances are clipped to [-20, 20] first.

    Args:
        mode: `"product"` (default) or `"average"`.

    Call arguments:
        inputs: Pair `(mean, log_variance)` of tensors `(batch, instances, code)`.
        mask: Boolean tensor `(batch, instances)`, True = present, or `None`.

    Output shape:
        Pair of `(batch, code)`: mean and log variance, float32.

    Reference:
        - [Bouchacourt et al., Multi-level VAE, 2018](https://arxiv.org/abs/1705.08841)
        - [Hosoya, Group-based learning of disentangled representations,
          2019](https://arxiv.org/abs/1809.02383)

    Example:
    >>> from keras import ops
    >>> mean = ops.convert_to_tensor([[[0.0], [4.0]]])
    >>> mean, log_variance = GaussianPooling("product")((mean, ops.zeros((1, 2, 1))))
    >>> float(mean[0, 0]), round(float(ops.exp(log_variance)[0, 0]), 6)
    (2.0, 0.5)
    """

    def __init__(self, mode: str = "product", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.mode = choice("mode", mode, ("product", "average"))
        self.autocast = False  # everything is computed in float32
        self.built = True

    def call(
        self, inputs: tuple[Tensor, Tensor], mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        mean, log_variance = (ops.cast(each, "float32") for each in inputs)
        log_variance = ops.clip(log_variance, -20.0, 20.0)
        mask = first(mask)
        if mask is None:
            present = ops.ones_like(mean[..., :1])
        else:
            present = ops.expand_dims(ops.cast(mask, "float32"), -1)
        empty = ops.cast(ops.sum(present, axis=1) == 0.0, "float32")
        if self.mode == "product":
            precision = present * ops.exp(-log_variance)
            total = ops.sum(precision, axis=1) + empty
            return ops.sum(precision * mean, axis=1) / total, -ops.log(total)
        share = present / ops.maximum(ops.sum(present, axis=1, keepdims=True), 1.0)
        variance = ops.sum(share * ops.exp(log_variance), axis=1) + empty
        return ops.sum(share * mean, axis=1), ops.log(variance)

    def compute_output_shape(
        self, input_shape: tuple[Shape, Shape]
    ) -> tuple[Shape, Shape]:
        mean, log_variance = input_shape
        return (mean[0], *mean[2:]), (log_variance[0], *log_variance[2:])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "mode": self.mode}
