"""Contrastive encoder of groups, with a decoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from symae_keras._utils.arrays import Codes, Tensor
from symae_keras._utils.validation import invalid, not_negative, positive_finite
from symae_keras.layers._stack import call_chain
from symae_keras.layers.penalties import LossTerm, mean_of_present
from symae_keras.models.symae import SymAE

_LOWEST = -1e30
_SMALLEST_NORM = 1e-6


@keras.saving.register_keras_serializable(package="symae_keras")
class ContrastiveEncoder(SymAE):
    """Contrastive encoder of groups (SimCLR) with a decoder.

    The encoder maps every instance to a unit vector. The coherent code of several
    instances is the unit vector along their sum. The coherent encoder learns only from
    InfoNCE. The two halves of a group, the instances at odd and at even positions, are
    two views `c[i, 1]` and `c[i, 2]` of its state. They attract each other; views of
    the other groups of the batch repel. For a view `a`, let `p(a)` be the other view of
    the group and `A(a)` all other views:

        contrastive_loss = mean_a [ log sum_{b in A(a)} exp(c[a].c[b] / temperature)
                                    - c[a].c[p(a)] / temperature ].

    For groups of two, this is the loss of SimCLR. In larger groups, halves are better
    views than single instances if a single instance does not identify its state.

    Suppose that the two halves of a group have only the state in common and identify
    it. Then the encoder that minimises the loss in the limit of large batches
    identifies exactly the state, up to an invertible function (von Kuegelgen et al.).
    Small batches require less: detail that does not help to distinguish their groups
    does not have to be encoded.

    For redatuming, a decoder is trained together with the encoder. The coherent code,
    the unit vector along the sum over all instances, reaches the decoder and the
    nuisance encoder with a stopped gradient, so the reconstruction loss does not change
    it. The nuisance code has Gaussian noise during training, as in `SymAE`, and its
    encoder gets the coherent code as an input.

    Groups with fewer than two instances are excluded from the contrastive loss. Each
    replica contrasts the groups of its part of the batch.

    Args:
        instance_shape: Shape of one instance, channels last.
        coherent_dim: Size of the coherent code, a unit vector. It must be larger than
            the dimension of the state. Defaults to 8.
        nuisance_dim: Size of the nuisance code. Defaults to 8.
        encoder: `"dense"` (default), `"conv1d"`, `"conv2d"`, or a `keras.Layer` or
            `keras.Model` from one instance to features of any shape. The coherent
            branch uses it directly; the nuisance branch uses a copy of it, see `SymAE`.
        decoder: A layer from a vector of size `coherent_dim + nuisance_dim` to one
            instance. `None` (default) mirrors the encoder.
        temperature: Scale of the similarities. A smaller value gives more weight to the
            nearest instances of other groups. Defaults to 0.1.
        noise_strength: Strength of the Gaussian noise on the nuisance code, see
            `NuisanceDropout`. Defaults to 1.
        normalization: A `Standardization`, or a `keras.layers.Normalization` with a
            known mean and variance. Defaults to `None`.
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
        noise_strength: float = 1.0,
        normalization: keras.Layer | None = None,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        self.temperature = positive_finite("temperature", temperature)
        if kwargs.get("backbone") is not None:
            expected = "None, because codes on a sphere have no linear path"
            raise invalid("backbone", expected, repr(kwargs["backbone"]))
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
        """Return unit vectors per instance, float32 `(batch, instances, dim)`."""
        code = call_chain(self.coherent_head, self._coherent_features(x))
        return _unit(ops.cast(code, "float32"))

    def _mean_direction(self, directions: Tensor, mask: Tensor | None) -> Tensor:
        """Return the unit vector along the sum over present instances, in float32."""
        return _unit(ops.cast(self.pool(directions, mask=mask), "float32"))

    def _coherent(self, x: Tensor, mask: Tensor | None) -> Tensor:
        direction = self._mean_direction(self._directions(x), mask)
        return ops.cast(direction, self.compute_dtype)

    def _training_codes(
        self, x: Tensor, mask: Tensor | None, training: bool | None
    ) -> Codes:
        directions = self._directions(x)
        halves = _halves(directions, mask)
        views = [self._mean_direction(directions, half) for half in halves]
        both = ops.stack([ops.any(half, axis=1) for half in halves], axis=1)
        self.contrast(ops.stack(views, axis=1), mask=both)
        coherent = ops.stop_gradient(self._mean_direction(directions, mask))
        coherent = ops.cast(coherent, self.compute_dtype)
        nuisance = self._nuisance(x, coherent)
        return Codes(coherent, self.noise(nuisance, training=training))


class _InfoNCE(LossTerm):
    """Contrastive loss of two views per group.

    Call arguments:
        inputs: Unit vectors `(groups, 2, code)`, float32.
        mask: Boolean `(groups, 2)`, False for views without any instance.

    Output shape:
        Same as the input, which is returned unchanged.
    """

    def __init__(self, temperature: float, **kwargs: Any) -> None:
        super().__init__("contrastive_loss", **kwargs)
        self.autocast = False  # everything is computed in float32
        self.temperature = temperature
        self.built = True

    def call(self, inputs: Tensor, mask: Tensor) -> Tensor:
        paired = ops.all(mask, axis=1)
        first, second = inputs[:, 0], inputs[:, 1]
        views = ops.concatenate([first, second])
        partners = ops.concatenate([second, first])
        present = ops.concatenate([mask[:, 0], mask[:, 1]])
        # Computed by counting, because the batch size may be unknown.
        number = ops.cumsum(ops.ones_like(views[:, 0]))
        others = ops.logical_and(present, number[:, None] != number)
        similarity = ops.matmul(views, ops.transpose(views)) / self.temperature
        total = ops.logsumexp(ops.where(others, similarity, _LOWEST), axis=1)
        own = ops.sum(views * partners, axis=-1) / self.temperature
        loss = mean_of_present(total - own, ops.concatenate([paired, paired]))
        self.add_term(loss)
        return inputs


def _halves(directions: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return masks of the present instances at odd and at even group positions."""
    present = ops.ones_like(directions[..., 0], dtype="int32")
    if mask is not None:
        present = ops.cast(mask, "int32")
    odd = ops.cumsum(present, axis=1) % 2
    return present * odd > 0, present * (1 - odd) > 0


def _unit(vectors: Tensor) -> Tensor:
    """Scale vectors to length 1, except those that are almost 0."""
    squares = ops.sum(ops.square(vectors), axis=-1, keepdims=True)
    return vectors / ops.sqrt(ops.maximum(squares, _SMALLEST_NORM**2))
