"""The Wasserstein autoencoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from symae_keras._utils.validation import not_negative
from symae_keras.layers.priors import MMDPenalty
from symae_keras.models.instances import GenerativeAutoencoder


@keras.saving.register_keras_serializable(package="symae_keras")
class WassersteinAutoencoder(GenerativeAutoencoder):
    """Wasserstein autoencoder whose penalty is a maximum mean discrepancy (WAE-MMD).

    With a deterministic encoder `f` and a decoder `D`, the loss is

        reconstruction(x, D(f(x))) + mmd_weight * MMD(f(x), samples of N(0, 1)).

    It makes the distribution of all codes follow the prior. (A `VAE` instead pulls the
    posterior of each instance towards the prior.) The discrepancy is computed per
    batch, so the batch size should be larger than the code: hundreds rather than tens.
    See `symae_keras.layers.MMDPenalty`.

    Args:
        instance_shape: Shape of one instance, channels last.
        code_dim: Size of the code. Defaults to 8.
        encoder: `"dense"` (default), `"conv1d"`, `"conv2d"`, or a `keras.Layer` or
            `keras.Model` from one instance to features, which are followed by a linear
            layer to the code.
        decoder: A layer from a code to one instance. `None` (default) mirrors the
            encoder.
        mmd_weight: Weight of the discrepancy. Defaults to 0.1; chosen for losses that
            are a mean over pixels, such as `"mse"`, and data with a variance near 1.
        normalization: A `Standardization`, or a `keras.layers.Normalization` with a
            known mean and variance. Defaults to `None`.
        seed: Integer seed of the draws from the prior, or `None`.

    Call arguments:
        inputs: Tensor `(batch, *instance_shape)`.

    Output shape:
        `(batch, *instance_shape)`.

    Reference:
        - [Tolstikhin et al., Wasserstein auto-encoders,
          2018](https://arxiv.org/abs/1711.01558)

    Example:
    >>> import numpy as np
    >>> x = np.random.default_rng(0).normal(size=(32, 64)).astype("float32")
    >>> model = WassersteinAutoencoder(instance_shape=(64,), code_dim=3, seed=0)
    >>> model.compile(optimizer="adam", loss="mse")
    >>> sorted(model.fit(x, x, verbose=0).history)
    ['loss', 'mmd_loss', 'reconstruction_loss']
    >>> tuple(model.sample(5).shape)
    (5, 64)
    """

    def __init__(
        self,
        instance_shape: Sequence[int],
        code_dim: int = 8,
        encoder: str | keras.Layer = "dense",
        decoder: keras.Layer | None = None,
        mmd_weight: float = 0.1,
        normalization: keras.Layer | None = None,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            instance_shape, code_dim, encoder, decoder, normalization, seed, **kwargs
        )
        self.mmd_weight = not_negative("mmd_weight", mmd_weight)
        self.matching = MMDPenalty(self.mmd_weight, seed=seed, dtype=self.dtype_policy)
        self._assemble()
