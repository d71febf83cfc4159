"""A contrastive encoder of groups, with a decoder behind it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from symae_keras._utils.arrays import Codes, Tensor
from symae_keras._utils.validation import not_negative, positive_finite
from symae_keras.layers._stack import call_chain
from symae_keras.layers.penalties import LossTerm
from symae_keras.models.symae import SymAE

_LOWEST = -1e30
_SMALLEST_NORM = 1e-6


@keras.saving.register_keras_serializable(package="symae_keras")
class ContrastiveEncoder(SymAE):
    """Contrastive encoder of groups (SimCLR) with a decoder trained behind it.

    Every instance gives a unit vector `c[i, t]`. The coherent encoder learns from
    InfoNCE alone: instances of one group attract each other, instances of other groups
    in the batch repel. For an instance `a`, with `P(a)` the other instances of its
    group and `A(a)` all other instances of the batch,

        contrastive_loss = mean_a mean_{p in P(a)}
                           -log [ exp(c[a].c[p] / temperature)
                                  / sum_{b in A(a)} exp(c[a].c[b] / temperature) ],

    which is the loss of SimCLR for groups of two. If groups share nothing but their
    state, and nuisances vary independently, the encoder that minimises it identifies
    the state up to an invertible function, and nothing else (von Kuegelgen et al.).
    How nuisances look does not matter, and nothing is reconstructed: what is no help to
    distinguish the groups of a batch is not encoded.

    To redatum, a decoder is trained behind the encoder. The coherent code, the unit
    vector along the sum of `c[i, t]`, reaches the decoder and the nuisance encoder with
    stopped gradient, so that the reconstruction loss does not change it. The nuisance
    code has Gaussian noise in training, as in `SymAE`, and its encoder sees the
    coherent code.

    Groups with fewer than two instances do not count in the contrastive loss. Each
    replica contrasts the groups of its own part of the batch. It needs batches of many
    groups.

    Args:
        instance_shape: Shape of one instance, channels last.
        coherent_dim: Size of the coherent code, a unit vector: one more than the
            dimension of the state, at least. Defaults to 8.
        nuisance_dim: Size of the nuisance code. Defaults to 8.
        encoder: `"dense"` (default), `"conv1d"`, `"conv2d"`, or a `keras.Layer` or
            `keras.Model` from one instance to features of any shape. The coherent
            branch uses it as it is; the nuisance branch uses a copy of it, see `SymAE`.
        decoder: A layer from a vector of size `coherent_dim + nuisance_dim` to one
            instance. `None` (default) mirrors the encoder.
        temperature: Scale of the similarities; the smaller, the more the nearest
            instances of other groups count. Defaults to 0.1.
        noise_strength: Strength of the Gaussian noise on the nuisance code, see
            `NuisanceDropout`. Defaults to 0.5.
        normalization: A `Standardization`, or a `keras.layers.Normalization` that knows
            its mean and variance. Defaults to `None`.
        seed: Integer seed of the noise, or `None`.

    Call arguments:
        inputs: Tensor `(batch, instances, *instance_shape)`, or a dict with
            `"instances"` and `"mask"` (boolean `(batch, instances)`, True = present).
        training: Whether to add noise.

    Output shape:
        `(batch, instances, *instance_shape)`.

    Reference:
        - [Chen et al., A simple framework for contrastive learning of visual
          representations, 2020](https://arxiv.org/abs/2002.05709)
        - [Khosla et al., Supervised contrastive learning,
          2020](https://arxiv.org/abs/2004.11362): several positives, outside of the
          logarithm
        - [von Kuegelgen et al., Self-supervised learning with data augmentations
          provably isolates content from style,
          2021](https://arxiv.org/abs/2106.04619)

    Example:
    >>> import numpy as np
    >>> x = np.random.default_rng(0).normal(size=(32, 4, 64)).astype("float32")
    >>> model = ContrastiveEncoder((64,), coherent_dim=3, nuisance_dim=2, seed=0)
    >>> model.compile(optimizer="adam", loss="mse")
    >>> sorted(model.fit(x, x, verbose=0).history)
    ['contrastive_loss', 'loss', 'reconstruction_loss']
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
        temperature: float = 0.1,
        noise_strength: float = 0.5,
        normalization: keras.Layer | None = None,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        self.temperature = positive_finite("temperature", temperature)
        sizes = (instance_shape, coherent_dim, nuisance_dim)
        super().__init__(
            *sizes,
            encoder,
            decoder,
            noise_strength=not_negative("noise_strength", noise_strength),
            normalization=normalization,
            seed=seed,
            **kwargs,
        )

    def _make_networks(self) -> None:
        super()._make_networks()
        self.contrast = _InfoNCE(
            self.temperature, dtype=self.dtype_policy, name="contrast"
        )

    def _directions(self, x: Tensor) -> Tensor:
        """Unit vector of each instance, float32 `(batch, instances, coherent_dim)`."""
        code = call_chain(self.coherent_head, self._coherent_features(x))
        return _unit(ops.cast(code, "float32"))

    def _mean_direction(self, directions: Tensor, mask: Tensor | None) -> Tensor:
        pooled = ops.cast(self.pool(directions, mask=mask), "float32")
        return ops.cast(_unit(pooled), self.compute_dtype)

    def _coherent(self, x: Tensor, mask: Tensor | None) -> Tensor:
        return self._mean_direction(self._directions(x), mask)

    def _training_codes(
        self, x: Tensor, mask: Tensor | None, training: bool | None
    ) -> Codes:
        directions = self.contrast(self._directions(x), mask=mask)
        coherent = ops.stop_gradient(self._mean_direction(directions, mask))
        nuisance = self._nuisance(x, coherent)
        return Codes(coherent, self.noise(nuisance, training=training))


class _InfoNCE(LossTerm):
    """Adds the contrastive loss of unit vectors `(batch, instances, code)`."""

    def __init__(self, temperature: float, **kwargs: Any) -> None:
        super().__init__("contrastive_loss", **kwargs)
        self.autocast = False  # all is computed in float32
        self.temperature = temperature
        self.built = True

    def call(self, inputs: Tensor, mask: Tensor | None = None) -> Tensor:
        ones = ops.ones_like(inputs[..., 0])
        present = ones > 0.0 if mask is None else ops.cast(mask, "bool")
        # By counting, since the batch may have no known size.
        group = ops.reshape(ops.cumsum(ones, axis=0), (-1,))
        number = ops.cumsum(ops.reshape(ones, (-1,)))
        present = ops.reshape(present, (-1,))
        flat = ops.reshape(inputs, (-1, inputs.shape[-1]))

        both = ops.logical_and(present[:, None], present)
        others = ops.logical_and(both, number[:, None] != number)
        positive = ops.logical_and(others, group[:, None] == group)
        similarity = ops.matmul(flat, ops.transpose(flat)) / self.temperature
        rivals = ops.where(others, similarity, _LOWEST)
        log_share = similarity - ops.logsumexp(rivals, axis=1, keepdims=True)
        count = ops.sum(ops.cast(positive, "float32"), axis=1)
        total = -ops.sum(ops.where(positive, log_share, 0.0), axis=1)
        of_each = total / ops.maximum(count, 1.0)
        anchors = ops.sum(ops.cast(count > 0.0, "float32"))
        self.add_term(ops.sum(of_each) / ops.maximum(anchors, 1.0))
        return inputs


def _unit(vectors: Tensor) -> Tensor:
    """Vectors of length 1, but for those that are almost 0."""
    squares = ops.sum(ops.square(vectors), axis=-1, keepdims=True)
    return vectors / ops.sqrt(ops.maximum(squares, _SMALLEST_NORM**2))
