"""Weight decay as a loss term."""

from __future__ import annotations

from typing import Any

import keras

from symae_keras.layers.loss_term import LossTerm
from symae_keras.typing import Shape, Tensor


@keras.saving.register_keras_serializable(package="symae_keras")
class WeightPenalty(LossTerm):
    """Adds a regulariser of some weights to the loss.

    Unlike the argument `kernel_regularizer` of Keras's layers, it reaches networks that
    were made without it, and the model logs it as `weight_decay_loss`.

    Args:
        regularizer: A `keras.regularizers.Regularizer`, such as
            `keras.regularizers.L1L2(l1=1e-6, l2=1e-5)`.

    Call arguments:
        inputs: List of weights, tensors of any shape.

    Output shape:
        That of the weights, which are handed on.

    Example:
    >>> import keras
    >>> layer = WeightPenalty(keras.regularizers.L2(0.5))
    >>> weights = layer([keras.ops.ones((2, 3))])
    >>> float(layer.losses[0])
    3.0
    """

    def __init__(
        self, regularizer: keras.regularizers.Regularizer, **kwargs: Any
    ) -> None:
        super().__init__("weight_decay_loss", **kwargs)
        self.regularizer = keras.regularizers.get(regularizer)
        if self.regularizer is None:
            raise ValueError(
                "Invalid value received for argument `regularizer`. Expected a "
                "keras.regularizers.Regularizer. Received: None"
            )
        self.built = True

    def call(self, inputs: list[Tensor]) -> list[Tensor]:
        """Add the penalty, in float32."""
        weights = [keras.ops.cast(each, "float32") for each in inputs]
        self.add_term(sum(self.regularizer(each) for each in weights))
        return inputs

    def compute_output_shape(self, input_shape: list[Shape]) -> list[Shape]:
        """Same as the weights."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Arguments that rebuild the layer."""
        regularizer = keras.saving.serialize_keras_object(self.regularizer)
        return {**super().get_config(), "regularizer": regularizer}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> WeightPenalty:
        """Rebuild the layer from `get_config`."""
        config = dict(config)
        config["regularizer"] = keras.saving.deserialize_keras_object(
            config["regularizer"]
        )
        return cls(**config)
