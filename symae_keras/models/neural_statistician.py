"""The neural statistician."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from symae_keras.layers.deep_sets_pooling import DeepSetsPooling
from symae_keras.layers.gaussian_sampling import GaussianSampling
from symae_keras.layers.stack import call_chain
from symae_keras.models.grouped_autoencoder import (
    Codes,
    GroupedAutoencoder,
    join,
    n_present,
)
from symae_keras.typing import Tensor


@keras.saving.register_keras_serializable(package="symae_keras")
class NeuralStatistician(GroupedAutoencoder):
    """Neural statistician: a latent context for each data set, here for each group.

    A statistic network pools the instances to `q(C | X)`, one context for the group;
    `q(z[t] | x[t], C)` gives each instance a latent variable whose prior `p(z | C)` is
    learned. The loss, for a group of `T` instances,

        1/T [ sum_t -log p(x[t] | C, z[t])
              + kl_weight * ( KL(q(C | X) || N(0, 1))
                              + sum_t KL(q(z[t] | x[t], C) || p(z | C)) ) ],

    counts the divergence of the context once.

    The nuisance code is `z[t]` measured by its prior, `(z[t] - mean(C)) / stddev(C)`:
    what the learned prior tells of `z` belongs to the state and moves with it when
    groups swap codes. One layer of latent variables, as for data without a hierarchy.

    Args:
        instance_shape: Shape of one instance, channels last.
        coherent_dim: Size of the context. Defaults to 8.
        nuisance_dim: Size of the instance's latent variable. Defaults to 8.
        encoder: `"dense"` (default), `"conv1d"`, `"conv2d"`, or a `keras.Layer` or
            `keras.Model` from one instance to features of any shape. The statistic
            network uses it as it is; the instance branch uses a fresh copy of it.
        decoder: A layer from a vector of size `coherent_dim + nuisance_dim` to one
            instance. `None` (default) mirrors the encoder.
        kl_weight: Weight of both divergences; `symae_keras.callbacks.KLSchedule` can
            anneal it. Defaults to 0.001; chosen for losses that are relative to the
            variance of the data and averaged over pixels.
        normalization: A `keras.layers.Normalization` that knows its mean and variance.
            Defaults to `None`.
        seed: Integer seed of the sampled codes, or `None`.

    Call arguments:
        inputs: Tensor `(batch, instances, *instance_shape)`, or a dict with
            `"instances"` and `"mask"` (boolean `(batch, instances)`, True = present).
        training: Whether to sample the codes; else their means are decoded.

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
        normalization: keras.layers.Normalization | None = None,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            instance_shape,
            coherent_dim,
            nuisance_dim,
            encoder,
            decoder,
            normalization,
            seed,
            **kwargs,
        )
        self.kl_weight = float(kl_weight)
        self._make_networks()
        dtype = self.dtype_policy
        self.pool = DeepSetsPooling("mean", dtype=dtype)
        self.coherent_head = self._head(2 * self.coherent_dim, "coherent")
        self.nuisance_head = self._head(2 * self.nuisance_dim, "nuisance")
        self.prior_head = self._head(2 * self.nuisance_dim, "prior")
        self.coherent_sampling = GaussianSampling(
            kl_weight, seed, term_name="coherent_kl_loss", dtype=dtype
        )
        # Another seed: the two codes would be drawn from the same numbers.
        self.nuisance_sampling = GaussianSampling(
            kl_weight,
            None if seed is None else seed + 1,
            term_name="nuisance_kl_loss",
            dtype=dtype,
        )
        self.build()

    def _context(self, x: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """Mean and log variance of `q(C | X)`."""
        pooled = self.pool(self._coherent_features(x), mask=mask)
        mean, log_variance = ops.split(
            call_chain(self.coherent_head, pooled), 2, axis=-1
        )
        return mean, log_variance

    def _posterior(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance of `q(z[t] | x[t], C)`."""
        features = join(context, self._nuisance_features(x))
        mean, log_variance = ops.split(
            call_chain(self.nuisance_head, features), 2, axis=-1
        )
        return mean, log_variance

    def _prior(self, context: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance of `p(z | C)`, with an axis for the instances."""
        parameters = call_chain(self.prior_head, context)[:, None, :]
        mean, log_variance = ops.split(parameters, 2, axis=-1)
        return mean, ops.clip(log_variance, -20.0, 20.0)

    def _measured(self, latent: Tensor, context: Tensor) -> Tensor:
        mean, log_variance = self._prior(context)
        return (latent - mean) * ops.exp(-0.5 * log_variance)

    def _codes(self, x: Tensor, mask: Tensor | None) -> Codes:
        context, _ = self._context(x, mask)
        latent, _ = self._posterior(x, context)
        return Codes(context, self._measured(latent, context))

    def _training_codes(
        self, x: Tensor, mask: Tensor | None, training: bool | None
    ) -> Codes:
        context = self.coherent_sampling(
            self._context(x, mask),
            # A group without any instance is padding of the batch and costs nothing.
            instance_mask=None if mask is None else ops.any(mask, axis=1),
            per=n_present(x, mask),
            training=training,
        )
        latent = self.nuisance_sampling(
            self._posterior(x, context),
            instance_mask=mask,
            prior=self._prior(context),
            training=training,
        )
        return Codes(context, self._measured(latent, context))

    def decode(self, coherent: Tensor, nuisance: Tensor) -> Tensor:
        """Decode one context a group with the nuisance code of each instance.

        Args:
            coherent: `(batch, coherent_dim)`.
            nuisance: `(batch, instances, nuisance_dim)`, measured by the prior.

        Returns:
            Instances in data units, `(batch, instances, *instance_shape)`.
        """
        coherent = ops.convert_to_tensor(coherent, dtype=self.compute_dtype)
        nuisance = ops.convert_to_tensor(nuisance, dtype=self.compute_dtype)
        mean, log_variance = self._prior(coherent)
        return super().decode(coherent, mean + ops.exp(0.5 * log_variance) * nuisance)
