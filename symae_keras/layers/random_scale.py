"""Random brightness, to augment data."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from symae_keras.arguments import not_negative, positive
from symae_keras.layers.training_noise import TrainingNoise
from symae_keras.typing import Tensor


@keras.saving.register_keras_serializable(package="symae_keras")
class RandomScale(TrainingNoise):
    """Multiplies each instance by a random number during training.

    The number is `exp(strength * e)` with `e` from a standard normal distribution, one
    for each instance: never negative, and as often `2` as `1/2`.

    Args:
        strength: Standard deviation of the logarithm of the number; not negative.
        seed: Integer seed of the draws, or `None` (default).
        pixel_axes: How many trailing axes an instance has: 1 for `(pixels,)`, 2 for
            `(pixels, channels)`. Defaults to 1.

    Call arguments:
        inputs: Tensor `(..., *instance_shape)` of any rank from `pixel_axes` on.
        training: Whether to scale.

    Output shape:
        Same as the input.

    Example:
    >>> from keras import ops
    >>> layer = RandomScale(strength=0.1, seed=0)
    >>> scaled = layer(ops.ones((4, 28)), training=True)
    >>> bool(ops.all(scaled == scaled[:, :1])), bool(scaled[0, 0] == scaled[1, 0])
    (True, False)
    """

    def __init__(
        self,
        strength: float,
        seed: int | None = None,
        pixel_axes: int = 1,
        **kwargs: Any,
    ) -> None:
        super().__init__(seed, **kwargs)
        self.strength = not_negative("strength", strength)
        self.pixel_axes = positive("pixel_axes", pixel_axes)

    def _alter(self, inputs: Tensor) -> Tensor:
        n_leading = len(inputs.shape) - self.pixel_axes
        if n_leading < 0:
            raise ValueError(
                f"`RandomScale` expects inputs of rank {self.pixel_axes} or more. "
                f"Received: inputs of shape {tuple(inputs.shape)}"
            )
        shape = (*tuple(ops.shape(inputs))[:n_leading], *(1,) * self.pixel_axes)
        noise = keras.random.normal(shape, dtype="float32", seed=self.seed_generator)
        return inputs * ops.cast(ops.exp(self.strength * noise), inputs.dtype)

    def get_config(self) -> dict[str, Any]:
        """Arguments that rebuild the layer."""
        return {
            **super().get_config(),
            "strength": self.strength,
            "pixel_axes": self.pixel_axes,
        }
