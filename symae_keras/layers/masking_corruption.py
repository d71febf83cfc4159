"""Corruption by blanking single numbers."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from symae_keras.arguments import share
from symae_keras.layers.training_noise import TrainingNoise
from symae_keras.typing import Tensor


@keras.saving.register_keras_serializable(package="symae_keras")
class MaskingCorruption(TrainingNoise):
    """Blanks numbers at random during training, for denoising autoencoders.

    Each number is replaced by `value` with probability `rate`, independently of all
    others. Unlike `keras.layers.Dropout` it leaves the rest as it is: dropout scales it
    by `1 / (1 - rate)`, which would change the data.

    Args:
        rate: Probability, from 0 to 1. Defaults to 0.25.
        value: What a blanked number becomes, in data units. Defaults to 0.
        seed: Integer seed of the draws, or `None`.

    Call arguments:
        inputs: Tensor of any shape.
        training: Whether to corrupt.

    Output shape:
        Same as the input.

    Reference:
        - [Vincent et al., Stacked denoising autoencoders,
          2010](https://jmlr.org/papers/v11/vincent10a.html), "masking noise"

    Example:
    >>> from keras import ops
    >>> layer = MaskingCorruption(rate=0.5, seed=0)
    >>> corrupted = layer(ops.ones((4, 28)), training=True)
    >>> float(ops.min(corrupted)), float(ops.max(corrupted))
    (0.0, 1.0)
    """

    def __init__(
        self,
        rate: float = 0.25,
        value: float = 0.0,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(seed, **kwargs)
        self.rate = share("rate", rate)
        self.value = float(value)

    def _alter(self, inputs: Tensor) -> Tensor:
        # Drawn in float32: a coarse uniform would miss small rates.
        draw = keras.random.uniform(
            ops.shape(inputs), dtype="float32", seed=self.seed_generator
        )
        value = ops.cast(self.value, inputs.dtype)
        return ops.where(draw < self.rate, value, inputs)

    def get_config(self) -> dict[str, Any]:
        """Arguments that rebuild the layer."""
        return {
            **super().get_config(),
            "rate": self.rate,
            "value": self.value,
        }
