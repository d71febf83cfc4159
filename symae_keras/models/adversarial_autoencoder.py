"""The adversarial autoencoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from symae_keras._utils.validation import not_negative, sizes
from symae_keras.layers.priors import PriorAdversary
from symae_keras.models.instances import GenerativeAutoencoder


@keras.saving.register_keras_serializable(package="symae_keras")
class AdversarialAutoencoder(GenerativeAutoencoder):
    """Adversarial autoencoder: a discriminator matches the codes to a normal prior.

    A dense discriminator learns to distinguish codes from samples of N(0, 1). The
    encoder learns to mislead it while also reconstructing the input. Both happen in one
    backward pass, in which the gradient from the discriminator to the encoder is
    reversed. (The paper alternates training steps instead.) See
    `symae_keras.layers.PriorAdversary`.

    The history therefore has one `adversary_loss`, which the discriminator minimises
    and the encoder maximises: the cross-entropy of the discriminator, averaged over
    codes and samples. It is `log 2 = 0.693` if the two cannot be distinguished, and
    small if the codes are far from the prior. A falling `loss` therefore does not
    always mean a better model: check that `reconstruction_loss` falls and
    `adversary_loss` stays near `log 2`.

    Args:
        instance_shape: Shape of one instance, channels last.
        code_dim: Size of the code. Defaults to 8.
        encoder: `"dense"` (default), `"conv1d"`, `"conv2d"`, or a `keras.Layer` or
            `keras.Model` from one instance to features, which are followed by a linear
            layer to the code.
        decoder: A layer from a code to one instance. `None` (default) mirrors the
            encoder.
        adversary_weight: Weight of the adversary for the encoder, relative to a
            reconstruction loss of weight 1. It does not change how the discriminator
            learns. Defaults to 0.01; chosen for losses that are a mean over pixels,
            such as `"mse"`, and data with a variance near 1.
        discriminator_units: Sizes of the hidden layers of the discriminator. Defaults
            to `(64, 64)`.
        normalization: A `Standardization`, or a `keras.layers.Normalization` with a
            known mean and variance. Defaults to `None`.
        seed: Integer seed of the draws from the prior, or `None`.

    Call arguments:
        inputs: Tensor `(batch, *instance_shape)`.

    Output shape:
        `(batch, *instance_shape)`.

    Reference:
        - [Makhzani et al., Adversarial autoencoders,
          2015](https://arxiv.org/abs/1511.05644)
        - [Ganin & Lempitsky, Unsupervised domain adaptation by backpropagation,
          2015](https://arxiv.org/abs/1409.7495): the reversed gradient

    Example:
    >>> import numpy as np
    >>> x = np.random.default_rng(0).normal(size=(32, 64)).astype("float32")
    >>> model = AdversarialAutoencoder(instance_shape=(64,), code_dim=3, seed=0)
    >>> model.compile(optimizer="adam", loss="mse")
    >>> sorted(model.fit(x, x, verbose=0).history)
    ['adversary_loss', 'loss', 'reconstruction_loss']
    >>> tuple(model.sample(5).shape)
    (5, 64)
    """

    def __init__(
        self,
        instance_shape: Sequence[int],
        code_dim: int = 8,
        encoder: str | keras.Layer = "dense",
        decoder: keras.Layer | None = None,
        adversary_weight: float = 0.01,
        discriminator_units: Sequence[int] = (64, 64),
        normalization: keras.Layer | None = None,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            instance_shape, code_dim, encoder, decoder, normalization, seed, **kwargs
        )
        self.adversary_weight = not_negative("adversary_weight", adversary_weight)
        self.discriminator_units = sizes(
            "discriminator_units", discriminator_units, "(64, 64)", or_empty=True
        )
        self.matching = PriorAdversary(
            self.discriminator_units,
            self.adversary_weight,
            seed,
            dtype=self.dtype_policy,
        )
        self._assemble()
