"""The denoising autoencoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import keras

from symae_keras._utils.arrays import Tensor
from symae_keras.layers.corruption import (
    BlockCorruption,
    GaussianCorruption,
    MaskingCorruption,
    SaltAndPepper,
)
from symae_keras.layers.encoders import Conv2DEncoder
from symae_keras.models.base import one_of
from symae_keras.models.instances import InstanceAutoencoder

CORRUPTIONS: Final = {
    "gaussian": GaussianCorruption,
    "masking": MaskingCorruption,
    "salt_and_pepper": SaltAndPepper,
    "block": BlockCorruption,
}


@keras.saving.register_keras_serializable(package="symae_keras")
class DenoisingAutoencoder(InstanceAutoencoder):
    """Denoising autoencoder, which reconstructs clean instances from corrupted ones.

    The input is corrupted only during training: `code = f(corrupt(x))`, and the loss
    compares `D(code)` with the clean `x`. Because of the corruption, even an
    overcomplete code learns what instances have in common. Outside of training, nothing
    is corrupted. To evaluate with noise, pass noisy inputs: `evaluate(noisy, clean)`.

    Args:
        instance_shape: Shape of one instance, channels last.
        code_dim: Size of the code, or `None` for the output of a custom encoder.
            Defaults to 8.
        encoder: `"dense"` (default), `"conv1d"`, `"conv2d"`, or a `keras.Layer` or
            `keras.Model` from one instance to features.
        decoder: A layer from a code to one instance. `None` (default) mirrors the
            encoder.
        corruption: `"gaussian"` (default), `"masking"`, `"salt_and_pepper"` or
            `"block"` (inpainting), each with its default strength; or a layer called as
            `corruption(x, training=training)`, such as
            `symae_keras.layers.GaussianCorruption(stddev=0.4)`. It is applied in data
            units, before any normalisation.
        normalization: A `Standardization`, or a `keras.layers.Normalization` with a
            known mean and variance. Defaults to `None`.
        seed: Integer seed of a corruption that is set by name, or `None`.

    Call arguments:
        inputs: Tensor `(batch, *instance_shape)`.
        training: Whether to corrupt the input.

    Output shape:
        `(batch, *instance_shape)`.

    Reference:
        - [Vincent et al., Stacked denoising autoencoders,
          2010](https://jmlr.org/papers/v11/vincent10a.html)

    Example:
    >>> import numpy as np
    >>> x = np.random.default_rng(0).normal(size=(32, 64)).astype("float32")
    >>> model = DenoisingAutoencoder((64,), code_dim=3, corruption="gaussian", seed=0)
    >>> model.compile(optimizer="adam", loss="mse")
    >>> history = model.fit(x, x, verbose=0)
    >>> tuple(model.reconstruct(x).shape)
    (32, 64)
    """

    def __init__(
        self,
        instance_shape: Sequence[int],
        code_dim: int | None = 8,
        encoder: str | keras.Layer = "dense",
        decoder: keras.Layer | None = None,
        corruption: str | keras.Layer = "gaussian",
        normalization: keras.Layer | None = None,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            instance_shape, code_dim, encoder, decoder, normalization, seed, **kwargs
        )
        self.corruption = one_of("corruption", corruption, tuple(CORRUPTIONS))
        # Images may have no channel axis; the encoder determines it.
        images = self.encoder == "conv2d" or isinstance(self.encoder, Conv2DEncoder)
        self.corrupt = make_corruption(
            self.corruption, 2 if images else None, seed, self.dtype_policy
        )
        self._assemble()

    def _corrupt(self, x: Tensor, training: bool | None) -> Tensor:
        return self.corrupt(x, training=training)


def make_corruption(
    corruption: str | keras.Layer, axes: int | None, seed: int | None, dtype: Any
) -> keras.Layer:
    """Return a corruption of data units by name; a layer is returned unchanged."""
    if not isinstance(corruption, str):
        return corruption
    options: dict[str, Any] = {"seed": seed, "dtype": dtype}
    if corruption == "block":
        options["spatial_axes"] = axes
    layer = CORRUPTIONS[corruption](**options)
    layer.autocast = False  # data units may exceed half precision
    return layer
