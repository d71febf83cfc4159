"""Random brightness, to augment data."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from symae_keras.layers.seed import SeedGenerator
from symae_keras.typing import Shape, Tensor


@keras.saving.register_keras_serializable(package="symae_keras")
class RandomScale(keras.Layer):
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
        super().__init__(**kwargs)
        if not 0.0 <= strength < float("inf"):
            raise ValueError(
                "Invalid value received for argument `strength`. "
                f"Expected a finite number >= 0. Received: strength={strength}"
            )
        if int(pixel_axes) != pixel_axes or pixel_axes < 1:
            raise ValueError(
                "Invalid value received for argument `pixel_axes`. "
                f"Expected a positive integer. Received: pixel_axes={pixel_axes}"
            )
        self.strength = float(strength)
        self.seed = seed
        self.pixel_axes = int(pixel_axes)
        self.seed_generator = SeedGenerator(seed)
        self.supports_masking = True
        self.built = True

    def call(self, inputs: Tensor, training: bool | None = None) -> Tensor:
        """Scale when training."""
        if not training:
            return inputs
        n_leading = len(inputs.shape) - self.pixel_axes
        if n_leading < 0:
            raise ValueError(
                f"`RandomScale` expects inputs of rank {self.pixel_axes} or more. "
                f"Received: inputs of shape {tuple(inputs.shape)}"
            )
        shape = (*tuple(ops.shape(inputs))[:n_leading], *(1,) * self.pixel_axes)
        noise = keras.random.normal(shape, dtype="float32", seed=self.seed_generator)
        return inputs * ops.cast(ops.exp(self.strength * noise), inputs.dtype)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Same as the input."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Arguments that rebuild the layer."""
        return {
            **super().get_config(),
            "strength": self.strength,
            "seed": self.seed,
            "pixel_axes": self.pixel_axes,
        }
