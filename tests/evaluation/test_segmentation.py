"""Scores of labels and the checkerboard measure, compared with closed forms."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from sklearn.metrics import f1_score, jaccard_score

from symae_keras.errors import InputError
from symae_keras.evaluation import checkerboard, dice, intersection_over_union, mean_iou


def test_two_squares() -> None:
    """Squares with sides of 4, shifted by 1: 12 pixels in both, 20 in at least one."""
    labels, predicted = np.zeros((2, 1, 8, 8), int)
    labels[0, 2:6, 2:6] = 1
    predicted[0, 2:6, 3:7] = 1
    iou = intersection_over_union(labels, predicted, 2)
    np.testing.assert_allclose(iou, [44 / 52, 12 / 20])
    np.testing.assert_allclose(dice(labels, predicted, 2), [88 / 96, 24 / 32])
    assert mean_iou(labels, predicted, 2) == pytest.approx((44 / 52 + 12 / 20) / 2)


def test_as_scikit_learn(rng) -> None:
    labels, predicted = rng.integers(0, 5, (2, 4, 9, 7))
    flat = labels.ravel(), predicted.ravel()
    iou = intersection_over_union(labels, predicted, 5)
    np.testing.assert_allclose(iou, jaccard_score(*flat, average=None))
    f1 = f1_score(*flat, average=None)
    np.testing.assert_allclose(dice(labels, predicted, 5), f1)


def test_as_keras(rng) -> None:
    """Absent classes and unlabelled pixels are ignored."""
    labels, predicted = rng.integers(0, 5, (2, 300))
    labels[:40] = -1
    metric = keras.metrics.MeanIoU(7, ignore_class=-1)
    metric.update_state(labels, predicted)
    expected = float(metric.result())
    assert mean_iou(labels, predicted, 7) == pytest.approx(expected, rel=1e-6)


def test_small_integers_do_not_overflow(rng) -> None:
    labels, predicted = rng.integers(0, 200, (2, 3000))
    small = labels.astype("uint8"), predicted.astype("uint8")
    assert mean_iou(*small, 200) == mean_iou(labels, predicted, 200)


@pytest.mark.parametrize(
    ("labels", "predicted", "sentence"),
    [
        ([0, 1], [0], r"the same shape; received \(2,\) and \(1,\)"),
        ([0, 1], [0.2, 0.8], "predicted must be integers.*argmax"),
        ([0, 3], [0, 1], "labels must be below n_classes=3.*from 0 to 3"),
        ([0, 2**32], [0, 1], "labels must be below n_classes=3"),
        ([0, 1], [0, -1], "predicted must be below.*from -1 to 0"),
        ([-1, -1], [0, 0], "no label"),
    ],
)
def test_bad_labels(labels, predicted, sentence) -> None:
    with pytest.raises(InputError, match=sentence):
        mean_iou(labels, predicted, 3)


# === checkerboard ===


def _board(height, width):
    return (-1.0) ** np.indices((height, width)).sum(axis=0)


@pytest.mark.parametrize("period", [2, 3, 4])
def test_noise_has_no_pattern(period, rng) -> None:
    noise = rng.normal(size=(3000, 24, 18))
    assert checkerboard(noise, period) == pytest.approx(1.0, abs=0.05)


def test_smooth_residuals_have_little_of_it(rng) -> None:
    """Even for tiles whose borders do not match."""
    y, x = np.indices((28, 28)) / 28.0
    slopes = rng.normal(size=(2, 200, 1, 1))
    smooth = slopes[0] * x + slopes[1] * np.sin(4.0 * y)
    assert checkerboard(smooth) < 0.5
    # A constant is not a pattern.
    np.testing.assert_allclose(checkerboard(smooth + 7.0), checkerboard(smooth))


@pytest.mark.parametrize("period", [2, 4])
def test_a_checkerboard_in_noise(period, rng) -> None:
    """Noise has power n at all n frequencies; amplitude a has (a n)^2 at one."""
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
