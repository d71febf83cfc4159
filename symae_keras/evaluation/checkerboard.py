"""Checkerboards that upsampling leaves in images."""

from __future__ import annotations

from typing import Any

import numpy as np

from symae_keras.errors import InputError


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
