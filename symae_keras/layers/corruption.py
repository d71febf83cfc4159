"""Input corruptions for denoising autoencoders."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from symae_keras._utils.arrays import Shape, Tensor
from symae_keras._utils.validation import choice, interval, not_negative, number, share
from symae_keras.layers._random import TrainingNoise


@keras.saving.register_keras_serializable(package="symae_keras")
class BlockCorruption(TrainingNoise):
    """Blanking of one block per instance during training, for inpainting models.

    The block is an interval of a spectrum or a rectangle of an image. Its side along
    an axis of `n` pixels is `fraction * n`, rounded up. All positions inside the
    instance are equally likely. All channels are blanked together.

    Args:
        fraction: Side of the block over the length of the axis; above 0, at most 1.
            Defaults to 0.25.
        value: Value of blanked pixels, in data units. Defaults to 0.
        spatial_axes: Number of pixel axes after the batch axis, 1 or 2. `None`
            (default) expects tensors `(batch, pixels)`, `(batch, pixels, channels)` or
            `(batch, height, width, channels)`. Images without a channel axis need 2.
        seed: Integer seed of the positions, or `None`.

    Call arguments:
        inputs: Tensor of the shapes above, with known numbers of pixels.
        training: Whether to corrupt.

    Output shape:
        Same as the input.

    Reference:
        - [Xie, Xu & Chen, Image denoising and inpainting with deep neural networks,
          2012](https://papers.nips.cc/paper/2012/hash/6cdd60ea0045eb7a6ec44c54d29ed402-Abstract.html)

    Example:
    >>> from keras import ops
    >>> layer = BlockCorruption(fraction=0.5, seed=0)
    >>> corrupted = layer(ops.ones((4, 28, 28, 1)), training=True)
    >>> ops.convert_to_numpy(ops.sum(1 - corrupted, axis=(1, 2, 3))).tolist()
    [196.0, 196.0, 196.0, 196.0]
    """

    def __init__(
        self,
        fraction: float = 0.25,
        value: float = 0.0,
        spatial_axes: int | None = None,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(seed, **kwargs)
        self.fraction = number(
            "fraction", fraction, "0 < fraction <= 1", lambda x: 0.0 < x <= 1.0
        )
        self.value = number("value", value)
        self.spatial_axes = choice("spatial_axes", spatial_axes, (None, 1, 2))

    def _lengths(self, shape: Shape) -> list[int]:
        """Return the number of pixels along each spatial axis."""
        n_axes = self.spatial_axes
        if n_axes is None and 2 <= len(shape) <= 4:
            n_axes = max(len(shape) - 2, 1)
        if n_axes is None or len(shape) < n_axes + 1:
            raise ValueError(
                "`BlockCorruption` expects (batch, pixels[, channels]) or (batch, "
                "height, width, channels), or a matching argument `spatial_axes`. "
                f"Received: shape {tuple(shape)}, spatial_axes={self.spatial_axes}"
            )
        lengths = [n for n in shape[1 : n_axes + 1] if n is not None]
        if len(lengths) < n_axes:
            raise ValueError(
                "`BlockCorruption` expects inputs with known numbers of pixels. "
                f"Received: shape {tuple(shape)}"
            )
        return lengths

    def _alter(self, inputs: Tensor) -> Tensor:
        shape = tuple(inputs.shape)
        inside = None
        for axis, n in enumerate(self._lengths(shape), start=1):
            # 0.07 * 100 is slightly above 7, but must not become 8.
            side = max(1, math.ceil(self.fraction * n - 1e-9))
            start = keras.random.randint(
                (ops.shape(inputs)[0], 1), 0, n - side + 1, seed=self.seed_generator
            )
            pixel = ops.expand_dims(ops.arange(n, dtype="int32"), 0)
            along = ops.logical_and(pixel >= start, pixel < start + side)
            broadcast = [n if i == axis else 1 for i in range(1, len(shape))]
            along = ops.reshape(along, (-1, *broadcast))
            inside = along if inside is None else ops.logical_and(inside, along)
        return ops.where(inside, ops.cast(self.value, inputs.dtype), inputs)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "fraction": self.fraction,
            "value": self.value,
            "spatial_axes": self.spatial_axes,
        }


@keras.saving.register_keras_serializable(package="symae_keras")
class GaussianCorruption(TrainingNoise):
    """White Gaussian noise during training, for denoising autoencoders.

    Keras's `GaussianNoise` rejects standard deviations above 1 and does not clip.

    Args:
        stddev: Standard deviation of the noise, in data units; not negative. Defaults
            to 0.1.
        clip: Pair `(lowest, highest)` to which the result is clipped, such as `(0, 1)`
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
        self.stddev = not_negative("stddev", stddev)
        self.clip = None if clip is None else interval("clip", clip)

    def _alter(self, inputs: Tensor) -> Tensor:
        dtype = keras.backend.standardize_dtype(inputs.dtype)
        noise = keras.random.normal(
            ops.shape(inputs), dtype=dtype, seed=self.seed_generator
        )
        corrupted = inputs + self.stddev * noise
        return corrupted if self.clip is None else ops.clip(corrupted, *self.clip)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "stddev": self.stddev, "clip": self.clip}


@keras.saving.register_keras_serializable(package="symae_keras")
class MaskingCorruption(TrainingNoise):
    """Random blanking of single values during training, for denoising autoencoders.

    Each value is replaced by `value` with probability `rate`, independently of all
    others. Unlike `keras.layers.Dropout`, this layer leaves the other values unchanged.
    Dropout scales them by `1 / (1 - rate)`, which would change the data.

    Args:
        rate: Probability, from 0 to 1. Defaults to 0.25.
        value: Value of blanked pixels, in data units. Defaults to 0.
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
        self.value = number("value", value)

    def _alter(self, inputs: Tensor) -> Tensor:
        value = ops.cast(self.value, inputs.dtype)
        return ops.where(self._uniform(inputs) < self.rate, value, inputs)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "rate": self.rate, "value": self.value}


@keras.saving.register_keras_serializable(package="symae_keras")
class SaltAndPepper(TrainingNoise):
    """Salt-and-pepper noise during training, similar to dead pixels.

    Each value is replaced with probability `rate`, independently of all others. The
    new value is `low` or `high` with equal probability.

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
        self.rate = share("rate", rate)
        self.low = number("low", low)
        self.high = number(
            "high", high, f"high > low={self.low}", lambda x: x > self.low
        )

    def _alter(self, inputs: Tensor) -> Tensor:
        draw = self._uniform(inputs)
        low, high = (ops.cast(each, inputs.dtype) for each in (self.low, self.high))
        noise = ops.where(draw < 0.5 * self.rate, low, high)
        return ops.where(draw < self.rate, noise, inputs)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "rate": self.rate,
            "low": self.low,
            "high": self.high,
        }
