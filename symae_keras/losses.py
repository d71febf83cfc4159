"""Losses of reconstructions: relative to the data, or likelihoods in nats."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from symae_keras._utils.types import Shape, Tensor
from symae_keras._utils.validation import positive_finite


class PixelwiseLoss(keras.losses.Loss):
    """Base of the losses that also take weights of pixels, and masks of instances.

    As in Keras's own losses, a sample is a row of the last axis: its value is the mean
    over that axis, and the reduction is over samples. `sample_weight` weights whatever
    its axes are, counted from the first: groups `(batch,)`, instances
    `(batch, instances)`, or pixels, in the shape of the data.

    A subclass overrides `call`, which returns one value per pixel.
    """

    def __call__(
        self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None = None
    ) -> Tensor:
        """Compute the loss."""
        pixel_weight = None
        if sample_weight is not None:
            weight = leading_axes(sample_weight, np.shape(y_pred))
            full = ops.broadcast_to(weight, ops.shape(y_pred))
            sample_weight = full[..., 0]
            if weight.shape[-1] != 1:
                # A sample weighs as much as its pixels, and they share its weight.
                sample_weight = ops.mean(full, axis=-1)
                pixel_weight = ops.divide_no_nan(full, sample_weight[..., None])
        samples = _Samples(self, pixel_weight)
        return samples(y_true, y_pred, sample_weight)


class _Samples(keras.losses.Loss):
    """A pixelwise loss with one value per sample, which Keras weights and reduces."""

    def __init__(self, loss: PixelwiseLoss, pixel_weight: Tensor | None) -> None:
        super().__init__(loss.name, loss.reduction, loss.dtype)
        self.loss, self.pixel_weight = loss, pixel_weight

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        pixels = self.loss.call(y_true, y_pred)
        if self.pixel_weight is not None:
            pixels = pixels * ops.cast(self.pixel_weight, pixels.dtype)
        return ops.mean(pixels, axis=-1)


def leading_axes(sample_weight: Tensor, shape: Shape) -> Tensor:
    """Return weights with axes of length 1 for the axes of the data that they lack.

    Args:
        sample_weight: Weights whose axes are the first ones of the data.
        shape: Shape of the data.

    Raises:
        ValueError: The weights do not fit the data.
    """
    weight = ops.convert_to_tensor(sample_weight)
    own = tuple(weight.shape)
    fits = len(own) <= len(shape) and all(
        a in (1, b, None) or b is None for a, b in zip(own, shape, strict=False)
    )
    if not fits:
        raise ValueError(
            "`sample_weight` must have the first axes of the data, or all of them; "
            f"data of shape {tuple(shape)} take weights {tuple(shape[:1])} to "
            f"{tuple(shape)}. Received: weights of shape {own}"
        )
    return ops.reshape(weight, (*ops.shape(weight), *(1,) * (len(shape) - len(own))))


@keras.saving.register_keras_serializable(package="symae_keras")
class RelativeMeanSquaredError(PixelwiseLoss):
    """Mean squared error over the variance of the data, weighted pixel by pixel.

    Small units would give gradients below the epsilon of an optimiser; dividing by the
    variance makes the loss the same in all units: 1 for a model that always gives the
    mean instance.

    Args:
        variance: Variance of the data, a positive number, such as
            `symae_keras.training.data_variance` gives. Defaults to 1, the mean squared
            error in data units.
        reduction: As in every `keras.losses.Loss`. Defaults to
            `"sum_over_batch_size"`.

    Example:
    >>> from keras import ops
    >>> loss = RelativeMeanSquaredError(variance=4.0)
    >>> float(loss(ops.zeros((1, 2)), 2.0 * ops.ones((1, 2))))
    1.0

    With the inverse variance of each pixel as its weight, 0 for bad pixels:

    >>> weights = ops.convert_to_tensor([[1.0, 0.0]])
    >>> float(loss(ops.zeros((1, 2)), 2.0 * ops.ones((1, 2)), sample_weight=weights))
    0.5
    """

    def __init__(
        self,
        variance: float = 1.0,
        reduction: str = "sum_over_batch_size",
        name: str = "relative_mean_squared_error",
        **kwargs: Any,
    ) -> None:
        super().__init__(name=name, reduction=reduction, **kwargs)
        self.variance = positive_finite("variance", variance)

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """Squared difference of every pixel, divided by the variance."""
        # Divided before squaring, which could underflow in float32.
        difference = (y_pred - y_true) / self.variance**0.5
        return ops.square(difference)

    def get_config(self) -> dict[str, Any]:
        """Arguments that rebuild the loss."""
        return {**super().get_config(), "variance": self.variance}


@keras.saving.register_keras_serializable(package="symae_keras")
class RelativeMeanAbsoluteError(PixelwiseLoss):
    """Mean absolute error over the deviation of the data, weighted pixel by pixel.

    A few pixels that are far off, such as cosmic rays, pull less than they do in the
    squared error.

    Args:
        deviation: Standard deviation of the data, a positive number. Defaults to 1, the
            mean absolute error in data units.
        reduction: As in every `keras.losses.Loss`. Defaults to
            `"sum_over_batch_size"`.

    Example:
    >>> from keras import ops
    >>> loss = RelativeMeanAbsoluteError(deviation=2.0)
    >>> float(loss(ops.zeros((1, 2)), ops.convert_to_tensor([[2.0, -6.0]])))
    2.0
    """

    def __init__(
        self,
        deviation: float = 1.0,
        reduction: str = "sum_over_batch_size",
        name: str = "relative_mean_absolute_error",
        **kwargs: Any,
    ) -> None:
        super().__init__(name=name, reduction=reduction, **kwargs)
        self.deviation = positive_finite("deviation", deviation)

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """Absolute difference of every pixel, divided by the deviation."""
        return ops.abs((y_pred - y_true) / self.deviation)

    def get_config(self) -> dict[str, Any]:
        """Arguments that rebuild the loss."""
        return {**super().get_config(), "deviation": self.deviation}


class _NegativeLogLikelihood(PixelwiseLoss):
    """Mean over instances of a sum over the numbers of each.

    Keras takes the mean over all numbers; times the size of an instance, it is the mean
    over instances of their sums.
    """

    def __init__(
        self, instance_shape: Sequence[int], name: str, reduction: str, **kwargs: Any
    ) -> None:
        super().__init__(name=name, reduction=reduction, **kwargs)
        self.instance_shape = tuple(int(n) for n in instance_shape)

    def _nats(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        raise NotImplementedError

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """Nats of every pixel, times the size of an instance."""
        return math.prod(self.instance_shape) * self._nats(y_true, y_pred)

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
        self.scale = positive_finite("scale", scale)

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
