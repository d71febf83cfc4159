"""What the autoencoders share that make new instances from a prior."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from symae_keras.layers.seed import SeedGenerator
from symae_keras.models.instance_autoencoder import InstanceAutoencoder
from symae_keras.typing import Tensor


class GenerativeAutoencoder(InstanceAutoencoder):
    """Base of the autoencoders of single instances whose codes have the prior N(0, 1).

    Args:
        instance_shape: See `InstanceAutoencoder`.
        code_dim: Size of the code.
        encoder: See `InstanceAutoencoder`.
        decoder: See `InstanceAutoencoder`.
        normalization: See `InstanceAutoencoder`.
        seed: Integer seed of all draws, or `None`.
    """

    def __init__(
        self,
        instance_shape: Sequence[int],
        code_dim: int,
        encoder: str | keras.Layer,
        decoder: keras.Layer | None,
        normalization: keras.Layer | None,
        seed: int | None,
        **kwargs: Any,
    ) -> None:
        if code_dim is None:
            raise ValueError("`code_dim` must be a positive integer. Received: None")
        super().__init__(
            instance_shape, code_dim, encoder, decoder, normalization, seed, **kwargs
        )
        self.sample_generator = SeedGenerator(seed)

    def sample(self, n_samples: int) -> Tensor:
        """New instances, decoded from codes that are drawn from the prior.

        Args:
            n_samples: How many.

        Returns:
            Tensor `(n_samples, *instance_shape)`.
        """
        code = keras.random.normal(
            (n_samples, self.code_dim), dtype="float32", seed=self.sample_generator
        )
        return self.decode(code)
