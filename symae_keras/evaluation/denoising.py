"""Denoising: how much nearer to the truth."""

from __future__ import annotations

from typing import Any

import numpy as np

from symae_keras.errors import InputError


def snr_gain(clean: Any, noisy: Any, denoised: Any) -> float:
    """Gain of the signal-to-noise ratio, in decibels.

    The signal is the same before and after, so that it is the ratio of the two errors,
    `10 log10(sum (noisy - clean)^2 / sum (denoised - clean)^2)`: 0 is no gain, 20 a
    tenth of the error, and less than 0 means harm. It also is the gain of the peak
    signal-to-noise ratio of images.

    Args:
        clean: Noiseless instances, an array of any shape.
        noisy: What was given to the filter, of the same shape.
        denoised: What it made of it, of the same shape.

    Returns:
        Decibels.

    Example:
    >>> clean = np.zeros(4)
    >>> round(snr_gain(clean, clean + 1.0, clean + 0.1), 3)
    20.0
    """
    clean, noisy, denoised = (
        np.asarray(each, "float64") for each in (clean, noisy, denoised)
    )
    if not clean.shape == noisy.shape == denoised.shape:
        raise InputError(
            "clean, noisy and denoised must have one shape; received "
            f"{clean.shape}, {noisy.shape} and {denoised.shape}."
        )
    before, after = (np.sum((each - clean) ** 2) for each in (noisy, denoised))
    if not before > 0.0:
        raise InputError("noisy equals clean, so there is no noise to take off.")
    with np.errstate(divide="ignore"):
        return float(10.0 * np.log10(before / after))
