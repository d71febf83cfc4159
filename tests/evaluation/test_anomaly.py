"""Scores and p-values against what they must be for normal instances."""

from __future__ import annotations

import numpy as np
import pytest

from symae_keras.data import GroupedData
from symae_keras.errors import InputError
from symae_keras.evaluation import AnomalyDetector, detection


def _nothing(x, mask=None):
    """Reconstructs zeros, so that scores are mean squares."""
    return np.zeros_like(x)


@pytest.mark.jax
def test_score_is_the_mean_squared_error(rng) -> None:
    x = rng.normal(size=(150, 4, 5, 1)).astype("float32")
    detector = AnomalyDetector(lambda x: 0.5 * x, x)
    expected = (0.25 * x.astype("float64") ** 2).mean(axis=(1, 2, 3))
    np.testing.assert_allclose(detector.score(x), expected, rtol=1e-5)
    np.testing.assert_array_equal(detector.normal_scores_, np.sort(detector.score(x)))


def test_p_values_of_normal_instances_are_uniform(rng) -> None:
    """Whatever the distribution of the errors, here a heavy-tailed one."""
    stats = pytest.importorskip("scipy.stats")
    normal, new = (rng.standard_t(2, size=(n, 8)) for n in (20_000, 1000))
    p = AnomalyDetector(_nothing, normal).p_values(new)
    assert stats.kstest(p, "uniform").pvalue > 0.05
    assert (p <= 0.05).mean() == pytest.approx(0.05, abs=0.02)


def test_p_values_count_normal_instances_at_least_as_strange() -> None:
    detector = AnomalyDetector(_nothing, np.sqrt([[1.0], [2.0], [3.0]]))
    p = detector.p_values(np.sqrt([[0.5], [2.0], [2.5], [9.0]]))
    np.testing.assert_allclose(p, [1.0, 0.75, 0.5, 0.25])


def test_groups_are_scored_by_their_good_pixels(rng) -> None:
    """Absent instances have no score; bad pixels, NaN included, no say."""
    x = rng.normal(size=(6, 3, 8)).astype("float32")
    mask = np.ones((6, 3), bool)
    mask[2, 1:] = False
    good = rng.random(x.shape) < 0.8
    good[:, :, 0] = True
    groups = GroupedData(np.where(good, x, np.nan), mask, pixel_mask=good)
    detector = AnomalyDetector(_nothing, groups)
    scores = detector.score(groups)
    expected = np.where(good, x**2, 0.0).sum(axis=-1) / good.sum(axis=-1)
    np.testing.assert_allclose(scores[mask], expected[mask], rtol=1e-6)
    assert np.isnan(scores[~mask]).all()
    assert len(detector.normal_scores_) == mask.sum()
    p = detector.p_values(groups)
    assert np.isnan(p[~mask]).all() and np.nanmin(p) == pytest.approx(2 / 17)


def test_models_get_the_mask_of_groups(rng) -> None:
    masks = []

    def reconstruct(x, mask):
        masks.append(mask)
        return np.zeros_like(x)

    mask = np.array([[True, True], [True, False]])
    AnomalyDetector(reconstruct, GroupedData(rng.normal(size=(2, 2, 4)), mask))
    np.testing.assert_array_equal(masks[0], mask)


def test_needs_normal_instances() -> None:
    absent = GroupedData(np.zeros((2, 3, 4)), mask=np.zeros((2, 3), bool))
    with pytest.raises(InputError, match="no normal instance"):
        AnomalyDetector(_nothing, absent)


def test_detection_of_perfect_random_and_reversed_scores(rng) -> None:
    anomalous = rng.random(20_000) < 0.1
    share = anomalous.mean()
    assert detection(anomalous + 0.1 * rng.random(20_000), anomalous) == (1.0, 1.0)
    chance = detection(rng.random(20_000), anomalous)
    assert chance.roc_auc == pytest.approx(0.5, abs=0.02)
    assert chance.average_precision == pytest.approx(share, abs=0.01)
    assert detection(-1.0 * anomalous, anomalous).roc_auc == 0.0


def test_detection_of_shifted_gaussians(rng) -> None:
    """The area is the probability that N(1, 1) exceeds N(0, 1), Phi(1 / sqrt(2))."""
    scores = np.concatenate([rng.normal(size=40_000), rng.normal(1.0, size=40_000)])
    area = detection(scores, np.arange(80_000) >= 40_000).roc_auc
    assert area == pytest.approx(0.7602, abs=0.005)
