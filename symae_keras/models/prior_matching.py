"""What the autoencoders share whose codes, taken together, are to follow a prior."""

from __future__ import annotations

from symae_keras.layers.loss_term import LossTerm
from symae_keras.models.generative import GenerativeAutoencoder
from symae_keras.typing import Tensor


class PriorMatchingAutoencoder(GenerativeAutoencoder):
    """Base of the autoencoders that match the codes of a batch to draws from N(0, 1).

    A subclass makes `matching`, a layer that hands on codes and adds a loss of those
    that its `instance_mask` leaves. Each instance has one code without noise, unlike
    that of a `VAE`.

    Args:
        instance_shape: See `InstanceAutoencoder`.
        code_dim: Size of the code.
        encoder: See `InstanceAutoencoder`.
        decoder: See `InstanceAutoencoder`.
        normalization: See `InstanceAutoencoder`.
        seed: Integer seed of all draws, or `None`.
    """

    matching: LossTerm

    def _assemble(self) -> None:
        self.matching.build((None, self.code_dim))
        super()._assemble()

    def _training_code(
        self,
        x: Tensor,
        training: bool | None = None,
        instance_mask: Tensor | None = None,
    ) -> Tensor:
        return self.matching(self._code(x), instance_mask=instance_mask)
