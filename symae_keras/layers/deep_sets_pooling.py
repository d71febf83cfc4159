"""Permutation-invariant pooling over the instances of a group."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from symae_keras.typing import Shape, Tensor

_MODES = ("mean", "sum", "max")
# Finite, so that a group without any instance gives no NaN in values or gradients.
_LOWEST = -1e30


@keras.saving.register_keras_serializable(package="symae_keras")
class DeepSetsPooling(keras.Layer):
    """Pools features over the instances of a group, leaving out masked ones.

    The result does not depend on the order of the instances. A group whose instances
    are all masked gives zeros. Sums are taken in float32 whatever the dtype policy.

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
        if mode not in _MODES:
            raise ValueError(
                "Invalid value received for argument `mode`. "
                f"Expected one of {_MODES}. Received: mode={mode!r}"
            )
        self.mode = mode

    def call(self, inputs: Tensor, mask: Tensor | None = None) -> Tensor:
        """Pool over axis 1."""
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

    def compute_mask(self, inputs: Tensor, previous_mask: Tensor | None) -> None:
        """The instance axis is gone, and its mask with it."""
        return None

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Input shape without the instance axis."""
        return (input_shape[0], *input_shape[2:])

    def get_config(self) -> dict[str, Any]:
        """Arguments that rebuild the layer."""
        return {**super().get_config(), "mode": self.mode}
