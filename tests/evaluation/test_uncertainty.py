"""Intervals, samples and latent components with known measures."""

from __future__ import annotations

import math

import numpy as np
import pytest

from symae_keras.errors import InputError
from symae_keras.evaluation import calibration, energy_distance, informative_latents

# === calibration ===


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


# === energy_distance ===


def test_agrees_with_scipy_in_one_dimension(rng) -> None:
    stats = pytest.importorskip("scipy.stats")
    one, other = rng.normal(size=200), 1e3 + rng.exponential(size=150)
    assert energy_distance(one[:, None], other[:, None]) == pytest.approx(
        stats.energy_distance(one, other)
    )


def test_two_points() -> None:
    """Sets of one instance each: sqrt(2 |x - y|), for any shape of an instance."""
    one, other = np.zeros((1, 2, 2)), np.full((1, 2, 2), 3.0)
    assert energy_distance(one, other) == pytest.approx(math.sqrt(2 * 6.0))
    assert energy_distance(one, one) == 0.0


def test_shifted_gaussians(rng) -> None:
    """For distant sets: 2 |shift| minus the distances within, 2 / sqrt(pi) each."""
    one, other = rng.normal(size=(2, 3000, 1))
    expected = math.sqrt(2 * 20.0 - 4 / math.sqrt(math.pi))
    assert energy_distance(one, other + 20.0) == pytest.approx(expected, rel=0.01)


def test_falls_with_the_size_of_equal_distributions_only(rng) -> None:
    def between(scale, n):
        return energy_distance(rng.normal(size=(n, 5)), scale * rng.normal(size=(n, 5)))

    assert between(1.0, 2000) < 0.5 * between(1.0, 100)
    assert between(2.0, 2000) > 0.8 * between(2.0, 100)


# === informative_latents ===


def test_optimal_gaussian_channels() -> None:
    """A signal of unit variance with noise v has -log(posterior variance) / 2.

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


def test_thresholds() -> None:
    mean = np.random.default_rng(0).normal(size=(4000, 2)) * [0.5, 1.0]
    log_variance = np.zeros_like(mean)
    plain = informative_latents(mean, log_variance)
    assert plain.by_kl.tolist() == plain.by_dispersion.tolist() == [0, 1]
    strict = informative_latents(mean, log_variance, 0.3, 0.8)
    assert strict.by_kl.tolist() == strict.by_dispersion.tolist() == [1]


def test_the_two_ways_differ_where_one_value_rules() -> None:
    """Precise but nearly constant components; odd spectra do not change the median."""
    mean, log_variance = np.zeros((1000, 1)), np.full((1000, 1), -4.0)
    mean[:100] = 50.0
    found = informative_latents(mean, log_variance)
    assert found.by_kl.tolist() == [0]
    assert found.by_dispersion.tolist() == []


@pytest.mark.parametrize(
    ("measure", "shapes", "message"),
    [
        (calibration, [(3,), (4,), ()], "of the same shape"),
        (calibration, [(0,), (0,), ()], "of the same shape"),
        (calibration, [(3,), (3,), (2,)], "broadcast"),
        (energy_distance, [(2, 3), (2, 4)], r"shape \(2, 3\) and \(2, 4\)"),
        (energy_distance, [(0, 3), (2, 3)], "shape"),
        (informative_latents, [(5, 2), (5, 3)], "must have the same shape"),
        (informative_latents, [(5,), (5,)], "must have the same shape"),
        (informative_latents, [(0, 2), (0, 2)], "must have the same shape"),
    ],
)
def test_bad_shapes(measure, shapes, message) -> None:
    with pytest.raises(InputError, match=message):
        measure(*map(np.ones, shapes))


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan")])
def test_bad_standard_deviation(scale) -> None:
    with pytest.raises(InputError, match="positive"):
        calibration(np.ones(3), np.ones(3), scale)
