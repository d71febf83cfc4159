"""Calibration of uncertainties that are right, too small and too large."""

from __future__ import annotations

import numpy as np
import pytest

from symae_keras.errors import InputError
from symae_keras.evaluation import calibration


@pytest.mark.parametrize("stated", [0.25, 1.0, 3.0])
def test_of_gaussian_errors(stated, rng) -> None:
    from scipy.stats import norm

    scale = rng.uniform(0.5, 2.0, size=(500, 40))
    mean = rng.normal(size=scale.shape)
    truth = mean + scale * rng.normal(size=scale.shape)
    found = calibration(truth, mean, stated * scale)
    widths = stated * norm.ppf(0.5 + 0.5 * np.array(found.levels))
    expected = norm.cdf(widths) - norm.cdf(-widths)
    np.testing.assert_allclose(found.coverage, expected, atol=0.015)
    assert found.spread == pytest.approx(1.0 / stated, rel=0.02)
    assert (found.error < 0.01) == (stated == 1.0)


def test_two_codes_of_one_group_stand_for_the_truth(rng) -> None:
    state = rng.normal(size=(4000, 3))
    one, other = (state + s * rng.normal(size=state.shape) for s in (0.3, 0.4))
    assert calibration(one, other, 0.5).error < 0.02


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        (((3,), (4,), ()), "of one shape"),
        (((0,), (0,), ()), "of one shape"),
        (((3,), (3,), (2,)), "broadcast"),
    ],
)
def test_bad_shapes(shapes, message) -> None:
    truth, mean, scale = map(np.ones, shapes)
    with pytest.raises(InputError, match=message):
        calibration(truth, mean, scale)


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan")])
def test_bad_standard_deviation(scale) -> None:
    with pytest.raises(InputError, match="positive"):
        calibration(np.ones(3), np.ones(3), scale)
