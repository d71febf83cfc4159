"""Scores of labels: by hand, by scikit-learn, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import f1_score, jaccard_score

from symae_keras.errors import InputError
from symae_keras.evaluation import dice, intersection_over_union, mean_iou


def test_two_squares() -> None:
    """Sides of 4, shifted by 1: 12 pixels in both, 20 in either."""
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
    np.testing.assert_allclose(
        dice(labels, predicted, 5), f1_score(*flat, average=None)
    )


def test_extremes(rng) -> None:
    labels = rng.integers(0, 3, (4, 6))
    assert mean_iou(labels, labels, 3) == 1.0
    assert mean_iou(labels, (labels + 1) % 3, 3) == 0.0


def test_absent_classes_do_not_count() -> None:
    iou = intersection_over_union([0, 0, 2], [0, 2, 2], 4)
    np.testing.assert_allclose(iou, [0.5, np.nan, 0.5, np.nan])
    assert mean_iou([0, 0, 2], [0, 2, 2], 4) == 0.5


def test_the_mean_is_that_of_the_classes(rng) -> None:
    labels, predicted = rng.integers(0, 5, (2, 300))
    labels[:40] = -1
    mean = np.nanmean(intersection_over_union(labels, predicted, 7))
    assert mean_iou(labels, predicted, 7) == pytest.approx(mean, rel=1e-6)


def test_pixels_without_a_label_do_not_count(rng) -> None:
    labels, predicted = rng.integers(0, 3, (2, 50))
    known = rng.random(50) < 0.5
    expected = intersection_over_union(labels[known], predicted[known], 3)
    found = intersection_over_union(np.where(known, labels, -1), predicted, 3)
    np.testing.assert_array_equal(found, expected)


def test_small_integers_do_not_overflow(rng) -> None:
    labels, predicted = rng.integers(0, 200, (2, 3000))
    small = labels.astype("uint8"), predicted.astype("uint8")
    assert mean_iou(*small, 200) == mean_iou(labels, predicted, 200)


@pytest.mark.parametrize(
    ("labels", "predicted", "sentence"),
    [
        ([0, 1], [0], r"one shape; received \(2,\) and \(1,\)"),
        ([0, 1], [0.2, 0.8], "predicted must be integers.*argmax"),
        ([0, 3], [0, 1], "labels must be below n_classes=3.*from 0 to 3"),
        ([0, 2**32], [0, 1], "labels must be below n_classes=3"),
        ([0, 1], [0, -1], "predicted must be below.*from -1 to 0"),
        ([-1, -1], [0, 0], "no label"),
    ],
)
def test_refused(labels, predicted, sentence) -> None:
    with pytest.raises(InputError, match=sentence):
        mean_iou(labels, predicted, 3)
