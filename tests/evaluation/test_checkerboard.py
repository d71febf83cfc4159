"""The measure of checkerboards against closed forms."""

from __future__ import annotations

import numpy as np
import pytest

from symae_keras.errors import InputError
from symae_keras.evaluation import checkerboard


def _board(height, width):
    return (-1.0) ** np.indices((height, width)).sum(axis=0)


@pytest.mark.parametrize("period", [2, 3, 4])
def test_noise_has_no_pattern(period, rng) -> None:
    noise = rng.normal(size=(3000, 24, 18))
    assert checkerboard(noise, period) == pytest.approx(1.0, abs=0.05)


def test_smooth_residuals_have_little_of_it(rng) -> None:
    """Even those whose borders do not fit each other."""
    y, x = np.indices((28, 28)) / 28.0
    slopes = rng.normal(size=(2, 200, 1, 1))
    smooth = slopes[0] * x + slopes[1] * np.sin(4.0 * y)
    assert checkerboard(smooth) < 0.5
    # A constant is no pattern at all.
    np.testing.assert_allclose(checkerboard(smooth + 7.0), checkerboard(smooth))


@pytest.mark.parametrize("period", [2, 4])
def test_a_checkerboard_in_noise(period, rng) -> None:
    """Noise has the power n at all n frequencies, amplitude a has (a n)^2 at one."""
    amplitude, n = 0.2, 24 * 16
    residuals = rng.normal(size=(3000, 24, 16)) + amplitude * _board(24, 16)
    lines = period**2 - 1
    expected = (1 + amplitude**2 * n / lines) / (1 + amplitude**2 * n / (n - 1))
    assert checkerboard(residuals, period) == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize("axis", [0, 1])
def test_stripes_count_too(axis, rng) -> None:
    residuals = rng.normal(size=(100, 24, 24)) + np.indices((24, 24))[axis] % 2
    assert checkerboard(residuals) > 10.0


def test_channels_and_remainders(rng) -> None:
    residuals = rng.normal(size=(10, 24, 18, 2))
    by_hand = np.concatenate([residuals[..., 0], residuals[..., 1]])
    assert checkerboard(residuals) == pytest.approx(checkerboard(by_hand))
    longer = np.pad(by_hand, ((0, 0), (0, 1), (0, 1)), constant_values=99.0)
    assert checkerboard(longer) == pytest.approx(checkerboard(by_hand))


def test_nothing_wrong_has_no_ratio() -> None:
    assert np.isnan(checkerboard(np.zeros((2, 8, 8))))


@pytest.mark.parametrize(
    ("shape", "period", "message"),
    [
        ((8, 8), 2, r"residuals must be images.*\(8, 8\)"),
        ((1, 8, 8), 5, r"from 2 to half.*received 5.*\(8, 8\)"),
        ((1, 8, 8), 1, r"received 1"),
        ((1, 8, 8), 2.5, r"received 2\.5"),
    ],
)
def test_bad_arguments(shape, period, message) -> None:
    with pytest.raises(InputError, match=message):
        checkerboard(np.ones(shape), period)
