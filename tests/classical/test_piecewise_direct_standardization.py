"""Piecewise direct standardisation against known local maps."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import linear_model

from symae_keras.classical import (
    DirectStandardization,
    PiecewiseDirectStandardization,
)
from symae_keras.data import GroupedData
from symae_keras.errors import InputError
from symae_keras.evaluation import relative_error

PIXELS = 20


def _local(n_groups: int = 60, seed: int = 0):
    """The target sees neighbours of each source pixel, with weights of its own."""
    rng = np.random.default_rng(seed)
    band = np.abs(np.subtract.outer(np.arange(PIXELS), np.arange(PIXELS))) <= 2
    matrix = rng.normal(size=(PIXELS, PIXELS)) * band
    offset = rng.normal(size=PIXELS)
    source = rng.normal(size=(n_groups, PIXELS))
    target = source @ matrix.T + offset
    return GroupedData(np.stack([source, target], axis=1)), matrix, offset


@pytest.mark.parametrize("window", [5, 7])
def test_a_known_local_map_is_recovered(window) -> None:
    groups, matrix, offset = _local()
    model = PiecewiseDirectStandardization(0, 1, window).fit(groups[:40])
    np.testing.assert_allclose(model.coef_, matrix, atol=1e-5)
    np.testing.assert_allclose(model.intercept_, offset, atol=1e-5)
    virtual = model.redatum(groups.x[40:])
    assert virtual.shape == (20, 1, PIXELS)
    np.testing.assert_allclose(virtual[:, 0], groups.x[40:, 1], atol=1e-5)


def test_a_window_that_is_too_narrow_sees_too_little() -> None:
    groups, *_ = _local()
    model = PiecewiseDirectStandardization(0, 1, window=3).fit(groups[:40])
    assert relative_error(model.transfer(groups.x[40:, 0]), groups.x[40:, 1]) > 0.1


def test_it_needs_fewer_pairs_than_direct_standardisation() -> None:
    groups, *_ = _local()
    few, new = groups[:10], groups[10:]
    local = PiecewiseDirectStandardization(0, 1, window=5).fit(few)
    whole = DirectStandardization(0, 1).fit(few)
    errors = [
        relative_error(model.transfer(new.x[:, 0]), new.x[:, 1])
        for model in (local, whole)
    ]
    assert errors[0] < 1e-6
    assert errors[1] > 0.1


@pytest.mark.parametrize("ridge", [None, 0.7])
def test_each_pixel_is_a_regression_on_its_window(ridge, rng) -> None:
    x = rng.normal(size=(30, 2, 9))
    model = PiecewiseDirectStandardization(1, 0, window=5, ridge=ridge)
    model.fit(GroupedData(x))
    new = rng.normal(size=(4, 9))
    virtual = model.transfer(new)
    for pixel, window in ((0, slice(0, 3)), (4, slice(2, 7)), (8, slice(6, 9))):
        expected = (
            linear_model.RidgeCV(np.logspace(-6, 4, 31))
            if ridge is None
            else linear_model.Ridge(ridge)
        ).fit(x[:, 1, window], x[:, 0, pixel])
        np.testing.assert_allclose(virtual[:, pixel], expected.predict(new[:, window]))
        alpha = expected.alpha_ if ridge is None else ridge
        assert model.ridge_[pixel] == pytest.approx(alpha)
        outside = np.delete(model.coef_[pixel], np.r_[window])
        assert not outside.any()


def test_a_window_of_everything_is_direct_standardisation(rng) -> None:
    groups = GroupedData(rng.normal(size=(30, 2, 6)))
    wide = PiecewiseDirectStandardization(0, 1, window=11, ridge=0.5).fit(groups)
    whole = DirectStandardization(0, 1, ridge=0.5).fit(groups)
    np.testing.assert_allclose(wide.coef_, whole.coef_)
    np.testing.assert_allclose(wide.intercept_, whole.intercept_)


def test_errors() -> None:
    for window in (0, 4, -3, 2.5):
        with pytest.raises(InputError, match=f"window must be an odd .*{window}\\."):
            PiecewiseDirectStandardization(0, 1, window)
    images = GroupedData(np.zeros((6, 2, 4, 4)))
    with pytest.raises(InputError, match=r"\(pixels,\); received \(4, 4\)"):
        PiecewiseDirectStandardization(0, 1).fit(images)
