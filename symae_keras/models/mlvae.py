"""The multi-level variational autoencoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import keras
from keras import ops

from symae_keras._utils.arrays import Codes, Tensor
from symae_keras._utils.validation import not_negative
from symae_keras.layers._stack import call_chain
from symae_keras.layers.pooling import GaussianPooling
from symae_keras.models.groups import GroupedAutoencoder


@keras.saving.register_keras_serializable(package="symae_keras")
class MLVAE(GroupedAutoencoder):
    """Multi-level variational autoencoder (ML-VAE).

    The encoder maps every instance to a Gaussian over the code of its group,
    `N(m[t], v[t])`, and to one over its own code. The posterior of the group code is
    the product of the instances' Gaussians, weighted by precision. One code is drawn
    from it for the whole group. For a group of `T` instances, the loss

        1/T [ sum_t -log p(x[t] | C, N[t]) + kl_weight * ( KL(C) + sum_t KL(N[t]) ) ]

    counts the divergence of the group code once. It is the negative evidence lower
    bound per instance if `kl_weight` is 1 and the loss given to `compile` is a negative
    log likelihood in nats (`symae_keras.losses.GaussianNegativeLogLikelihood`). If the
    loss is a mean over pixels, the weight that corresponds to a bound is small.

    The nuisance encoder uses only the instance. If a single instance does not
    distinguish its nuisance from its state, the model fails like the original SymAE.

    Args:
        instance_shape: Shape of one instance, channels last.
        coherent_dim: Size of the group code. Defaults to 8.
        nuisance_dim: Size of the instance code. Defaults to 8.
        encoder: `"dense"` (default), `"conv1d"`, `"conv2d"`, or a `keras.Layer` or
            `keras.Model` from one instance to features of any shape. The group branch
            uses it directly; the instance branch uses a copy of it, see `SymAE`.
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
        - [Bouchacourt, Tomioka & Nowozin, Multi-level variational autoencoder,
          2018](https://arxiv.org/abs/1705.08841)

    Example:
    >>> import numpy as np
    >>> x = np.random.default_rng(0).normal(size=(32, 4, 64)).astype("float32")
    >>> model = MLVAE(instance_shape=(64,), coherent_dim=3, nuisance_dim=2, seed=0)
    >>> model.compile(optimizer="adam", loss="mse")
    >>> sorted(model.fit(x, x, verbose=0).history)[:2]
    ['coherent_kl_loss', 'loss']
    >>> tuple(model.redatum(coherent_from=x[:5], nuisance_from=x[5:10]).shape)
    (5, 4, 64)
    """

    _pooling: ClassVar[str] = "product"

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
        sizes = (instance_shape, coherent_dim, nuisance_dim)
        super().__init__(*sizes, encoder, decoder, normalization, seed, **kwargs)
        self.kl_weight = not_negative("kl_weight", kl_weight)
        self._make_networks()
        self.coherent_head = self._head(2 * self.coherent_dim, "coherent")
        self.nuisance_head = self._head(2 * self.nuisance_dim, "nuisance")
        self.pool = GaussianPooling(self._pooling, dtype=self.dtype_policy)
        self.coherent_sampling = self._sampling("coherent", kl_weight)
        self.nuisance_sampling = self._sampling("nuisance", kl_weight)
        self.build((None, None, *self.instance_shape))

    def _gaussians(
        self, x: Tensor
    ) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """Return mean and log variance of each instance for both codes."""
        group = call_chain(self.coherent_head, self._coherent_features(x))
        own = call_chain(self.nuisance_head, self._nuisance_features(x))
        return tuple(ops.split(group, 2, axis=-1)), tuple(ops.split(own, 2, axis=-1))

    def _posteriors(
        self, x: Tensor, mask: Tensor | None
    ) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """Return mean and log variance of the group code and of the instance codes."""
        group, own = self._gaussians(x)
        return self.pool(group, mask=mask), own

    def group_posterior(
        self, x: Tensor, mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return mean and log variance of the group code given the group.

        Args:
            x: See `encode`.
            mask: See `encode`.

        Returns:
            Two float32 tensors `(batch, coherent_dim)`.
        """
        return self._posteriors(*self._clean(x, mask))[0]

    def instance_posterior(
        self, x: Tensor, coherent: Tensor, mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return mean and log variance of the nuisance codes given the instances.

        Args:
            x: See `encode`.
            coherent: Group codes `(batch, coherent_dim)`. These posteriors do not
                depend on them; those of `SymAE` do.
            mask: See `encode`.

        Returns:
            Two tensors `(batch, instances, nuisance_dim)`.
        """
        return self._posteriors(*self._clean(x, mask))[1]

    def instance_prior(self, coherent: Tensor) -> tuple[Tensor, Tensor] | None:
        """Return `None`: the prior of the nuisance codes is a standard normal."""
        return None

    def _codes(self, x: Tensor, mask: Tensor | None) -> Codes:
        (coherent, _), (nuisance, _) = self._posteriors(x, mask)
        return Codes(ops.cast(coherent, self.compute_dtype), nuisance)

    def _training_codes(
        self, x: Tensor, mask: Tensor | None, training: bool | None
    ) -> Codes:
        group, own = self._posteriors(x, mask)
        coherent = self._sampled_coherent(group, x, mask, training)
        nuisance = self.nuisance_sampling(own, mask=mask, training=training)
        return Codes(coherent, nuisance)
