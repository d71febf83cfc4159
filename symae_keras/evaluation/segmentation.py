"""Scores of segmentations and of patterns in residuals."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from symae_keras.data.groups import Array
from symae_keras.errors import InputError


def intersection_over_union(labels: Any, predicted: Any, n_classes: int) -> Array:
    """Intersection over union of each class, the Jaccard index.

    Of the pixels that have the class in either, the share that has it in both. Pixels
    are counted over all images together.

    Args:
        labels: True labels, integers of any shape. Those below 0, such as the -1 of
            pixels that nobody labelled, do not count.
        predicted: Predicted labels of the same shape, from 0 to `n_classes - 1`.
        n_classes: Number of classes.

    Returns:
        Array `(n_classes,)`, NaN for a class that is in neither.

    Raises:
        InputError: Shapes differ, or labels are no integers, or out of range.

    Example:
    >>> intersection_over_union([0, 0, 1, 1], [0, 1, 1, 1], n_classes=3).round(3)
    array([0.5  , 0.667,   nan])
    """
    both, either = _overlaps(_counted(labels, predicted, n_classes))
    return _ratio(both, either - both)


def mean_iou(labels: Any, predicted: Any, n_classes: int) -> float:
    """Mean of `intersection_over_union` over the classes that there are.

    It is the result of `keras.metrics.MeanIoU`, with the checks of the labels.

    Args:
        labels: See `intersection_over_union`.
        predicted: See `intersection_over_union`.
        n_classes: Number of classes.

    Returns:
        A number from 0 to 1.

    Example:
    >>> round(mean_iou([0, 0, 1, 1], [0, 1, 1, 1], n_classes=2), 3)
    0.583
    """
    return float(_counted(labels, predicted, n_classes).result())


def dice(labels: Any, predicted: Any, n_classes: int) -> Array:
    """Dice coefficient of each class, its F1 score.

    Twice the pixels that have the class in both, over the sum of those in each.

    Args:
        labels: See `intersection_over_union`.
        predicted: See `intersection_over_union`.
        n_classes: Number of classes.

    Returns:
        Array `(n_classes,)`, NaN for a class that is in neither.

    Example:
    >>> dice([0, 0, 1, 1], [0, 1, 1, 1], n_classes=2).round(3)
    array([0.667, 0.8  ])
    """
    both, either = _overlaps(_counted(labels, predicted, n_classes))
    return _ratio(2 * both, either)


def _counted(labels: Any, predicted: Any, n_classes: int) -> keras.metrics.MeanIoU:
    """Check labels and count them in Keras's confusion matrix."""
    labels, predicted = np.asarray(labels), np.asarray(predicted)
    if labels.shape != predicted.shape:
        raise InputError(
            "labels and predicted must have one shape; received "
            f"{labels.shape} and {predicted.shape}."
        )
    for name, each in (("labels", labels), ("predicted", predicted)):
        if each.dtype.kind not in "iu":
            raise InputError(
                f"{name} must be integers; received {each.dtype}: take the argmax of "
                "probabilities."
            )
    labelled = labels >= 0
    labels, predicted = (each[labelled].astype("int64") for each in (labels, predicted))
    if labels.size == 0:
        raise InputError("labels holds no label of 0 or more.")
    for name, each in (("labels", labels), ("predicted", predicted)):
        if each.min() < 0 or each.max() >= n_classes:
            raise InputError(
                f"{name} must be below n_classes={n_classes} and not negative; "
                f"received labels from {each.min()} to {each.max()}."
            )
    metric = keras.metrics.MeanIoU(n_classes)
    metric.update_state(labels.astype("int32"), predicted.astype("int32"))
    return metric


def _overlaps(metric: keras.metrics.MeanIoU) -> tuple[Array, Array]:
    """Pixels of each class in both, and the sum of those in each."""
    counts = keras.ops.convert_to_numpy(metric.total_cm)
    return np.diag(counts), counts.sum(axis=0) + counts.sum(axis=1)


def _ratio(part: Array, whole: Array) -> Array:
    """Their quotient, NaN where there is nothing."""
    return np.where(whole > 0, part / np.maximum(whole, 1), np.nan)


def checkerboard(residuals: Any, period: int = 2) -> float:
    """Power of residuals in a pattern of the pixel grid, over the mean power.

    An upsampling that treats the pixels of a cell unlike each other leaves a pattern
    that repeats with its stride: lines in the spectrum at multiples of `1 / period`
    cycles a pixel, in both directions. The measure is the mean power at these
    frequencies over that at all of them, the mean of the images left out. It is 1 for
    white noise, less for smooth residuals, and more the more of the error is such a
    pattern.

    Args:
        residuals: Reconstructions minus truth, `(n, height, width)` or with channels
            last. Rows and columns that complete no period are dropped.
        period: Pixels after which the pattern repeats: the stride of an upsampling, or
            the product of several; from 2 to half an image. Defaults to 2.

    Returns:
        A ratio, 0 or more; NaN where all residuals are 0.

    Reference:
        - [Odena et al., Deconvolution and checkerboard artifacts,
          2016](https://doi.org/10.23915/distill.00003)

    Example:
    >>> rng = np.random.default_rng(0)
    >>> noise = rng.normal(size=(100, 8, 8))
    >>> board = np.indices((8, 8)).sum(axis=0) % 2
    >>> round(checkerboard(noise)), bool(checkerboard(noise + board) > 4.0)
    (1, True)
    """
    images = np.asarray(residuals, "float64")
    if images.ndim not in (3, 4):
        raise InputError(
            "residuals must be images (n, height, width), or with channels last; "
            f"received an array of shape {images.shape}."
        )
    if int(period) != period or not 2 <= period <= min(images.shape[1:3]) // 2:
        raise InputError(
            "period must be an integer from 2 to half the images' height and "
            f"width; received {period} for images of shape {images.shape[1:3]}."
        )
    height, width = (n - n % period for n in images.shape[1:3])
    spectra = np.fft.fft2(images[:, :height, :width], axes=(1, 2))
    power = np.mean(np.abs(spectra) ** 2, axis=(0, *range(3, images.ndim)))
    power[0, 0] = 0.0
    pattern = power[:: height // period, :: width // period]
    with np.errstate(invalid="ignore"):
        share = pattern.sum() / power.sum()
    return float(share * (power.size - 1) / (pattern.size - 1))
