"""The neural statistician."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from symae_keras._utils.arrays import Tensor
from symae_keras._utils.validation import not_negative
from symae_keras.models.symae import SymAE


@keras.saving.register_keras_serializable(package="symae_keras")
class NeuralStatistician(SymAE):
    """Neural statistician: a latent context for each data set, here for each group.

    A statistic network pools the instances to `q(C | X)`, one context per group.
    `q(z[t] | x[t], C)` gives each instance a latent variable with a learned prior
    `p(z | C)`. For a group of `T` instances, the loss

        1/T [ sum_t -log p(x[t] | C, z[t])
              + kl_weight * ( KL(q(C | X) || N(0, 1))
                              + sum_t KL(q(z[t] | x[t], C) || p(z | C)) ) ]

    counts the divergence of the context once.

    The nuisance code is the latent variable `z[t]` itself. The learned prior depends on
    the state, and this information is not exchanged when groups swap codes. The model
    therefore redatums badly if states change the prior. `SymAE` with variational noise
    is trained in the same way, but first standardises `z[t]` with the prior. The model
    has one layer of latent variables, as for data without a hierarchy.

    Args:
        instance_shape: Shape of one instance, channels last.
        coherent_dim: Size of the context. Defaults to 8.
        nuisance_dim: Size of the instance's latent variable. Defaults to 8.
        encoder: `"dense"` (default), `"conv1d"`, `"conv2d"`, or a `keras.Layer` or
            `keras.Model` from one instance to features of any shape. The statistic
            network uses it directly; the instance branch uses a copy of it, see
            `SymAE`.
        decoder: A layer from a vector of size `coherent_dim + nuisance_dim` to one
            instance. `None` (default) mirrors the encoder.
        kl_weight: Weight of both divergences; `symae_keras.callbacks.KLSchedule` can
            anneal it. Defaults to 0.001; chosen for losses that are relative to the
            variance of the data and averaged over pixels.
        normalization: A `Standardization`, or a `keras.layers.Normalization` with a
            known mean and variance. Defaults to `None`.
        seed: Integer seed of the sampled codes, or `None`.

    Call arguments:
        inputs: Tensor `(batch, instances, *instance_shape)`, or a dict with
            `"instances"` and `"mask"` (boolean `(batch, instances)`, True = present).
        training: Whether to sample the codes. Otherwise, their means are decoded.

    Output shape:
        `(batch, instances, *instance_shape)`.

    Reference:
        - [Edwards & Storkey, Towards a neural statistician,
          2017](https://arxiv.org/abs/1606.02185)

    Example:
    >>> import numpy as np
    >>> x = np.random.default_rng(0).normal(size=(32, 4, 64)).astype("float32")
    >>> model = NeuralStatistician((64,), coherent_dim=3, nuisance_dim=2, seed=0)
    >>> model.compile(optimizer="adam", loss="mse")
    >>> history = model.fit(x, x, verbose=0)
    >>> tuple(model.redatum(coherent_from=x[:5], nuisance_from=x[5:10]).shape)
    (5, 4, 64)
    """

    def __init__(
        self,
        instance_shape: Sequence[int],
        coherent_dim: int = 8,
        nuisance_dim: int = 8,
        encoder: str | keras.Layer = "dense",
        decoder: keras.Layer | None = None,
        kl_weight: float = 1e-3,
        normalization: keras.Layer | None = None,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        self.kl_weight = not_negative("kl_weight", kl_weight)
        sizes = (instance_shape, coherent_dim, nuisance_dim)
        super().__init__(
            *sizes,
            encoder,
            decoder,
            nuisance_noise="variational",
            noise_strength=kl_weight,
            normalization=normalization,
            seed=seed,
            **kwargs,
        )

    def instance_posterior(
        self, x: Tensor, coherent: Tensor, mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return mean and log variance of the latent variables, given the context.

        Args:
            x: See `encode`.
            coherent: Contexts `(batch, coherent_dim)`.
            mask: See `encode`.

        Returns:
            Two tensors `(batch, instances, nuisance_dim)`.
        """
        x, mask = self._clean(x, mask)
        coherent = ops.convert_to_tensor(coherent, dtype=self.compute_dtype)
        mean, log_variance = ops.split(self._nuisance(x, coherent), 2, axis=-1)
        return mean, log_variance

    def instance_prior(self, coherent: Tensor) -> tuple[Tensor, Tensor] | None:
        """Return mean and log variance of the learned prior `p(z | C)`.

        Args:
            coherent: Contexts `(batch, coherent_dim)`.

        Returns:
            Two tensors `(batch, 1, nuisance_dim)`.
        """
        return self._prior(ops.convert_to_tensor(coherent, dtype=self.compute_dtype))

    def _code_of(self, latent: Tensor, coherent: Tensor) -> Tensor:
        return latent

    def _latent_of(self, nuisance: Tensor, coherent: Tensor) -> Tensor:
        return nuisance
