"""Reconstruction losses: relative to the data, or likelihoods in nats."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from symae_keras._utils.arrays import Shape, Tensor
from symae_keras._utils.validation import positive_finite

__all__ = [
    "BernoulliNegativeLogLikelihood",
    "GaussianNegativeLogLikelihood",
    "PixelwiseLoss",
    "RelativeMeanAbsoluteError",
    "RelativeMeanSquaredError",
]


def __dir__() -> list[str]:
    return sorted(__all__)


class PixelwiseLoss(keras.losses.Loss):
    """Base class of losses that are a mean over pixels and accept pixel weights.

    As in Keras's own losses, a sample is a row of the last axis, and its value is the
    mean over that axis:

        call(y_true, y_pred) = mean(pixelwise(y_true, y_pred), axis=-1)

    Keras weights, masks and reduces these values. The axes of `sample_weight` are the
    first axes of the data: `(batch,)` for groups, `(batch, instances)` for instances,
    or the shape of the data for pixels. Weights `w` of pixels with errors `e` change
    the value of a sample to `sum(w * e) / sum(w)` over its pixels, and its weight to
    `mean(w)`. The loss is therefore `mean(w * e)` by default, and
    `sum(w * e) / sum(w)` with `reduction="mean_with_sample_weight"`.

    A subclass overrides `pixelwise`, which returns one value per pixel.

    Example:
    >>> class Fourth(PixelwiseLoss):
    ...     def pixelwise(self, y_true, y_pred):
    ...         return (y_pred - y_true) ** 4
    >>> float(Fourth()(ops.zeros((1, 2)), 2.0 * ops.ones((1, 2))))
    16.0
    """

    def pixelwise(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """Compute one value per pixel; subclasses override this."""
        raise NotImplementedError

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """Compute one value per sample."""
        return ops.mean(self.pixelwise(y_true, y_pred), axis=-1)

    def __call__(
        self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None = None
    ) -> Tensor:
        """Compute the loss."""
        if len(np.shape(y_true)) != len(np.shape(y_pred)):
            raise ValueError(
                "`y_true` and `y_pred` must have the same number of axes. "
                f"Received: shapes {np.shape(y_true)} and {np.shape(y_pred)}"
            )
        if sample_weight is None:
            return super().__call__(y_true, y_pred)
        weight = leading_axes(sample_weight, np.shape(y_pred))
        if weight.shape[-1] == 1:
            return super().__call__(y_true, y_pred, one_per_sample(weight, y_pred))
        full = ops.broadcast_to(weight, ops.shape(y_pred))
        of_samples = ops.mean(full, axis=-1)
        shares = ops.divide_no_nan(full, of_samples[..., None])
        return _WithShares(self, shares)(y_true, y_pred, of_samples)


class _WithShares(keras.losses.Loss):
    """Pixelwise loss whose pixels have different weights within a sample."""

    def __init__(self, loss: PixelwiseLoss, shares: Tensor) -> None:
        super().__init__(loss.name, loss.reduction, loss.dtype)
        self.loss, self.shares = loss, shares

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        pixels = self.loss.pixelwise(y_true, y_pred)
        return ops.mean(ops.cast(self.shares, pixels.dtype) * pixels, axis=-1)


def leading_axes(sample_weight: Tensor, shape: Shape) -> Tensor:
    """Return weights with axes of length 1 for missing axes of the data."""
    weight = ops.convert_to_tensor(sample_weight)
    own = tuple(weight.shape)
    fits = len(own) <= len(shape) and all(
        a in (1, b, None) or b is None for a, b in zip(own, shape, strict=False)
    )
    if not fits:
        raise ValueError(
            "`sample_weight` must have the first axes of the data, or all of them; "
            f"data of shape {tuple(shape)} accept weights of shapes "
            f"{tuple(shape[:1])} to {tuple(shape)}. Received: weights of shape {own}"
        )
    return ops.reshape(weight, (*ops.shape(weight), *(1,) * (len(shape) - len(own))))


def one_per_sample(weight: Tensor, y_pred: Tensor) -> Tensor:
    """Return the weights of all samples, from weights with a last axis of length 1."""
    # A copy, because Keras multiplies weights by masks in place on PyTorch.
    return ops.copy(ops.broadcast_to(weight[..., 0], ops.shape(y_pred)[:-1]))


@keras.saving.register_keras_serializable(package="symae_keras")
class RelativeMeanSquaredError(PixelwiseLoss):
    """Mean squared error divided by the variance of the data.

    In small units, gradients would be smaller than the epsilon of an optimiser.
    Division by the variance makes the loss independent of the units: it is 1 for a
    model that always returns the mean instance. `sample_weight` accepts pixel weights.

    Args:
        variance: Variance of the data, a positive number, for example from
            `symae_keras.training.data_variance`. Defaults to 1, the mean squared error
            in data units.
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

    def pixelwise(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """Compute the squared difference of every pixel over the variance."""
        # Divide before squaring, because small squares could underflow in float32.
        difference = (y_pred - y_true) / self.variance**0.5
        return ops.square(difference)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that rebuild the loss."""
        return {**super().get_config(), "variance": self.variance}


@keras.saving.register_keras_serializable(package="symae_keras")
class RelativeMeanAbsoluteError(PixelwiseLoss):
    """Mean absolute error divided by the standard deviation of the data.

    Outlier pixels, such as cosmic rays, have less influence than in the squared error.
    `sample_weight` accepts pixel weights.

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

    def pixelwise(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """Compute the absolute difference of every pixel over the deviation."""
        return ops.abs((y_pred - y_true) / self.deviation)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that rebuild the loss."""
        return {**super().get_config(), "deviation": self.deviation}


class _NegativeLogLikelihood(PixelwiseLoss):
    """Mean over instances of the sum over the values of each.

    Keras computes the mean over all values. Multiplied by the size of an instance, this
    is the mean over instances of their sums.
    """

    def __init__(
        self, instance_shape: Sequence[int], name: str, reduction: str, **kwargs: Any
    ) -> None:
        super().__init__(name=name, reduction=reduction, **kwargs)
        self.instance_shape = tuple(int(n) for n in instance_shape)

    @property
    def _size(self) -> int:
        """Number of values of an instance."""
        return math.prod(self.instance_shape)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that rebuild the loss."""
        return {**super().get_config(), "instance_shape": self.instance_shape}


@keras.saving.register_keras_serializable(package="symae_keras")
class GaussianNegativeLogLikelihood(_NegativeLogLikelihood):
    """Negative log likelihood `-log N(x; y_pred, scale^2)` of instances, in nats.

    Together with a divergence of weight 1, it is the negative evidence lower bound.

    Args:
        instance_shape: Shape of one instance.
        scale: Standard deviation of the noise of every value, in data units. Defaults
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

    def pixelwise(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """Compute the nats of every pixel, times the size of an instance."""
        # Each operation is a pass over all pixels, so that numbers are combined first.
        difference = y_pred - y_true
        if self.scale != 1.0:
            difference = difference / self.scale
        constant = 0.5 * math.log(2.0 * math.pi) + math.log(self.scale)
        return 0.5 * self._size * ops.square(difference) + self._size * constant

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that rebuild the loss."""
        return {**super().get_config(), "scale": self.scale}


@keras.saving.register_keras_serializable(package="symae_keras")
class BernoulliNegativeLogLikelihood(_NegativeLogLikelihood):
    """Negative log likelihood `-log Bernoulli(x; y_pred)` of instances in [0, 1].

    It is in nats. For binary data, it is a likelihood. For values in between, it is the
    loss that variational autoencoders of images usually use instead.

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

    def pixelwise(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """Compute the nats of every pixel, times the size of an instance."""
        y_true = ops.cast(y_true, y_pred.dtype)
        return self._size * ops.binary_crossentropy(y_true, y_pred)
