"""Losses of reconstructions: relative to the data, or likelihoods in nats."""

from __future__ import annotations

import math
from collections.abc import Sequence
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


class _NegativeLogLikelihood(keras.losses.Loss):
    """Mean over instances of a sum over the numbers of each.

    Losses reduce the last axis and Keras takes the mean over all others, so that masks
    of whole instances work; times the size of an instance, the mean is its sum.
    """

    def __init__(
        self, instance_shape: Sequence[int], name: str, reduction: str, **kwargs: Any
    ) -> None:
        super().__init__(name=name, reduction=reduction, **kwargs)
        self.instance_shape = tuple(int(n) for n in instance_shape)

    def _nats(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        raise NotImplementedError

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """Mean over the last axis, times the size of an instance."""
        size = math.prod(self.instance_shape)
        return size * ops.mean(self._nats(y_true, y_pred), axis=-1)

    def get_config(self) -> dict[str, Any]:
        """Arguments that rebuild the loss."""
        return {**super().get_config(), "instance_shape": self.instance_shape}


@keras.saving.register_keras_serializable(package="symae_keras")
class GaussianNegativeLogLikelihood(_NegativeLogLikelihood):
    """`-log N(x; y_pred, scale^2)` of instances, in nats.

    Together with a divergence of weight 1 it is the negative evidence lower bound.

    Args:
        instance_shape: Shape of one instance.
        scale: Standard deviation of the noise of every number, in data units. Defaults
            to 1.
        reduction: As in every `keras.losses.Loss`. Defaults to
            `"sum_over_batch_size"`, the mean over instances.

    Example:
    >>> from keras import ops
    >>> loss = GaussianNegativeLogLikelihood((2,), scale=1.0)
    >>> round(float(loss(ops.zeros((1, 2)), ops.ones((1, 2)))), 4)  # 1 + log(2 pi)
    2.8379
    """

    def __init__(
        self,
        instance_shape: Sequence[int],
        scale: float = 1.0,
        reduction: str = "sum_over_batch_size",
        name: str = "gaussian_negative_log_likelihood",
        **kwargs: Any,
    ) -> None:
        super().__init__(instance_shape, name, reduction, **kwargs)
        if not 0.0 < scale < float("inf"):
            raise ValueError(
                "Invalid value received for argument `scale`. "
                f"Expected a positive finite number. Received: scale={scale}"
            )
        self.scale = float(scale)

    def _nats(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        difference = (y_pred - y_true) / self.scale
        constant = math.log(2.0 * math.pi) + 2.0 * math.log(self.scale)
        return 0.5 * (ops.square(difference) + constant)

    def get_config(self) -> dict[str, Any]:
        """Arguments that rebuild the loss."""
        return {**super().get_config(), "scale": self.scale}


@keras.saving.register_keras_serializable(package="symae_keras")
class BernoulliNegativeLogLikelihood(_NegativeLogLikelihood):
    """`-log Bernoulli(x; y_pred)` of instances in [0, 1], in nats.

    For binary data it is a likelihood; for shades between, the usual stand-in of
    variational autoencoders on images.

    Args:
        instance_shape: Shape of one instance.
        reduction: As in every `keras.losses.Loss`. Defaults to
            `"sum_over_batch_size"`, the mean over instances.

    Example:
    >>> from keras import ops
    >>> loss = BernoulliNegativeLogLikelihood((2,))
    >>> round(float(loss(ops.ones((1, 2)), 0.5 * ops.ones((1, 2)))), 4)  # 2 log 2
    1.3863
    """

    def __init__(
        self,
        instance_shape: Sequence[int],
        reduction: str = "sum_over_batch_size",
        name: str = "bernoulli_negative_log_likelihood",
        **kwargs: Any,
    ) -> None:
        super().__init__(instance_shape, name, reduction, **kwargs)

    def _nats(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        return ops.binary_crossentropy(ops.cast(y_true, y_pred.dtype), y_pred)
