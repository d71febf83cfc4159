"""The squared error of a reconstruction as a loss term."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from symae_keras.arguments import not_negative
from symae_keras.layers.loss_term import LossTerm
from symae_keras.typing import Shape, Tensor


@keras.saving.register_keras_serializable(package="symae_keras")
class ReconstructionPenalty(LossTerm):
    """Adds the mean squared error of a reconstruction to the loss.

    It is for models whose output is something else, such as a segmentation, and that
    have to reconstruct their input on the side. The mean is over all numbers and is
    computed in float32; masked ones count as reconstructed.

    Args:
        weight: Weight of the loss, not negative. Defaults to 0.1.

    Call arguments:
        inputs: Pair of the truth and its reconstruction, tensors of one shape.
        pixel_mask: Boolean tensor of that shape, True = good, or `None`.

    Output shape:
        Same as the reconstruction, which is handed on.

    Example:
    >>> from keras import ops
    >>> layer = ReconstructionPenalty(weight=1.0)
    >>> reconstruction = layer((ops.ones((4, 3)), 3.0 * ops.ones((4, 3))))
    >>> float(layer.losses[0])
    4.0
    """

    def __init__(self, weight: float = 0.1, **kwargs: Any) -> None:
        super().__init__("reconstruction_loss", **kwargs)
        self.weight = not_negative("weight", weight)
        self.autocast = False  # the loss is computed in float32
        self.built = True

    def call(
        self, inputs: tuple[Tensor, Tensor], pixel_mask: Tensor | None = None
    ) -> Tensor:
        """Add the penalty; the reconstruction stays as it is."""
        truth, reconstruction = (ops.cast(each, "float32") for each in inputs)
        error = ops.square(reconstruction - truth)
        if pixel_mask is not None:
            error = ops.where(ops.cast(pixel_mask, "bool"), error, 0.0)
        self.add_term(self.weight * ops.mean(error))
        return inputs[1]

    def compute_output_shape(self, input_shape: tuple[Shape, Shape]) -> Shape:
        """Shape of the reconstruction."""
        return tuple(input_shape[1])

    def get_config(self) -> dict[str, Any]:
        """Arguments that rebuild the layer."""
        return {**super().get_config(), "weight": self.weight}
