"""Deep autoencoder of stellar spectra."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from symae_keras._utils.arrays import Tensor
from symae_keras._utils.validation import invalid, not_negative, sizes
from symae_keras.layers._stack import strided
from symae_keras.layers.encoders import Conv1DEncoder
from symae_keras.layers.noise import GaussianSampling
from symae_keras.layers.normalization import MedianNormalization
from symae_keras.models.instances import InstanceAutoencoder

#: The convolutions for 327,680 pixels; all kernels after the third have size 3.
_CHANNELS = (16, 16, 16, 32, 32, 32, 64, 64, 64, 128, 128, 128, 256, 512, 512)
_KERNELS = (7, 5, 5)
#: Target number of pixels of the last map.
_LAST = 20


@keras.saving.register_keras_serializable(package="symae_keras")
class StellarAutoencoder(InstanceAutoencoder):
    """Deep convolutional autoencoder of stellar spectra, deterministic or variational.

    The network is that of Sedaghat et al. For 327,680 pixels, it has 15 convolutions
    with kernels of 7, 5, 5, then 3 pixels and 16, 16, 16, 32, 32, 32, 64, 64, 64, 128,
    128, 128, 256, 512 and 512 channels, each followed by a leaky ReLU of slope 0.1. All
    but the last have stride 2. The last map has 20 pixels and 512 channels, and a dense
    layer computes the code from it. The decoder is the mirror image of the encoder.

    The depth depends on the length. The spectrum is halved until about 20 pixels are
    left, and the channels are chosen evenly from the list above, including the first
    and the last:

    - 4,096 pixels get 9 convolutions with 16, 16, 32, 32, 64, 128, 128, 256 and 512
      channels, and a last map of 16 pixels;
    - 2,048 pixels get 8 with 16, 16, 32, 64, 64, 128, 256 and 512, and 16 pixels.

    The model has two forms:

    - *deterministic*, with `kl_weight=None`: a code of the given size;
    - *disentangled*, with a weight: each code element has a mean and a variance, and
      the divergence from N(0, 1) switches off elements whose benefit is too small; see
      `symae_keras.evaluation.uncertainty`. Start with a small weight and increase it
      with `symae_keras.callbacks.KLSchedule`. A large initial weight switches off all
      elements.

    Every spectrum is divided by the median of its good pixels before encoding and
    multiplied by it after decoding: `call` and `reconstruct` return data units. The
    code does not encode brightness, so `decode` returns spectra of median 1. The loss
    also compares spectra divided by their medians, so bright and faint stars have equal
    weight. Any loss can be used, such as `"mae"` or `"mse"`; bad pixels are excluded.

    Args:
        instance_shape: Shape of one spectrum, `(pixels,)` or `(pixels, channels)`.
        code_dim: Size of the code. Defaults to 128.
        kl_weight: Weight of the divergence, relative to a loss that is a mean over
            pixels. `None` (default) selects the deterministic form.
        normalization: `"median"` (default) or a `MedianNormalization`. If the code
            should contain the brightness, a `Standardization`, a
            `keras.layers.Normalization` with a known mean and variance, or `None`.
        seed: Integer seed of the noise, or `None`.

    Call arguments:
        inputs: Tensor `(batch, *instance_shape)`, or a dict with `"instances"` and
            `"mask"` (boolean, of the same shape, True = good pixel).
        training: Whether to sample the code of the disentangled form. Otherwise, its
            mean is decoded.

    Output shape:
        `(batch, *instance_shape)`.

    Reference:
        - [Sedaghat, Romaniello, Carrick & Pineau, Machines learn to infer stellar
          parameters just by looking at a large number of spectra,
          2021](https://arxiv.org/abs/2009.12872)

    Example:
    >>> x = np.random.default_rng(0).uniform(1.0, 2.0, (32, 80)).astype("float32")
    >>> model = StellarAutoencoder((80,), code_dim=3, kl_weight=1e-4, seed=0)
    >>> model.maps
    ((40, 16), (20, 64), (20, 512))
    >>> model.compile(optimizer="adam", loss="mae")
    >>> sorted(model.fit(x, x, verbose=0).history)
    ['kl_loss', 'loss', 'reconstruction_loss']
    >>> tuple(model.encode(x).shape), tuple(model.reconstruct(x).shape)
    ((32, 3), (32, 80))
    """

    def __init__(
        self,
        instance_shape: Sequence[int],
        code_dim: int = 128,
        kl_weight: float | None = None,
        normalization: str | keras.Layer | None = "median",
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        instance_shape = sizes("instance_shape", instance_shape, "(4096,)")
        if isinstance(normalization, str):
            if normalization != "median":
                expected = "'median', a normalisation layer or None"
                raise invalid("normalization", expected, repr(normalization))
            normalization = MedianNormalization(
                len(instance_shape), dtype=kwargs.get("dtype")
            )
        super().__init__(
            instance_shape, code_dim, "conv1d", None, normalization, seed, **kwargs
        )
        self.kl_weight = (
            None if kl_weight is None else not_negative("kl_weight", kl_weight)
        )
        self.sampling: GaussianSampling | None = None
        if self.kl_weight is not None:
            self._numbers_each = 2
            self.sampling = GaussianSampling(
                self.kl_weight, seed, dtype=self.dtype_policy
            )
        self._assemble()

    # === Networks ===

    def _make_encoder(self, output_dim: int) -> keras.Layer:
        return Conv1DEncoder(
            output_dim,
            **_convolutions(self.instance_shape[0]),
            normalization=None,
            activation=keras.layers.LeakyReLU(0.1, dtype=self.dtype_policy),
            dtype=self.dtype_policy,
        )

    @property
    def maps(self) -> tuple[tuple[int, int], ...]:
        """Pixels and channels after each convolution of the encoder."""
        stack = _convolutions(self.instance_shape[0])
        pixels = strided(self.instance_shape[0], stack["strides"])[1:]
        return tuple(zip(pixels, stack["filters"], strict=True))

    # === Scaling ===

    def _brightness(self, x: Tensor, mask: Tensor | None = None) -> Tensor | None:
        """Return the median of each spectrum, or `None` if the code has brightness."""
        if not isinstance(self.normalization, MedianNormalization):
            return None
        return self.normalization.scale(x, mask)

    def _fill(self, x: Tensor, mask: Tensor) -> Tensor:
        """Fill bad pixels with the median of the good ones, which stays the same."""
        brightness = self._brightness(x, mask)
        if brightness is None:
            return super()._fill(x, mask)
        return ops.where(mask, x, brightness)

    def _normalize(self, x: Tensor) -> Tensor:
        brightness = self._brightness(x)
        if brightness is None:
            return super()._normalize(x)
        # Centre around 0, where the network starts.
        return ops.cast(x / brightness - 1.0, self.compute_dtype)

    def _denormalize(self, x: Tensor) -> Tensor:
        if not isinstance(self.normalization, MedianNormalization):
            return super()._denormalize(x)
        return ops.cast(x, self._data_dtype) + 1.0

    def _in_data_units(self, decoded: Tensor, x: Tensor) -> Tensor:
        """Give decoded spectra the brightness of the encoded ones."""
        brightness = self._brightness(x)
        return decoded if brightness is None else decoded * brightness

    # === Forward pass ===

    def call(self, inputs: Any, training: bool | None = None) -> Tensor:
        x, mask = self._unpack(inputs)
        x = self._checked(x, mask)
        present = self._present(mask)
        code = self._training_code(self._normalize(x), training, present)
        return self._in_data_units(self._decoded(code), x)

    def _code(self, x: Tensor) -> Tensor:
        return self._mean_and_log_variance(x)[0]

    def _mean_and_log_variance(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return the posterior, or only the code in the deterministic form."""
        return tuple(ops.split(self._features(x), self._numbers_each, axis=-1))

    def _training_code(
        self, x: Tensor, training: bool | None = None, mask: Tensor | None = None
    ) -> Tensor:
        if self.sampling is None:
            return self._code(x)
        posterior = self._mean_and_log_variance(x)
        return self.sampling(posterior, mask=mask, training=training)

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Tensor:
        """Compute the loss of spectra over their medians; see `AutoencoderBase`."""
        brightness = self._brightness(self._checked(*self._unpack(x)))
        if brightness is not None:
            y, y_pred = ops.divide(y, brightness), ops.divide(y_pred, brightness)
        return super().compute_loss(x, y, y_pred, sample_weight, training)

    # === Use ===

    def posterior(self, x: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return mean and log variance of the code, in the disentangled form.

        Args:
            x: `(batch, *instance_shape)`.
            mask: See `encode`.

        Returns:
            Two tensors `(batch, code_dim)`; `encode` returns the mean.
        """
        if self.sampling is None:
            raise ValueError(
                "The deterministic form has no posterior; give the model a `kl_weight`."
            )
        parts = self._mean_and_log_variance(self._normalize(self._checked(x, mask)))
        return parts[0], parts[1]

    def reconstruct(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Encode and decode, without noise.

        Args:
            x: `(batch, *instance_shape)`.
            mask: See `encode`. Bad pixels are reconstructed from the good ones.

        Returns:
            Tensor of the shape of `x`, in data units.
        """
        return super().reconstruct(x, mask)

    def _reconstructed(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        x = self._checked(x, mask)
        return self._in_data_units(self._decoded(self._code(self._normalize(x))), x)


def _convolutions(n_pixels: int) -> dict[str, tuple[int, ...]]:
    """Choose the convolutions for a length: some of stride 2, and one of stride 1."""
    halvings = max(1, round(math.log2(n_pixels / _LAST)))
    count = halvings + 1
    drawn = np.linspace(0, len(_CHANNELS) - 1, count).round().astype(int)
    return {
        "filters": tuple(_CHANNELS[n] for n in drawn),
        "kernel_size": (*_KERNELS, *(3,) * count)[:count],
        "strides": (*(2,) * halvings, 1),
    }
