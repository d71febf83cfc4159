"""Losses that do not depend on the units of the data."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from symae_keras.typing import Tensor


@keras.saving.register_keras_serializable(package="symae_keras")
class RelativeMeanSquaredError(keras.losses.Loss):
    """Mean squared error over the variance of the data.

    Small units would give gradients below the epsilon of an optimiser; dividing by the
    variance makes the loss the same in all units: 1 for a model that always gives the
    mean instance.

    Args:
        variance: Variance of the data, a positive number, such as
            `symae_keras.training.data_variance` gives.
        reduction: As in every `keras.losses.Loss`. Defaults to
            `"sum_over_batch_size"`.

    Example:
    >>> from keras import ops
    >>> loss = RelativeMeanSquaredError(variance=4.0)
    >>> float(loss(ops.zeros((1, 2)), 2.0 * ops.ones((1, 2))))
    1.0
    """

    def __init__(
        self,
        variance: float,
        reduction: str = "sum_over_batch_size",
        name: str = "relative_mean_squared_error",
        **kwargs: Any,
    ) -> None:
        super().__init__(name=name, reduction=reduction, **kwargs)
        if not 0.0 < variance < float("inf"):
            raise ValueError(
                "Invalid value received for argument `variance`. "
                f"Expected a positive finite number. Received: variance={variance}"
            )
        self.variance = float(variance)

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """Mean over the last axis, divided by the variance."""
        # Divided before squaring, which could underflow in float32.
        difference = (y_pred - y_true) / self.variance**0.5
        return ops.mean(ops.square(difference), axis=-1)

    def get_config(self) -> dict[str, Any]:
        """Arguments that rebuild the loss."""
        return {**super().get_config(), "variance": self.variance}
