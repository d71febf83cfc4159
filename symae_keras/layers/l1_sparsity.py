"""Sparse codes by the sum of their absolute values."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from symae_keras.arguments import not_negative
from symae_keras.layers.loss_term import LossTerm, blank_absent, mean_of_present
from symae_keras.typing import Shape, Tensor


@keras.saving.register_keras_serializable(package="symae_keras")
class L1Sparsity(LossTerm):
    """Hands a code on and adds its absolute values to the loss.

    The loss is `weight * sum_j |code_j|`, averaged over the batch and over any other
    axes before the last one, in float32.

    Args:
        weight: Weight of the loss, not negative. Defaults to 1e-3.

    Call arguments:
        inputs: Tensor `(batch, ..., code)`.
        instance_mask: Boolean tensor `(batch,)`, True = present, or `None`. Absent
            instances count in no loss.

    Output shape:
        Same as the input.

    Reference:
        - [Olshausen & Field, Emergence of simple-cell receptive field properties by
          learning a sparse code for natural images,
          1996](https://doi.org/10.1038/381607a0)

    Example:
    >>> from keras import ops
    >>> layer = L1Sparsity(weight=0.5)
    >>> code = layer(ops.ones((4, 3)))
    >>> float(layer.losses[0])
    1.5
    """

    def __init__(self, weight: float = 1e-3, **kwargs: Any) -> None:
        super().__init__("l1_loss", **kwargs)
        self.weight = not_negative("weight", weight)
        self.supports_masking = True
        self.built = True

    def call(self, inputs: Tensor, instance_mask: Tensor | None = None) -> Tensor:
        """Add the penalty; the code stays as it is."""
        code = blank_absent(ops.cast(inputs, "float32"), instance_mask)
        size = ops.sum(ops.abs(code), axis=-1)
        self.add_term(self.weight * mean_of_present(size, instance_mask))
        return inputs

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Same as the input."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Arguments that rebuild the layer."""
        return {**super().get_config(), "weight": self.weight}
