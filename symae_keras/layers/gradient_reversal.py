"""Reversal of gradients, for adversaries trained in one backward pass."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from symae_keras.arguments import not_negative
from symae_keras.typing import Shape, Tensor


@keras.saving.register_keras_serializable(package="symae_keras")
class GradientReversal(keras.Layer):
    """Identity whose gradient is multiplied by `-strength`.

    What comes after the layer is trained to make the loss small, what comes before it
    to make the same loss large: a minimax game in one backward pass, with any
    optimizer and with `fit` as it is.

    Args:
        strength: Factor of the reversed gradient, finite and not negative; 0 stops the
            gradient. Defaults to 1.

    Call arguments:
        inputs: Tensor of any shape.

    Output shape:
        Same as the input.

    Reference:
        - [Ganin & Lempitsky, Unsupervised domain adaptation by backpropagation,
          2015](https://arxiv.org/abs/1409.7495)

    Example:
    >>> from keras import ops
    >>> x = ops.convert_to_tensor([1.0, 2.0])
    >>> ops.convert_to_numpy(GradientReversal(strength=0.5)(x)).tolist()
    [1.0, 2.0]
    """

    def __init__(self, strength: float = 1.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.strength = not_negative("strength", strength)
        self.supports_masking = True
        self.built = True

    def call(self, inputs: Tensor) -> Tensor:
        """Hand on the input."""
        # The difference is exactly 0, so nothing is rounded, and its gradient is 1.
        # The shorter (1 + s) * sg[x] - s * x would lose digits in half precision.
        value = ops.stop_gradient(inputs)
        return value - self.strength * (inputs - value)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Same as the input."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Arguments that rebuild the layer."""
        return {**super().get_config(), "strength": self.strength}
