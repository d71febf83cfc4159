"""The variational autoencoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from symae_keras._utils.arrays import Tensor
from symae_keras._utils.validation import choice, not_negative
from symae_keras.layers.noise import GaussianSampling
from symae_keras.losses import (
    BernoulliNegativeLogLikelihood,
    GaussianNegativeLogLikelihood,
)
from symae_keras.models.instances import GenerativeAutoencoder

_LIKELIHOODS = ("gaussian", "bernoulli")


@keras.saving.register_keras_serializable(package="symae_keras")
class VAE(GenerativeAutoencoder):
    """Variational autoencoder, with the weight beta of a beta-VAE.

    With a posterior `q(z | x) = N(mean(x), variance(x))`, a prior `p(z) = N(0, 1)` and
    a decoder `p(x | z)`, the loss for one instance is

        - E_q log p(x | z)  +  kl_weight * KL(q(z | x) || p(z)).

    It is the negative evidence lower bound if `kl_weight` is 1 and the loss given to
    `compile` is `model.likelihood_loss()`. If the loss is a mean over pixels, such as
    `"mse"`, the weight that corresponds to a bound is small: 2 times the noise variance
    divided by the number of pixels.

    Args:
        instance_shape: Shape of one instance, channels last.
        code_dim: Size of the code. Defaults to 8.
        encoder: `"dense"` (default), `"conv1d"`, `"conv2d"`, or a `keras.Layer` or
            `keras.Model` from one instance to features, which are followed by a linear
            layer to mean and log variance.
        decoder: A layer from a code to one instance; it returns logits if the
            likelihood is Bernoulli. `None` (default) mirrors the encoder.
        likelihood: `"gaussian"` (default), or `"bernoulli"` for data in [0, 1], with a
            sigmoid after the decoder.
        kl_weight: Weight of the divergence, beta; `symae_keras.callbacks.KLSchedule`
            can anneal it. Defaults to 1.
        free_bits: Free information per code element, in nats. Defaults to 0.
        normalization: A `Standardization`, or a `keras.layers.Normalization` with a
            known mean and variance; not with the Bernoulli likelihood.
            Defaults to `None`.
        seed: Integer seed of the noise, or `None`.

    Call arguments:
        inputs: Tensor `(batch, *instance_shape)`.
        training: Whether to sample the code. Otherwise, its mean is decoded.

    Output shape:
        `(batch, *instance_shape)`, the mean of `p(x | z)`.

    Reference:
        - [Kingma & Welling, Auto-encoding variational Bayes,
          2013](https://arxiv.org/abs/1312.6114)
        - [Higgins et al., beta-VAE, 2017](https://openreview.net/forum?id=Sy2fzU9gl)

    Example:
    >>> import numpy as np
    >>> x = np.random.default_rng(0).normal(size=(32, 64)).astype("float32")
    >>> model = VAE(instance_shape=(64,), code_dim=3, seed=0)
    >>> model.compile(optimizer="adam", loss=model.likelihood_loss())
    >>> sorted(model.fit(x, x, verbose=0).history)
    ['kl_loss', 'loss', 'reconstruction_loss']
    >>> tuple(model.sample(5).shape)
    (5, 64)
    """

    _numbers_each = 2

    def __init__(
        self,
        instance_shape: Sequence[int],
        code_dim: int = 8,
        encoder: str | keras.Layer = "dense",
        decoder: keras.Layer | None = None,
        likelihood: str = "gaussian",
        kl_weight: float = 1.0,
        free_bits: float = 0.0,
        normalization: keras.Layer | None = None,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            instance_shape, code_dim, encoder, decoder, normalization, seed, **kwargs
        )
        self.likelihood = choice("likelihood", likelihood, _LIKELIHOODS)
        if likelihood == "bernoulli" and normalization is not None:
            raise ValueError(
                "A Bernoulli likelihood requires data in [0, 1], so `normalization` "
                "must be None."
            )
        self.kl_weight = not_negative("kl_weight", kl_weight)
        self.free_bits = not_negative("free_bits", free_bits)
        self.sampling = GaussianSampling(
            kl_weight, seed, free_bits, dtype=self.dtype_policy
        )
        self._assemble()

    def likelihood_loss(self, scale: float = 1.0) -> keras.losses.Loss:
        """Return the loss that makes the total the negative evidence lower bound.

        Args:
            scale: Standard deviation of the noise in the data, for the Gaussian
                likelihood. Defaults to 1.

        Returns:
            A loss in nats for `compile`.
        """
        if self.likelihood == "bernoulli":
            return BernoulliNegativeLogLikelihood(self.instance_shape)
        return GaussianNegativeLogLikelihood(self.instance_shape, scale)

    def posterior(self, x: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return mean and log variance of the code.

        Args:
            x: `(batch, *instance_shape)`, see `encode`.
            mask: See `encode`.

        Returns:
            Two tensors `(batch, code_dim)`; `encode` returns the mean.
        """
        features = self._features(self._inputs(x, mask))
        mean, log_variance = ops.split(features, 2, axis=-1)
        return mean, log_variance

    def _code(self, x: Tensor) -> Tensor:
        return ops.split(self._features(x), 2, axis=-1)[0]

    def _training_code(
        self, x: Tensor, training: bool | None = None, mask: Tensor | None = None
    ) -> Tensor:
        mean, log_variance = ops.split(self._features(x), 2, axis=-1)
        return self.sampling((mean, log_variance), mask=mask, training=training)

    def decode(self, code: Tensor) -> Tensor:
        """Decode codes to the mean of `p(x | z)`.

        Args:
            code: `(batch, code_dim)`.

        Returns:
            Instances in data units, `(batch, *instance_shape)`.
        """
        return super().decode(code)

    def _decoded(self, code: Tensor) -> Tensor:
        decoded = super()._decoded(code)
        return ops.sigmoid(decoded) if self.likelihood == "bernoulli" else decoded
