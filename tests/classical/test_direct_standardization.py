"""Direct standardisation, complete and with windows, on known linear maps."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import linear_model
from sklearn.model_selection import cross_val_score

from symae_keras.classical import DirectStandardization
from symae_keras.classical import PiecewiseDirectStandardization as Piecewise
from symae_keras.data import GroupedData
from symae_keras.errors import InputError
from symae_keras.evaluation import relative_error

BOTH = pytest.mark.parametrize("kind", [DirectStandardization, Piecewise])


def _pairs(n_groups=60, pixels=8, noise=0.0, seed=0):
    """Make three instruments: noise, a linear map of the third, and the third."""
    rng = np.random.default_rng(seed)
    matrix, offset = rng.normal(size=(pixels, pixels)), rng.normal(size=pixels)
    source = rng.normal(size=(n_groups, pixels))
    target = source @ matrix.T + offset + noise * rng.normal(size=source.shape)
    other = rng.normal(size=source.shape)
    return GroupedData(np.stack([other, target, source], axis=1)), matrix, offset


def test_a_known_map_is_recovered() -> None:
    groups, matrix, offset = _pairs()
    model = DirectStandardization(source=2, target=1).fit(groups[:40])
    np.testing.assert_allclose(model.coef_, matrix, atol=1e-6)
    np.testing.assert_allclose(model.intercept_, offset, atol=1e-6)
    largest = np.linalg.eigvalsh(np.cov(groups.x[:40, 2].T, bias=True))[-1] * 40
    assert model.ridge_ == pytest.approx(1e-12 * largest)
    new = groups[40:]
    virtual = model.transfer(new.x[:, 2])
    np.testing.assert_allclose(virtual, new.x[:, 1], atol=1e-6)
    np.testing.assert_array_equal(model.redatum(new.x), virtual[:, None])


def test_given_penalty_by_the_normal_equations() -> None:
    groups, *_ = _pairs(noise=0.3)
    model = DirectStandardization(2, 1, ridge=2.5).fit(groups)
    source, target = groups.x[:, 2], groups.x[:, 1]
    s, t = source - source.mean(axis=0), target - target.mean(axis=0)
    expected = np.linalg.solve(s.T @ s + 2.5 * np.eye(8), s.T @ t).T
    np.testing.assert_allclose(model.coef_, expected)
    np.testing.assert_allclose(
        model.intercept_, target.mean(axis=0) - expected @ source.mean(axis=0)
    )
    assert model.ridge_ == 2.5


def test_the_penalty_is_the_best_one_left_out() -> None:
    groups, *_ = _pairs(n_groups=12, noise=1.0)
    model = DirectStandardization(2, 1).fit(groups)
    source, target = groups.x[:, 2], groups.x[:, 1]

    def left_out(ridge: float) -> float:
        model, scoring = linear_model.Ridge(ridge), "neg_mean_squared_error"
        return cross_val_score(model, source, target, cv=12, scoring=scoring).sum()

    apart = source - source.mean(axis=0)
    largest = np.linalg.eigvalsh(apart.T @ apart)[-1]
    best = max(largest * np.logspace(-12, 0, 49), key=left_out)
    assert 1e-6 * largest < best < largest
    assert model.ridge_ == pytest.approx(best)


@BOTH
def test_only_pairs_and_present_spectra_matter(kind, spoil) -> None:
    groups, *_ = _pairs(noise=0.3)
    first, second = spoil(groups), spoil(groups, filling=1e6)
    model = kind(2, 1).fit(first)
    both = first.present[:, 1] & first.present[:, 2]
    assert both.sum() < first.present[:, 1].sum()
    for expected in (kind(2, 1).fit(second), kind(2, 1).fit(groups[both])):
        np.testing.assert_array_equal(model.coef_, expected.coef_)
        np.testing.assert_array_equal(model.intercept_, expected.intercept_)
    # Only the spectra of the source instrument are used.
    x, mask = groups.x.copy(), np.zeros((60, 3))
    x[:, :2], mask[:, 2] = np.nan, 1
    np.testing.assert_array_equal(model.redatum(x, mask), model.redatum(groups.x))


def test_any_shape_of_instance() -> None:
    groups, matrix, _ = _pairs()
    images = GroupedData(groups.x.reshape(60, 3, 2, 4, 1))
    model = DirectStandardization(2, 1).fit(images)
    np.testing.assert_allclose(model.coef_, matrix, atol=1e-6)
    virtual = model.redatum(images.x[:5])
    assert virtual.shape == (5, 1, 2, 4, 1)
    np.testing.assert_allclose(virtual[:, 0], images.x[:5, 1], atol=1e-5)


@BOTH
def test_fewer_pairs_than_pixels(kind) -> None:
    groups, *_ = _pairs(n_groups=2)
    virtual = kind(2, 1).fit(groups).redatum(groups.x)
    assert np.isfinite(virtual).all()


@BOTH
def test_errors(kind) -> None:
    groups, *_ = _pairs(n_groups=6)
    for source, target in ((1, 1), (-1, 0), (0, -2)):
        with pytest.raises(InputError, match="two different instruments"):
            kind(source, target)
    for ridge in (0.0, -1.0, np.nan, np.inf):
        with pytest.raises(InputError, match=f"ridge must be a positive.* {ridge}"):
            kind(0, 1, ridge=ridge)
    with pytest.raises(InputError, match=f"This {kind.__name__} is not fitted"):
        kind(0, 1).transfer(groups.x[:, 0])
    with pytest.raises(InputError, match="is not fitted"):
        kind(0, 1).redatum(groups.x)
    with pytest.raises(InputError, match="target must be one of the 3 .* received 3"):
        kind(0, 3).fit(groups)
    mask = groups.present
    mask[1:, 0] = False
    with pytest.raises(InputError, match="at least two groups.*0 and 1; received 1"):
        kind(0, 1).fit(GroupedData(groups.x, mask))
    x = groups.x.copy()
    x[2, 2, 0] = np.inf
    with pytest.raises(InputError, match="NaN or infinite"):
        kind(2, 1).fit(GroupedData(x))
    model = kind(0, 1).fit(GroupedData(x))  # the third instrument is not used
    with pytest.raises(InputError, match=r"\(8,\).*instrument 0; .*\(6, 7\)"):
        model.transfer(np.zeros((6, 7)))
    with pytest.raises(InputError, match="3 instruments"):
        model.redatum(groups.x[:, :2])
    with pytest.raises(InputError, match=r"shape \(8,\) .*received .*\(6, 3, 7\)"):
        model.redatum(groups.x[..., :7])
    with pytest.raises(InputError, match="5 of 6 groups.* instrument 0.* group 1;"):
        model.redatum(groups.x, mask)


# === By windows ===

PIXELS = 20


def _local(n_groups: int = 60, seed: int = 0):
    """Make target pixels from neighbouring source pixels with different weights."""
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
    model = Piecewise(0, 1, window).fit(groups[:40])
    np.testing.assert_allclose(model.coef_, matrix, atol=1e-5)
    np.testing.assert_allclose(model.intercept_, offset, atol=1e-5)
    virtual = model.redatum(groups.x[40:])
    assert virtual.shape == (20, 1, PIXELS)
    np.testing.assert_allclose(virtual[:, 0], groups.x[40:, 1], atol=1e-5)


def test_it_needs_the_right_window_and_few_pairs() -> None:
    """It needs fewer pairs than direct standardisation."""
    groups, *_ = _local()
    for model, n_pairs, exact in (
        (Piecewise(0, 1, window=3), 40, False),
        (Piecewise(0, 1, window=5), 10, True),
        (DirectStandardization(0, 1), 10, False),
    ):
        new = groups.x[n_pairs:]
        virtual = model.fit(groups[:n_pairs]).transfer(new[:, 0])
        error = relative_error(virtual, new[:, 1])
        assert error < 1e-6 if exact else error > 0.1


@pytest.mark.parametrize("ridge", [None, 0.7])
def test_each_pixel_is_a_regression_on_its_window(ridge, rng) -> None:
    x = rng.normal(size=(30, 2, 9))
    model = Piecewise(1, 0, window=5, ridge=ridge).fit(GroupedData(x))
    new = rng.normal(size=(4, 9))
    virtual = model.transfer(new)
    for pixel, window in ((0, slice(0, 3)), (4, slice(2, 7)), (8, slice(6, 9))):
        apart = x[:, 1, window] - x[:, 1, window].mean(axis=0)
        largest = np.linalg.eigvalsh(apart.T @ apart)[-1]
        ridges = [ridge] if ridge else largest * np.logspace(-12, 0, 49)
        expected = linear_model.RidgeCV(ridges)
        expected.fit(x[:, 1, window], x[:, 0, pixel])
        np.testing.assert_allclose(virtual[:, pixel], expected.predict(new[:, window]))
        assert model.ridge_[pixel] == pytest.approx(expected.alpha_)
        outside = np.delete(model.coef_[pixel], np.r_[window])
        assert not outside.any()


def test_a_window_of_everything_is_direct_standardisation(rng) -> None:
    groups = GroupedData(rng.normal(size=(30, 2, 6)))
    wide = Piecewise(0, 1, window=11, ridge=0.5).fit(groups)
    whole = DirectStandardization(0, 1, ridge=0.5).fit(groups)
    np.testing.assert_allclose(wide.coef_, whole.coef_)
    np.testing.assert_allclose(wide.intercept_, whole.intercept_)


def test_bad_windows() -> None:
    for window in (0, 4, -3, 2.5):
        with pytest.raises(InputError, match=f"window must be an odd .*{window}\\."):
            Piecewise(0, 1, window)
    images = GroupedData(np.zeros((6, 2, 4, 4)))
    with pytest.raises(InputError, match=r"\(pixels,\); received \(4, 4\)"):
        Piecewise(0, 1).fit(images)
