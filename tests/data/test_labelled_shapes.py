"""Labelled shapes: what they are, and that no threshold finds them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from symae_keras.data import simulate_labelled_shapes
from symae_keras.data.simulators.labelled_shapes import BALL, BAR, NOISE, SHELL, _depth
from symae_keras.errors import InputError
from symae_keras.evaluation import mean_iou


@given(st.lists(st.integers(16, 24), min_size=2, max_size=3), st.integers(0, 99))
def test_shapes_and_types(size, seed) -> None:
    x, labels = simulate_labelled_shapes(2, size, seed)
    assert x.shape == (2, *size, 1) and x.dtype == np.float32
    assert labels.shape == (2, *size) and labels.dtype == np.int32
    assert np.isfinite(x).all()
    assert labels.min() == 0 and labels.max() <= BAR


@pytest.mark.parametrize("size", [(48, 48), (24, 24, 24)])
def test_every_class_is_there(size) -> None:
    labels = simulate_labelled_shapes(40, size, seed=0).labels
    shares = np.bincount(labels.ravel()) / labels.size
    assert len(shares) == 4
    assert 0.5 < shares[0] < 0.95
    assert shares[1:].min() > 0.01
    seen = np.mean([np.isin([BALL, SHELL, BAR], each).all() for each in labels])
    assert seen > 0.9  # a shape may be covered by others


def test_images_depend_on_seed_and_number_alone() -> None:
    few, many = (simulate_labelled_shapes(n, seed=3) for n in (2, 5))
    np.testing.assert_array_equal(few.x, many.x[:2])
    np.testing.assert_array_equal(few.labels, many.labels[:2])
    assert (simulate_labelled_shapes(2, seed=4).x != few.x).mean() > 0.99


def test_depth_is_a_distance(rng) -> None:
    """Deep by the half thickness in the middle, 0 on the surface."""
    along = np.linspace(0.0, 1.0, 1001)[:, None] * [1.0, 0.0]
    ball, shell, bar = (_depth(rng, kind, along) for kind in (BALL, SHELL, BAR))
    assert 0.12 < ball[0] < 0.18
    np.testing.assert_allclose(np.diff(ball), -0.001)
    assert shell[0] < 0.0 and shell.max() == pytest.approx(0.06, abs=1e-3)
    assert np.diff(np.flatnonzero(shell > 0)).max() == 1
    assert (shell > 0).sum() == pytest.approx(120, abs=1)
    assert 0.06 < bar[0] < 0.075
    assert 400 < 2 * (bar > 0).sum() < 560


def test_noise_is_white(rng) -> None:
    """Its neighbours differ by it alone, where light and labels are smooth."""
    x, labels = simulate_labelled_shapes(20, (64, 64), seed=0)
    x = x[..., 0].astype("float64")
    second = x[:, :, 2:] - 2.0 * x[:, :, 1:-1] + x[:, :, :-2]
    same = np.ones(second.shape, bool)
    for shift in range(-4, 5):
        same &= np.roll(labels, shift, axis=2)[:, :, 1:-1] == 0
    assert second[same].std() == pytest.approx(np.sqrt(6.0) * NOISE, rel=0.03)


def test_no_threshold_finds_the_shapes() -> None:
    x, labels = simulate_labelled_shapes(50, seed=0)
    shown = (labels == BALL) | (labels == SHELL)
    limits = np.quantile(x, np.linspace(0.01, 0.99, 50))
    scores = [mean_iou(shown * 1, (x[..., 0] > limit) * 1, 2) for limit in limits]
    assert max(scores) < 0.7


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((0,), "n_images must be at least 1; received 0"),
        ((1, (32,)), r"two or three.*received \(32,\)"),
        ((1, (32, 15)), r"at least 16; received \(32, 15\)"),
    ],
)
def test_refused(arguments, sentence) -> None:
    with pytest.raises(InputError, match=sentence):
        simulate_labelled_shapes(*arguments)
