"""Group-based variational autoencoder with an adversary of the nuisance codes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from symae_keras._utils.arrays import Codes, Tensor
from symae_keras._utils.validation import not_negative, sizes
from symae_keras.layers._stack import build_chain, call_chain
from symae_keras.layers.penalties import LossTerm, first, mean_of_present
from symae_keras.layers.priors import GradientReversal
from symae_keras.models.gvae import GVAE


@keras.saving.register_keras_serializable(package="symae_keras")
class AdversarialGVAE(GVAE):
    """Group-based variational autoencoder with adversarially purified nuisance codes.

    Grouped autoencoders may also encode the state in the nuisance codes, because their
    objective does not prevent it. This model also minimises the mutual information
    between the nuisance code of an instance and the other instances of its group, which
    have the state in common. A discriminator `d` learns to distinguish pairs from one
    group and pairs from two groups,

        (c[i, t], N[i, t])   against   (c[j, t], N[i, t]),   j != i,

    where `c[i, t]` is the mean of the group code according to the other instances of
    group `i`. `d` is the logit of the discriminator. The loss

        (mean softplus(-d(c[i, t], N[i, t])) + mean softplus(d(c[j, t], N[i, t]))) / 2

    is added to that of `GVAE`. The discriminator minimises it. The nuisance codes reach
    it through a `symae_keras.layers.GradientReversal`, and group codes get no gradient
    from it. As in `symae_keras.layers.PriorAdversary`, the nuisance encoder minimises
    `adversary_weight` times the same loss with the two kinds of pairs exchanged. Its
    gradient does not vanish where the discriminator is certain. The value in the
    history is `log 2 = 0.693` if the nuisance codes are independent of the state, and
    it is smaller the more of the state they encode. A falling `loss` therefore does not
    always mean a better model.

    The aim is the same as in the paper: an adversary that minimises the mutual
    information of nuisance codes and content. This model does not reproduce the
    networks of the paper or its alternating training steps.

    The partner `j` of a group is the previous group in the batch. Groups with fewer
    than two instances are excluded. In a batch of one group, `j` equals `i`, so nothing
    is learned. Each replica pairs the groups of its part of the batch.

    Args:
        instance_shape: Shape of one instance, channels last.
        coherent_dim: Size of the group code. Defaults to 8.
        nuisance_dim: Size of the instance code. Defaults to 8.
        encoder: `"dense"` (default), `"conv1d"`, `"conv2d"`, or a `keras.Layer` or
            `keras.Model` from one instance to features of any shape. The group branch
            uses it directly; the instance branch uses a copy of it, see `SymAE`.
        decoder: A layer from a vector of size `coherent_dim + nuisance_dim` to one
            instance. `None` (default) mirrors the encoder.
        kl_weight: Weight of both divergences, see `MLVAE`. Defaults to 0.001.
        adversary_weight: Weight of the adversary for the nuisance encoder. It does not
            change how the discriminator learns. Defaults to 1.
        discriminator_units: Sizes of the hidden layers of the discriminator. Defaults
            to `(64, 64)`.
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
        - [Nemeth, Adversarial disentanglement with grouped observations,
          2020](https://arxiv.org/abs/2001.04761)
        - [Ganin & Lempitsky, Unsupervised domain adaptation by backpropagation,
          2015](https://arxiv.org/abs/1409.7495): the reversed gradient

    Example:
    >>> import numpy as np
    >>> x = np.random.default_rng(0).normal(size=(32, 4, 64)).astype("float32")
    >>> model = AdversarialGVAE((64,), coherent_dim=3, nuisance_dim=2, seed=0)
    >>> model.compile(optimizer="adam", loss="mse")
    >>> sorted(model.fit(x, x, verbose=0).history)[:3]
    ['adversary_loss', 'coherent_kl_loss', 'loss']
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
        adversary_weight: float = 1.0,
        discriminator_units: Sequence[int] = (64, 64),
        normalization: keras.Layer | None = None,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        self.adversary_weight = not_negative("adversary_weight", adversary_weight)
        self.discriminator_units = sizes(
            "discriminator_units", discriminator_units, "(64, 64)", or_empty=True
        )
        super().__init__(
            instance_shape,
            coherent_dim,
            nuisance_dim,
            encoder,
            decoder,
            kl_weight,
            normalization,
            seed,
            **kwargs,
        )

    def _make_networks(self) -> None:
        super()._make_networks()
        self.adversary = _GroupAdversary(
            self.discriminator_units,
            self.adversary_weight,
            dtype=self.dtype_policy,
            name="adversary",
        )
        self.adversary.build(
            ((None, None, self.coherent_dim), (None, None, self.nuisance_dim))
        )

    def _training_codes(
        self, x: Tensor, mask: Tensor | None, training: bool | None
    ) -> Codes:
        each, own = self._gaussians(x)
        group = self.pool(each, mask=mask)
        coherent = self._sampled_coherent(group, x, mask, training)
        nuisance = self.nuisance_sampling(own, mask=mask, training=training)
        self.adversary((each[0], nuisance), mask=mask)
        return Codes(coherent, nuisance)


class _GroupAdversary(LossTerm):
    """Discriminator of pairs of a group code and a nuisance code.

    Call arguments:
        inputs: The group-code mean of each instance, and the nuisance codes, tensors
            `(batch, instances, elements)`.
        mask: Boolean `(batch, instances)`, True = present, or `None`.

    Output shape:
        That of the nuisance codes, which are returned unchanged.
    """

    def __init__(self, units: Sequence[int], strength: float, **kwargs: Any) -> None:
        super().__init__("adversary_loss", **kwargs)
        dtype = self.dtype_policy
        self.reversal = GradientReversal(strength, dtype=dtype)
        dense = keras.layers.Dense
        hidden = (dense(n, activation="gelu", dtype=dtype) for n in units)
        self.discriminator = [*hidden, dense(1, dtype=dtype)]

    def build(self, input_shape: Any) -> None:
        coherent, nuisance = input_shape
        build_chain(self.discriminator, (*coherent[:-1], coherent[-1] + nuisance[-1]))

    def call(self, inputs: tuple[Tensor, Tensor], mask: Tensor | None = None) -> Tensor:
        each, nuisance = inputs
        others, present = _mean_of_the_others(ops.stop_gradient(each), first(mask))
        others = ops.cast(others, self.compute_dtype)
        elsewhere = ops.roll(others, 1, axis=0)
        present = ops.logical_and(present, ops.roll(present, 1, axis=0))
        fixed, reversed_codes = ops.stop_gradient(nuisance), self.reversal(nuisance)
        same, same_again = (self._logits(others, n) for n in (fixed, reversed_codes))
        other, other_again = (
            self._logits(elsewhere, n) for n in (fixed, reversed_codes)
        )
        cross_entropy = ops.softplus(-same) + ops.softplus(other)
        # This term is 0, and so is its gradient for the discriminator. Its gradient for
        # the codes remains and does not vanish where the discriminator is certain.
        misled = ops.softplus(same) - ops.softplus(same_again)
        misled = misled + ops.softplus(-other) - ops.softplus(-other_again)
        self.add_term(mean_of_present(0.5 * (cross_entropy + misled), present))
        return nuisance

    def _logits(self, coherent: Tensor, nuisance: Tensor) -> Tensor:
        pairs = ops.concatenate([coherent, nuisance], axis=-1)
        return ops.cast(call_chain(self.discriminator, pairs), "float32")[..., 0]

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape[1]


def _mean_of_the_others(each: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return means over the other present instances of the group, and if they exist."""
    each = ops.cast(each, "float32")
    present = ops.ones_like(each[..., :1])
    if mask is not None:
        present = ops.expand_dims(ops.cast(mask, "float32"), -1)
    total = ops.sum(present * each, axis=1, keepdims=True)
    count = ops.sum(present, axis=1, keepdims=True) - present
    mean = (total - present * each) / ops.maximum(count, 1.0)
    return mean, ops.logical_and(present > 0.0, count > 0.0)[..., 0]
