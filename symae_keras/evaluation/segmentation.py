"""Scores of segmentations and of patterns in residuals."""

from __future__ import annotations

from typing import Any

import numpy as np

from symae_keras.data.groups import Array
from symae_keras.errors import InputError


def intersection_over_union(labels: Any, predicted: Any, n_classes: int) -> Array:
    """Compute the intersection over union (Jaccard index) of each class.

    It is the number of pixels that have the class in both arrays, divided by the number
    of pixels that have it in at least one. Pixels of all images are counted together.

    Args:
        labels: True labels, integers of any shape. Negative labels, such as -1 for
            unlabelled pixels, are ignored.
        predicted: Predicted labels of the same shape, from 0 to `n_classes - 1`.
        n_classes: Number of classes.

    Returns:
        Array `(n_classes,)`, NaN for a class that occurs in neither array.

    Raises:
        InputError: Shapes differ, or labels are not integers, or are out of range.

    Example:
    >>> intersection_over_union([0, 0, 1, 1], [0, 1, 1, 1], n_classes=3).round(3)
    array([0.5  , 0.667,   nan])
    """
    both, either = _overlaps(labels, predicted, n_classes)
    return _ratio(both, either - both)


def mean_iou(labels: Any, predicted: Any, n_classes: int) -> float:
    """Compute the mean of `intersection_over_union` over the classes that occur.

    `keras.metrics.MeanIoU` gives the same value batch by batch during training.

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
    return float(np.nanmean(intersection_over_union(labels, predicted, n_classes)))


def dice(labels: Any, predicted: Any, n_classes: int) -> Array:
    """Compute the Dice coefficient (F1 score) of each class.

    It is twice the number of pixels that have the class in both arrays, divided by the
    sum of the numbers in each array.

    Args:
        labels: See `intersection_over_union`.
        predicted: See `intersection_over_union`.
        n_classes: Number of classes.

    Returns:
        Array `(n_classes,)`, NaN for a class that occurs in neither array.

    Example:
    >>> dice([0, 0, 1, 1], [0, 1, 1, 1], n_classes=2).round(3)
    array([0.667, 0.8  ])
    """
    both, either = _overlaps(labels, predicted, n_classes)
    return _ratio(2 * both, either)


def _overlaps(labels: Any, predicted: Any, n_classes: int) -> tuple[Array, Array]:
    """Return the pixels per class in both arrays, and the sum of those in each."""
    labels, predicted = np.asarray(labels), np.asarray(predicted)
    if labels.shape != predicted.shape:
        raise InputError(
            "labels and predicted must have the same shape; received "
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
        raise InputError("labels contains no label of 0 or more.")
    for name, each in (("labels", labels), ("predicted", predicted)):
        if each.min() < 0 or each.max() >= n_classes:
            raise InputError(
                f"{name} must be below n_classes={n_classes} and not negative; "
                f"received labels from {each.min()} to {each.max()}."
            )
    pairs = np.bincount(n_classes * labels + predicted, minlength=n_classes**2)
    counts = pairs.reshape(n_classes, n_classes)
    return np.diag(counts), counts.sum(axis=0) + counts.sum(axis=1)


def _ratio(part: Array, whole: Array) -> Array:
    """Return the quotient, NaN for a denominator of 0."""
    return np.where(whole > 0, part / np.maximum(whole, 1), np.nan)


def checkerboard(residuals: Any, period: int = 2) -> float:
    """Compute the relative power of residuals in a periodic pattern of the pixel grid.

    An upsampling that treats the pixels of a cell differently leaves a pattern that
    repeats with its stride. In the spectrum, this gives lines at multiples of `1 /
    period` cycles per pixel, in both directions. The measure is the mean power at these
    frequencies divided by the mean power at all frequencies; the mean of the images is
    removed first. It is 1 for white noise, less for smooth residuals, and larger if the
    pattern is a larger part of the error.

    Args:
        residuals: Reconstructions minus truth, `(n, height, width)` or with channels
                last. Rows and columns that do not complete a period are dropped.
        period: Period of the pattern in pixels: the stride of an upsampling, or the
            product of several strides; from 2 to half of an image. Defaults to 2.

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
