"""Repeatability of traces: closed forms and invariances."""

from __future__ import annotations

import numpy as np
import pytest

from symae_keras.errors import InputError
from symae_keras.evaluation import nrms, predictability


def test_nrms_of_known_pairs(rng) -> None:
    trace = rng.normal(size=(3, 4, 200))
    np.testing.assert_allclose(nrms(trace, trace), np.zeros((3, 4)))
    np.testing.assert_allclose(nrms(trace, -trace), np.full((3, 4), 200.0))
    # 200 (k - 1) / (k + 1) for a gain k.
    np.testing.assert_allclose(nrms(trace, 3.0 * trace), np.full((3, 4), 100.0))
    one, other = rng.normal(size=(2, 100_000))
    assert nrms(one, other) == pytest.approx(100.0 * np.sqrt(2.0), rel=0.02)


def test_predictability_of_known_pairs(rng) -> None:
    one, other = rng.normal(size=(2, 5, 400))
    np.testing.assert_allclose(predictability(one, -2.0 * one), np.ones(5))
    # At lag 0 alone, it is the square of the correlation.
    found = predictability(one, other, max_lag=0)
    cosine = (one * other).sum(-1) ** 2 / ((one**2).sum(-1) * (other**2).sum(-1))
    np.testing.assert_allclose(found, cosine)
    # Over all lags, both sums are those of the product of the power spectra.
    np.testing.assert_allclose(predictability(one, other, 399), np.ones(5))


def test_a_shift_costs_nrms_but_little_predictability() -> None:
    time = np.arange(300.0)
    pulse = np.exp(-0.5 * ((time - 150.0) / 4.0) ** 2)
    later = np.exp(-0.5 * ((time - 153.0) / 4.0) ** 2)
    # The correlation of Gaussians is exp(-d^2 / 4 s^2).
    expected = 100.0 * np.sqrt(2.0 - 2.0 * np.exp(-9.0 / 64.0))
    assert nrms(pulse, later) == pytest.approx(expected, rel=1e-3)
    assert predictability(pulse, later, 20) > 0.99


def test_silence_is_not_a_number() -> None:
    zeros, ones = np.zeros((2, 20)), np.ones((2, 20))
    assert np.isnan(nrms(zeros, zeros)).all()
    np.testing.assert_array_equal(nrms(zeros, ones), [200.0, 200.0])
    assert np.isnan(predictability(zeros, ones)).all()


@pytest.mark.parametrize("shapes", [((3,), (4,)), ((), ()), ((2, 0), (2, 0))])
def test_shapes_are_checked(shapes) -> None:
    pair = [np.zeros(shape) for shape in shapes]
    for measure in (nrms, predictability):
        with pytest.raises(InputError, match="of the same shape; received"):
            measure(*pair)


@pytest.mark.parametrize("lag", [-1, 20, 2.5, "word"])
def test_lags_are_checked(lag) -> None:
    with pytest.raises(InputError, match="max_lag must be an integer from 0 to 19"):
        predictability(np.ones(20), np.ones(20), lag)
