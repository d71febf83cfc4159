"""Anomalies, denoising and estimation with known scores."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from symae_keras.classical import MeanSwap
from symae_keras.data import GroupedData, simulate_exposures
from symae_keras.errors import InputError
from symae_keras.evaluation import (
    AnomalyDetector,
    detection,
    downstream,
    snr_gain,
    virtual_under,
)

# === AnomalyDetector ===


def _nothing(x, mask=None):
    """Model that reconstructs zeros, so that scores are mean squares."""
    return np.zeros_like(x)


@pytest.mark.jax
def test_score_is_the_mean_squared_error(rng) -> None:
    x = rng.normal(size=(150, 4, 5, 1)).astype("float32")
    detector = AnomalyDetector(lambda x: 0.5 * x, x)
    expected = (0.25 * x.astype("float64") ** 2).mean(axis=(1, 2, 3))
    np.testing.assert_allclose(detector.score(x), expected, rtol=1e-5)
    np.testing.assert_array_equal(detector.normal_scores_, np.sort(detector.score(x)))


def test_p_values_of_normal_instances_are_uniform(rng) -> None:
    """The rate is correct for any distribution of errors, here a heavy-tailed one."""
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
    """Absent instances have no score; bad pixels, including NaN, are ignored."""
    x = rng.normal(size=(6, 3, 8)).astype("float32")
    mask = np.ones((6, 3), bool)
    mask[2, 1:] = False
    good = rng.random(x.shape) < 0.8
    good[:, :, 0] = True
    groups = GroupedData(np.where(good, x, np.nan), mask, pixel_mask=good)
    masks = []

    def reconstruct(x, mask):
        masks.append(mask)
        return np.zeros_like(x)

    detector = AnomalyDetector(reconstruct, groups)
    np.testing.assert_array_equal(masks[0], good & mask[..., None])
    scores = detector.score(groups)
    expected = np.where(good, x**2, 0.0).sum(axis=-1) / good.sum(axis=-1)
    np.testing.assert_allclose(scores[mask], expected[mask], rtol=1e-6)
    assert np.isnan(scores[~mask]).all()
    assert len(detector.normal_scores_) == mask.sum()
    p = detector.p_values(groups)
    assert np.isnan(p[~mask]).all() and np.nanmin(p) == pytest.approx(2 / 17)


def test_needs_normal_instances() -> None:
    absent = GroupedData(np.zeros((2, 3, 4)), mask=np.zeros((2, 3), bool))
    with pytest.raises(InputError, match="no normal instances"):
        AnomalyDetector(_nothing, absent)


def test_detection_of_perfect_random_and_reversed_scores(rng) -> None:
    anomalous = rng.random(20_000) < 0.1
    share = anomalous.mean()
    assert detection(anomalous + 0.1 * rng.random(20_000), anomalous) == (1.0, 1.0)
    chance = detection(rng.random(20_000), anomalous)
    assert chance.roc_auc == pytest.approx(0.5, abs=0.02)
    assert chance.average_precision == pytest.approx(share, abs=0.01)
    assert detection(-1.0 * anomalous, anomalous).roc_auc == 0.0


# === snr_gain ===


@pytest.mark.parametrize(
    ("left", "gain"),
    [(1, 0.0), (0.1, 20.0), (10, -20.0), (0.5, 20 * math.log10(2.0)), (0, math.inf)],
)
def test_gain_of_a_share_of_the_noise(rng, left, gain) -> None:
    """Units and shape do not matter, nor does the sign of the residual."""
    clean, noise = rng.normal(size=(2, 5, 7, 3))
    assert snr_gain(clean, clean + noise, clean - left * noise) == pytest.approx(gain)
    clean, noise = 1e-17 * clean, 1e-17 * noise
    assert snr_gain(clean, clean + noise, clean + left * noise) == pytest.approx(gain)


def test_bad_signals() -> None:
    with pytest.raises(InputError, match=r"\(2,\), \(2,\) and \(1,\)"):
        snr_gain(np.zeros(2), np.ones(2), np.ones(1))
    with pytest.raises(InputError, match="no noise"):
        snr_gain(np.zeros(2), np.zeros(2), np.ones(2))


# === downstream ===


KINDS = ("real", "means", "virtual")


@pytest.fixture(scope="module")
def stars() -> GroupedData:
    return simulate_exposures(n_states=150, n_instances=4, seed=0)


def test_exact_virtual_instances_are_best(stars, oracle) -> None:
    scores = downstream(oracle(stars), stars)
    for name in ("temperature", "abundance"):
        real, means, virtual = (getattr(scores, kind)[name] for kind in KINDS)
        assert real < means < virtual
    assert scores.virtual["temperature"] > 0.95 > scores.means["temperature"]


def test_virtual_instances_are_those_of_the_reference(stars, oracle) -> None:
    found = virtual_under(oracle(stars), stars, reference=stars[3:4])
    groups = np.arange(len(stars))[:, None]
    exact = stars.virtual(groups, 3, np.arange(4)).mean(axis=1)
    np.testing.assert_allclose(found, exact, atol=1e-6)


def test_mean_swap_knows_what_group_means_know(stars) -> None:
    """Model whose virtual instances are group means, all shifted by the same vector."""
    scores = downstream(MeanSwap().fit(stars), stars, reference=stars[7:8])
    assert scores.virtual == pytest.approx(scores.means, abs=0.02)


def test_absent_instances_do_not_count(known_model, known_groups) -> None:
    mask = np.random.default_rng(3).random(known_groups.x.shape[:2]) < 0.6
    mask[:, 1] = True
    x = np.where(mask[..., None], known_groups.x, np.float32(1e6))
    masked = dataclasses.replace(known_groups, x=x, mask=mask)
    scores = downstream(known_model("perfect"), masked)
    for kind in KINDS:
        assert min(getattr(scores, kind).values()) > 0.95, kind


def test_classes_and_bad_pixels(known_model, known_groups) -> None:
    """Labels of measured groups; 10 % of the pixels are NaN and must be ignored."""
    groups = dataclasses.replace(known_groups, state={}, nuisance={}, render=None)
    label = {"high": np.where(known_groups.state["level"] > 0.0, "yes", "no")}
    bad = np.random.default_rng(4).random(groups.x.shape) < 0.1
    spoiled = dataclasses.replace(
        groups, x=np.where(bad, np.float32(np.nan), groups.x), pixel_mask=~bad
    )
    scores = downstream(MeanSwap().fit(groups), spoiled, labels=label)
    assert 0.85 < scores.real["high"] < scores.means["high"]
    assert min(scores.means["high"], scores.virtual["high"]) > 0.9


def test_a_seed_repeats_the_scores_of_a_perceptron(known_model, known_groups) -> None:
    few, model = known_groups[:60], known_model("perfect")
    one, other = (downstream(model, few, seed=3, linear=False) for _ in range(2))
    assert one == other


def test_bad_labels_and_references(known_model, known_groups) -> None:
    model = known_model("perfect")
    unknown = GroupedData(known_groups.x)
    with pytest.raises(InputError, match="no labels to estimate"):
        downstream(model, unknown)
    with pytest.raises(InputError, match=r"labels\['a'\] must have one row .* 300"):
        downstream(model, unknown, labels={"a": np.zeros(4)})
    with pytest.raises(InputError, match="at least 20 groups.*received 19"):
        downstream(model, known_groups[:19])
    with pytest.raises(InputError, match="must be a single group .*received 2"):
        virtual_under(model, known_groups, known_groups[:2])
