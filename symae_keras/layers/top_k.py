"""Sparse codes by keeping their largest numbers only."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from symae_keras.arguments import positive
from symae_keras.typing import Shape, Tensor


@keras.saving.register_keras_serializable(package="symae_keras")
class TopK(keras.Layer):
    """Keeps the `n_active` largest numbers of each code and sets the others to 0.

    Exactly `n_active` are kept where numbers are equal, too. Gradients reach those
    kept only.

    Args:
        n_active: How many numbers are kept, at least 1.

    Call arguments:
        inputs: Tensor `(batch, ..., code)` with a code of `n_active` numbers or more.

    Output shape:
        Same as the input.

    Reference:
        - [Makhzani & Frey, k-sparse autoencoders,
          2013](https://arxiv.org/abs/1312.5663)

    Example:
    >>> from keras import ops
    >>> layer = TopK(n_active=2)
    >>> ops.convert_to_numpy(layer(ops.array([[3.0, -1.0, 5.0, 4.0]]))).tolist()
    [[0.0, 0.0, 5.0, 4.0]]
    """

    def __init__(self, n_active: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.n_active = positive("n_active", n_active)
        self.supports_masking = True

    def build(self, input_shape: Shape) -> None:
        """Check that there are so many numbers to keep."""
        size = input_shape[-1]
        if size is None or size < self.n_active:
            raise ValueError(
                f"`TopK` expects codes of n_active={self.n_active} numbers or more. "
                f"Received: shape {tuple(input_shape)}"
            )

    def call(self, inputs: Tensor) -> Tensor:
        """Keep the largest numbers."""
        # Ranks, not a threshold: in bfloat16 many numbers are equal.
        rank = ops.argsort(ops.argsort(-inputs, axis=-1), axis=-1)
        return ops.where(rank < self.n_active, inputs, ops.zeros_like(inputs))

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Same as the input."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Arguments that rebuild the layer."""
        return {**super().get_config(), "n_active": self.n_active}
