"""Gains in decibels that can be told by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from symae_keras.errors import InputError
from symae_keras.evaluation import snr_gain


@pytest.mark.parametrize(
    ("left", "gain"),
    [(1.0, 0.0), (0.1, 20.0), (10.0, -20.0), (0.5, 20.0 * math.log10(2.0))],
)
def test_gain_of_a_share_of_the_noise(rng, left, gain) -> None:
    """Units and the shape do not matter, the sign of what is left neither."""
    clean, noise = rng.normal(size=(2, 5, 7, 3))
    assert snr_gain(clean, clean + noise, clean - left * noise) == pytest.approx(gain)
    many = 1e-17 * clean
    assert snr_gain(many, many + 1e-17 * noise, many + 1e-17 * left * noise) == (
        pytest.approx(gain)
    )


def test_mean_of_repeated_measurements(rng) -> None:
    """The mean of ten has a tenth of the variance of the noise."""
    clean = rng.normal(size=(1, 20_000))
    noisy = clean + rng.normal(size=(10, 20_000))
    assert snr_gain(clean[0], noisy[0], noisy.mean(axis=0)) == pytest.approx(
        10.0, abs=0.2
    )


def test_exact_denoising_is_infinite(rng) -> None:
    clean = rng.normal(size=9)
    assert snr_gain(clean, clean + 1.0, clean) == math.inf


def test_refused() -> None:
    with pytest.raises(InputError, match=r"\(2,\), \(2,\) and \(1,\)"):
        snr_gain(np.zeros(2), np.ones(2), np.ones(1))
    with pytest.raises(InputError, match="no noise"):
        snr_gain(np.zeros(2), np.zeros(2), np.ones(2))
