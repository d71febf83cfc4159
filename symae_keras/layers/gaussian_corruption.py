"""Corruption by white noise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from symae_keras.arguments import not_negative
from symae_keras.layers.training_noise import TrainingNoise
from symae_keras.typing import Tensor


@keras.saving.register_keras_serializable(package="symae_keras")
class GaussianCorruption(TrainingNoise):
    """Adds white Gaussian noise during training, for denoising autoencoders.

    Keras's `GaussianNoise` refuses standard deviations above 1 and does not clip.

    Args:
        stddev: Standard deviation of the noise, in data units; not negative. Defaults
            to 0.1.
        clip: Pair `(lowest, highest)` that the result is clipped to, such as `(0, 1)`
            for images, or `None` (default).
        seed: Integer seed of the noise, or `None`.

    Call arguments:
        inputs: Tensor of any shape.
        training: Whether to corrupt.

    Output shape:
        Same as the input.

    Reference:
        - [Vincent et al., Stacked denoising autoencoders,
          2010](https://jmlr.org/papers/v11/vincent10a.html)

    Example:
    >>> from keras import ops
    >>> layer = GaussianCorruption(stddev=0.4, clip=(0.0, 1.0), seed=0)
    >>> float(ops.max(layer(ops.ones((4, 28)), training=True)))
    1.0
    """

    def __init__(
        self,
        stddev: float = 0.1,
        clip: Sequence[float] | None = None,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(seed, **kwargs)
        if clip is not None and not (len(clip) == 2 and clip[0] < clip[1]):
            raise ValueError(
                "Invalid value received for argument `clip`. Expected a pair (lowest, "
                f"highest) or None. Received: clip={clip}"
            )
        self.stddev = not_negative("stddev", stddev)
        self.clip = None if clip is None else (float(clip[0]), float(clip[1]))

    def _alter(self, inputs: Tensor) -> Tensor:
        dtype = keras.backend.standardize_dtype(inputs.dtype)
        noise = keras.random.normal(
            ops.shape(inputs), dtype=dtype, seed=self.seed_generator
        )
        corrupted = inputs + self.stddev * noise
        return corrupted if self.clip is None else ops.clip(corrupted, *self.clip)

    def get_config(self) -> dict[str, Any]:
        """Arguments that rebuild the layer."""
        return {
            **super().get_config(),
            "stddev": self.stddev,
            "clip": self.clip,
        }
