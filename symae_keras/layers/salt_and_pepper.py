"""Corruption by numbers stuck at either end of their range."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from symae_keras.arguments import share
from symae_keras.layers.training_noise import TrainingNoise
from symae_keras.typing import Tensor


@keras.saving.register_keras_serializable(package="symae_keras")
class SaltAndPepper(TrainingNoise):
    """Sets numbers to one end of their range during training, as dead pixels are.

    Each number is replaced with probability `rate`, independently of all others: by
    `low` or by `high`, which are equally likely.

    Args:
        rate: Probability, from 0 to 1. Defaults to 0.25.
        low: Pepper, in data units. Defaults to 0.
        high: Salt, in data units; above `low`. Defaults to 1.
        seed: Integer seed of the draws, or `None`.

    Call arguments:
        inputs: Tensor of any shape.
        training: Whether to corrupt.

    Output shape:
        Same as the input.

    Reference:
        - [Vincent et al., Stacked denoising autoencoders,
          2010](https://jmlr.org/papers/v11/vincent10a.html), "salt-and-pepper noise"

    Example:
    >>> from keras import ops
    >>> layer = SaltAndPepper(rate=1.0, seed=0)
    >>> corrupted = layer(ops.full((4, 28), 0.3), training=True)
    >>> float(ops.min(corrupted)), float(ops.max(corrupted))
    (0.0, 1.0)
    """

    def __init__(
        self,
        rate: float = 0.25,
        low: float = 0.0,
        high: float = 1.0,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(seed, **kwargs)
        if not low < high:
            raise ValueError(
                "Invalid value received for arguments `low` and `high`. "
                f"Expected low < high. Received: low={low}, high={high}"
            )
        self.rate = share("rate", rate)
        self.low = float(low)
        self.high = float(high)

    def _alter(self, inputs: Tensor) -> Tensor:
        # Drawn in float32: a coarse uniform would miss small rates.
        draw = keras.random.uniform(
            ops.shape(inputs), dtype="float32", seed=self.seed_generator
        )
        low, high = (ops.cast(each, inputs.dtype) for each in (self.low, self.high))
        noise = ops.where(draw < 0.5 * self.rate, low, high)
        return ops.where(draw < self.rate, noise, inputs)

    def get_config(self) -> dict[str, Any]:
        """Arguments that rebuild the layer."""
        return {
            **super().get_config(),
            "rate": self.rate,
            "low": self.low,
            "high": self.high,
        }
