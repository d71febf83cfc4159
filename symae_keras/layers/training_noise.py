"""What the layers have in common that change their input in training only."""

from __future__ import annotations

from typing import Any

import keras

from symae_keras.layers.seed import SeedGenerator
from symae_keras.typing import Shape, Tensor


class TrainingNoise(keras.Layer):
    """Base of the layers that draw random numbers in training and else do nothing.

    A subclass says in `_alter` what becomes of the input in training; it draws from
    `seed_generator`.

    Args:
        seed: Integer seed of the draws, or `None`.
    """

    def __init__(self, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.seed = seed
        self.seed_generator = SeedGenerator(seed)
        self.supports_masking = True
        self.built = True

    def _alter(self, inputs: Tensor) -> Tensor:
        raise NotImplementedError

    def call(self, inputs: Tensor, training: bool | None = None) -> Tensor:
        """Alter the input when training."""
        return self._alter(inputs) if training else inputs

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Same as the input."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Arguments that rebuild the layer."""
        return {**super().get_config(), "seed": self.seed}
