"""Optimal estimation compared with closed forms."""

import numpy as np
import pytest

from symae_keras.classical import DirectStandardization, OptimalEstimation
from symae_keras.data import GroupedData
from symae_keras.errors import InputError

LOADINGS = np.random.default_rng(1).normal(size=(3, 10))


def spectra(n, seed, noise=0.1):
    rng = np.random.default_rng(seed)
    target = rng.normal(size=(n, 3)) @ LOADINGS + 2.0
    return np.stack([target, target + 1.0 + noise * rng.normal(size=target.shape)], 1)


def varied(n, seed):
    """Make spectra with more components of the state than pairs."""
    loadings = np.random.default_rng(2).normal(size=(12, 30))
    rng = np.random.default_rng(seed)
    target = rng.normal(size=(n, 12)) @ loadings
    source = 0.5 * (target + np.roll(target, 1, axis=1)) + 1.0
    return np.stack([target, source + 0.1 * rng.normal(size=target.shape)], axis=1)


def test_it_is_the_posterior_mean_of_a_known_law():
    """Use many spectra, and a source that only adds an offset and white noise."""
    x = spectra(4000, 0)
    model = OptimalEstimation(1, 0).fit(GroupedData(x))
    covariance = LOADINGS.T @ LOADINGS
    gain = covariance @ np.linalg.inv(covariance + 0.01 * np.eye(10))
    np.testing.assert_allclose(model.coef_, gain, atol=0.02)
    new = spectra(500, 1)
    exact = 2.0 + (new[:, 1] - 3.0) @ gain.T
    np.testing.assert_allclose(model.transfer(new[:, 1]), exact, atol=0.03)


def test_targets_without_a_partner_help():
    x, new = varied(300, 0), varied(500, 1)
    mask = np.ones((300, 2), bool)
    mask[8:, 1] = False
    partly = GroupedData(np.where(mask[..., None], x, np.nan), mask=mask)
    few = GroupedData(x[:8])
    more = OptimalEstimation(1, 0).fit(partly)
    assert more.n_targets_ == 300

    def error(model):
        return float(((model.transfer(new[:, 1]) - new[:, 0]) ** 2).mean())

    assert error(more) < 0.8 * error(OptimalEstimation(1, 0).fit(few))
    assert error(more) < 0.8 * error(DirectStandardization(1, 0).fit(few))
    # Pass the same spectra as an argument.
    given = OptimalEstimation(1, 0).fit(few, targets=x[8:, 0])
    np.testing.assert_allclose(given.coef_, more.coef_, atol=1e-8)


def test_an_exact_source_is_inverted():
    x = spectra(40, 0, noise=0.0)
    model = OptimalEstimation(1, 0).fit(GroupedData(x))
    np.testing.assert_allclose(model.transfer(x[:, 1]), x[:, 0], atol=1e-3)


def test_targets_are_checked():
    groups = GroupedData(spectra(9, 0))
    with pytest.raises(InputError, match="targets must have the shape"):
        OptimalEstimation(1, 0).fit(groups, targets=np.zeros((4, 11)))
    with pytest.raises(InputError, match="NaN or infinite"):
        OptimalEstimation(1, 0).fit(groups, targets=np.full((4, 10), np.nan))
    with pytest.raises(InputError, match="target must be one of the 2 instruments"):
        OptimalEstimation(1, 5).fit(groups)
