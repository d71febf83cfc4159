"""One Gaussian for a group from the Gaussians of its instances."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from symae_keras.typing import Shape, Tensor

_MODES = ("product", "average")


@keras.saving.register_keras_serializable(package="symae_keras")
class GaussianPooling(keras.Layer):
    """Pools diagonal Gaussians over the instances of a group, leaving out masked ones.

    With the instances' means `m[t]` and variances `v[t]`, number by number of the code:

    - `"product"`, as in the multi-level VAE: the normalised product of the densities,
      with variance `1 / sum_t 1 / v[t]` and mean `variance * sum_t m[t] / v[t]`. The
      more instances, the surer the group.
    - `"average"`, as in the group-based VAE: the averages of `m[t]` and of `v[t]`.

    A group whose instances are all masked gives the standard normal distribution.
    Computed in float32; log variances are clipped to [-20, 20] first.

    Args:
        mode: `"product"` (default) or `"average"`.

    Call arguments:
        inputs: Pair `(mean, log_variance)` of tensors `(batch, instances, code)`.
        instance_mask: Boolean tensor `(batch, instances)`, True = present, or `None`.

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
        if mode not in _MODES:
            raise ValueError(
                "Invalid value received for argument `mode`. "
                f"Expected one of {_MODES}. Received: mode={mode!r}"
            )
        self.mode = mode
        self.autocast = False  # all is computed in float32
        self.supports_masking = True
        self.built = True

    def call(
        self, inputs: tuple[Tensor, Tensor], instance_mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Pool over axis 1."""
        mean, log_variance = (ops.cast(each, "float32") for each in inputs)
        log_variance = ops.clip(log_variance, -20.0, 20.0)
        if instance_mask is None:
            present = ops.ones_like(mean[..., :1])
        else:
            present = ops.expand_dims(ops.cast(instance_mask, "float32"), -1)
        empty = ops.cast(ops.sum(present, axis=1) == 0.0, "float32")
        if self.mode == "product":
            precision = present * ops.exp(-log_variance)
            total = ops.sum(precision, axis=1) + empty
            return ops.sum(precision * mean, axis=1) / total, -ops.log(total)
        share = present / ops.maximum(ops.sum(present, axis=1, keepdims=True), 1.0)
        variance = ops.sum(share * ops.exp(log_variance), axis=1) + empty
        return ops.sum(share * mean, axis=1), ops.log(variance)

    def compute_mask(self, inputs: Any, previous_mask: Any) -> None:
        """The instance axis is gone, and its mask with it."""
        return None

    def compute_output_shape(
        self, input_shape: tuple[Shape, Shape]
    ) -> tuple[Shape, Shape]:
        """Input shapes without the instance axis."""
        mean, log_variance = input_shape
        return (mean[0], *mean[2:]), (log_variance[0], *log_variance[2:])

    def get_config(self) -> dict[str, Any]:
        """Arguments that rebuild the layer."""
        return {**super().get_config(), "mode": self.mode}
