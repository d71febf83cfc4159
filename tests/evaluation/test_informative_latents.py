"""Numbers in use and out of use, by closed forms."""

from __future__ import annotations

import numpy as np
import pytest

from symae_keras.errors import InputError
from symae_keras.evaluation import informative_latents


def test_optimal_gaussian_channels() -> None:
    """A number with unit signal seen through noise v has -log(posterior variance) / 2.

    The aggregate of such posteriors is the prior, and the mean divergence is the mutual
    information between number and data.
    """
    variance = np.array([1e-4, 0.05, 0.5, 1.0])
    rng = np.random.default_rng(0)
    mean = np.sqrt(1.0 - variance) * rng.normal(size=(20000, 4))
    found = informative_latents(mean, np.log(variance) + 0.0 * mean)
    np.testing.assert_allclose(found.kl, -0.5 * np.log(variance), atol=0.02)
    np.testing.assert_allclose(found.dispersion, np.sqrt(1.0 - variance), atol=0.03)
    assert found.by_kl.tolist() == found.by_dispersion.tolist() == [0, 1, 2]


def test_the_prior_tells_nothing() -> None:
    found = informative_latents(np.zeros((5, 3)), np.zeros((5, 3)))
    assert found.kl.tolist() == found.dispersion.tolist() == [0.0, 0.0, 0.0]
    assert len(found.by_kl) == len(found.by_dispersion) == 0


def test_thresholds() -> None:
    mean = np.random.default_rng(0).normal(size=(4000, 2)) * [0.5, 1.0]
    log_variance = np.zeros_like(mean)
    plain = informative_latents(mean, log_variance)
    assert plain.by_kl.tolist() == plain.by_dispersion.tolist() == [0, 1]
    strict = informative_latents(mean, log_variance, 0.3, 0.8)
    assert strict.by_kl.tolist() == strict.by_dispersion.tolist() == [1]


def test_the_two_ways_differ_where_one_value_rules() -> None:
    """Known precisely, but the same for nearly all data; odd spectra move no median."""
    mean, log_variance = np.zeros((1000, 1)), np.full((1000, 1), -4.0)
    mean[:100] = 50.0
    found = informative_latents(mean, log_variance)
    assert found.by_kl.tolist() == [0]
    assert found.by_dispersion.tolist() == []


@pytest.mark.parametrize("shapes", [((5, 2), (5, 3)), ((5,), (5,)), ((0, 2), (0, 2))])
def test_bad_shapes_are_refused(shapes) -> None:
    with pytest.raises(InputError, match="must have one shape"):
        informative_latents(*(np.zeros(shape) for shape in shapes))
