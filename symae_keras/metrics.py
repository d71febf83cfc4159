"""Reconstruction metrics for `compile`, over all batches of an epoch."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from symae_keras import losses
from symae_keras._utils.arrays import Tensor

__all__ = ["RelativeMeanAbsoluteError", "RelativeMeanSquaredError"]


def __dir__() -> list[str]:
    return sorted(__all__)


class _MeanOverPixels(keras.metrics.Metric):
    """Weighted mean of a pixelwise loss over all pixels of all batches.

    The loss and the sum of the weights are both computed by Keras's reduction of
    losses, so that weights and masks have the same meaning in metrics and losses.
    """

    def __init__(
        self, loss: losses.PixelwiseLoss, name: str, dtype: Any = None
    ) -> None:
        super().__init__(name=name, dtype=dtype)
        self._direction = "down"
        self._loss = loss
        self._ones = _Ones("ones", "sum", dtype)
        self.total = self.add_variable((), "zeros", self.dtype, name="total")
        self.count = self.add_variable((), "zeros", self.dtype, name="count")

    def update_state(
        self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None = None
    ) -> None:
        """Add a batch.

        Args:
            y_true: Data of any shape, the pixels on the last axis.
            y_pred: Reconstructions of the same shape. Samples where its Keras mask is
                False are excluded.
            sample_weight: Weights with the first axes of the data, or the shape of the
                data. Defaults to `None`, 1 for every pixel.
        """
        self.total.assign_add(self._loss(y_true, y_pred, sample_weight))
        self.count.assign_add(self._ones(y_true, y_pred, sample_weight))

    def result(self) -> Tensor:
        """Return the mean, or 0 before the first batch."""
        return ops.divide_no_nan(ops.cast(self.total, self.dtype), self.count)


class _Ones(losses.PixelwiseLoss):
    """Loss of 1 for every pixel, so that its sum is the sum of the weights."""

    def pixelwise(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        return ops.ones_like(y_pred)


# The losses of the same names are registered under these names.
@keras.saving.register_keras_serializable(
    "symae_keras", "RelativeMeanSquaredErrorMetric"
)
class RelativeMeanSquaredError(_MeanOverPixels):
    """Mean squared error divided by the variance of the data.

    With errors `e = y_pred - y_true` and weights `w` of the pixels of all batches, it
    is

        sum(w * e**2) / (variance * sum(w)).

    It is 0 for a perfect reconstruction and 1 for a model that always returns the mean
    instance, in any units. Absent instances, for which the output of the model is
    masked, are excluded. As in the losses, a bad pixel of a present instance (False in
    the mask of pixels given to the model) counts as a pixel with zero error. Pixels
    with weight 0 are excluded. As always in Keras, `sample_weight` is used by the
    metrics in `compile(weighted_metrics=...)`, and not by those in `metrics`.

    Args:
        variance: Variance of the data, a positive number, for example from
            `symae_keras.training.data_variance`. Defaults to 1, the mean squared error
            in data units.
        name: Name in the history. Defaults to `"relative_mean_squared_error"`.
        dtype: Float dtype of the sums. Defaults to `None`, Keras's `floatx`.

    Example:
    >>> metric = RelativeMeanSquaredError(variance=4.0)
    >>> metric.update_state(ops.zeros((1, 2)), 2.0 * ops.ones((1, 2)))
    >>> metric.update_state(ops.zeros((3, 2)), ops.zeros((3, 2)))
    >>> float(metric.result())
    0.25

    During training, for single instances or for groups with masks:

    >>> from symae_keras.models import SymAE
    >>> model = SymAE((12,), coherent_dim=2, nuisance_dim=2)
    >>> model.compile("adam", "mse", metrics=[RelativeMeanSquaredError(variance=4.0)])
    """

    def __init__(
        self,
        variance: float = 1.0,
        name: str = "relative_mean_squared_error",
        dtype: Any = None,
    ) -> None:
        loss = losses.RelativeMeanSquaredError(variance, "sum", dtype=dtype)
        super().__init__(loss, name, dtype)
        self.variance = loss.variance

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that rebuild the metric."""
        return {**super().get_config(), "variance": self.variance}


@keras.saving.register_keras_serializable(
    "symae_keras", "RelativeMeanAbsoluteErrorMetric"
)
class RelativeMeanAbsoluteError(_MeanOverPixels):
    """Mean absolute error divided by the standard deviation of the data.

    With errors `e = y_pred - y_true` and weights `w` of the pixels of all batches, it
    is

        sum(w * abs(e)) / (deviation * sum(w)).

    Masks and weights have the same effect as in `RelativeMeanSquaredError`.

    Args:
        deviation: Standard deviation of the data, a positive number. Defaults to 1, the
            mean absolute error in data units.
        name: Name in the history. Defaults to `"relative_mean_absolute_error"`.
        dtype: Float dtype of the sums. Defaults to `None`, Keras's `floatx`.

    Example:
    >>> metric = RelativeMeanAbsoluteError(deviation=2.0)
    >>> metric.update_state(ops.zeros((1, 2)), ops.convert_to_tensor([[2.0, -6.0]]))
    >>> float(metric.result())
    2.0
    """

    def __init__(
        self,
        deviation: float = 1.0,
        name: str = "relative_mean_absolute_error",
        dtype: Any = None,
    ) -> None:
        loss = losses.RelativeMeanAbsoluteError(deviation, "sum", dtype=dtype)
        super().__init__(loss, name, dtype)
        self.deviation = loss.deviation

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that rebuild the metric."""
        return {**super().get_config(), "deviation": self.deviation}
