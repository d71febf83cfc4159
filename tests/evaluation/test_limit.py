"""The predicted error, compared with closed forms and actual errors."""

from __future__ import annotations

import dataclasses
import importlib

import numpy as np
import pytest

from symae_keras.classical import LinearMixedModel
from symae_keras.data import GroupedData, simulate_exposures
from symae_keras.errors import InputError
from symae_keras.evaluation import redatuming_error, redatuming_limit

PIXELS = 6
#: Covariances of states and of nuisances, with different eigenvectors.
TURN = np.linalg.qr(np.random.default_rng(7).normal(size=(PIXELS, PIXELS)))[0]
B = np.diag([4.0, 2.0, 1.0, 0.5, 0.2, 0.1])
W = TURN @ np.diag([3.0, 1.0, 1.0, 0.5, 0.5, 0.2]) @ TURN.T


def additive(n: int = 400, instances: int = 4, seed: int = 0) -> GroupedData:
    rng = np.random.default_rng(seed)
    state = rng.normal(size=(n, 1, PIXELS)) @ np.sqrt(B)
    nuisance = rng.normal(size=(n, instances, PIXELS)) @ np.linalg.cholesky(W).T
    return GroupedData(state + nuisance)


def closed_form(instances: int) -> float:
    left = B - B @ np.linalg.solve(B + W / instances, B)
    return float(2.0 * np.trace(left) / np.trace(B + W))


@pytest.fixture(scope="module")
def limit():
    return redatuming_limit(additive(1000), (1, 2, 4, 8, 16, 32))


def test_closed_form_of_additive_groups(limit) -> None:
    expected = [closed_form(n) for n in limit.n_instances]
    np.testing.assert_allclose(limit.errors, expected, rtol=0.1, atol=0.01)
    assert limit.interaction < 0.02 and limit.noise == 0.0
    assert all(
        low < error < high
        for error, (low, high) in zip(limit.errors, limit.intervals, strict=True)
    )


def test_more_instances_have_lower_errors(limit) -> None:
    assert np.all(np.diff(limit.errors) < 0.0) and np.all(np.diff(limit.curve) <= 0.0)


def test_instances_for_an_error(limit) -> None:
    for error in (0.15, 0.1, 0.05):
        needed = limit.instances_for(error)
        at = dict(zip(limit.curve_instances, limit.curve, strict=True))
        assert at[needed] <= error < at[needed - 1]
    assert limit.instances_for(10.0) == 2
    with pytest.raises(ValueError, match="a positive finite number"):
        limit.instances_for(0.0)
    # Beyond 64 instances, it is interpolated between two points of a grid.
    part = dataclasses.replace(
        limit, curve=(0.5, 0.01 + 1 / 64, 0.01 + 1 / 128), curve_instances=(2, 64, 128)
    )
    assert part.instances_for(0.01 + 1 / 99.5) == 100
    assert part.instances_for(0.01) is None


def test_interactions_are_a_floor() -> None:
    """The state multiplies the nuisance, which no linear method can model."""
    rng = np.random.default_rng(0)
    n, gain = 600, 0.3
    state, nuisance = rng.normal(size=(n, 1)), rng.normal(size=(n, 6))
    x = np.zeros((n, 6, 5))
    x[..., 0] = 2.0 * state
    x[..., 1] = nuisance
    x[..., 2] = nuisance * gain * state
    x += 0.02 * rng.normal(size=x.shape)
    found = redatuming_limit(GroupedData(x), (6, 64))
    # Two effects on states, over the variances of state, nuisance and interaction.
    expected = 2.0 * gain**2 / (4.0 + 1.0 + gain**2)
    assert found.interaction == pytest.approx(expected, rel=0.2)
    assert found.errors[1] == pytest.approx(expected, rel=0.25)


@pytest.mark.large
def test_white_noise_is_no_nuisance() -> None:
    rng = np.random.default_rng(0)
    shapes = np.linalg.qr(rng.normal(size=(40, 2)))[0].T
    state = 3.0 * rng.normal(size=(200, 1, 1)) * shapes[0]
    nuisance = 3.0 * rng.normal(size=(200, 5, 1)) * shapes[1]
    x = state + nuisance + 0.2 * rng.normal(size=(200, 5, 40))
    found = redatuming_limit(GroupedData(x), (5,))
    assert found.noise == pytest.approx(0.04 * 40 / 18.0, rel=0.15)


def test_scale_offset_and_order_do_not_matter() -> None:
    groups = additive(200)
    one = redatuming_limit(groups)
    rng = np.random.default_rng(1)
    scaled = redatuming_limit(GroupedData(groups.x * 1000.0 + 5.0))
    np.testing.assert_allclose(scaled.errors, one.errors, rtol=1e-3)
    np.testing.assert_allclose(scaled.intervals, one.intervals, rtol=1e-2, atol=1e-3)
    order = rng.permuted(np.tile(np.arange(4), (200, 1)), axis=1)
    same = np.take_along_axis(groups.x, order[..., None], axis=1)
    shuffled = redatuming_limit(GroupedData(same))
    np.testing.assert_allclose(shuffled.errors, one.errors, rtol=1e-6)
    # Groups move to other folds, which changes the shrinkage slightly.
    other = redatuming_limit(groups[rng.permutation(200)])
    np.testing.assert_allclose(other.errors, one.errors, rtol=0.15)


def test_ragged_groups_and_bad_pixels() -> None:
    groups = additive(800, 6)
    rng = np.random.default_rng(1)
    mask = np.arange(6) < rng.choice([1, 2, 4, 6], 800)[:, None]
    mask = rng.permuted(mask, axis=1)
    x = np.where(mask[..., None], groups.x, np.nan)
    found = redatuming_limit(GroupedData(np.nan_to_num(x, nan=1e6), mask=mask))
    expected = [closed_form(n) for n in found.n_instances]
    np.testing.assert_allclose(found.errors, expected, rtol=0.15, atol=0.01)
    # A pixel that is always bad is ignored; a few bad values are imputed.
    more = np.concatenate([x, np.full((800, 6, 1), np.nan)], axis=-1)
    bad = np.isnan(more)
    padded = GroupedData(np.nan_to_num(more, nan=1e6), mask=mask, pixel_mask=~bad)
    np.testing.assert_allclose(redatuming_limit(padded).errors, found.errors, rtol=1e-9)


@pytest.mark.large
def test_few_bad_pixels_are_filled_in() -> None:
    groups = simulate_exposures(60, 5, seed=0, n_pixels=64)
    good = np.random.default_rng(0).random(groups.x.shape) > 0.02
    whole = redatuming_limit(GroupedData(groups.x))
    x = np.where(good, groups.x, 1e3)
    filled = redatuming_limit(GroupedData(x, pixel_mask=good))
    np.testing.assert_allclose(filled.errors, whole.errors, rtol=0.15)


def test_many_pixels_are_replaced_by_components(monkeypatch) -> None:
    module = importlib.import_module("symae_keras.evaluation.limit")
    monkeypatch.setattr(module, "_MOST_COMPONENTS", 30)
    rng = np.random.default_rng(0)
    basis = np.linalg.qr(rng.normal(size=(40, PIXELS)))[0]
    groups = additive(200)
    one = redatuming_limit(groups)
    wide = redatuming_limit(GroupedData(groups.x @ basis.T))
    np.testing.assert_allclose(wide.errors, one.errors, rtol=0.1, atol=0.01)


@pytest.mark.large
def test_it_comes_near_what_the_linear_mixed_model_reaches() -> None:
    groups = simulate_exposures(200, 8, seed=0, n_pixels=64)
    test = simulate_exposures(200, 8, seed=1, n_pixels=64)
    model = LinearMixedModel(1e-3).fit(groups)
    found = redatuming_limit(groups, (8,))
    assert 0.8 < found.errors[0] / redatuming_error(model, test) < 1.2
    assert found.warnings == ()


# === Confounding ===


def test_columns_that_belong_to_groups() -> None:
    groups = additive(60)
    night = np.repeat(np.arange(60) % 6, 4).reshape(60, 4).astype(str)
    free = np.random.default_rng(0).permutation(night.ravel()).reshape(60, 4)
    found = redatuming_limit(
        dataclasses.replace(groups, instance_metadata={"night": night, "lamp": free})
    )
    (warning,) = found.warnings
    assert warning.startswith("night differs between groups")


def test_names_of_groups_that_explain_their_means() -> None:
    groups = additive(60)
    night = np.arange(60) % 3
    x = groups.x + 8.0 * night[:, None, None]
    names = {"night": night.astype(str), "free": (np.arange(60) // 20).astype(str)}
    found = redatuming_limit(GroupedData(x, group_metadata=names))
    assert [each.split()[0] for each in found.warnings] == ["night"]
    assert "cannot be separated from the state" in found.warnings[0]


def test_drift_within_groups() -> None:
    rng = np.random.default_rng(0)
    steps = rng.normal(size=(100, 8, PIXELS)).cumsum(axis=1)
    x = rng.normal(size=(100, 1, PIXELS)) * 3.0 + steps
    found = redatuming_limit(GroupedData(x)).warnings
    assert any("seem to drift" in each for each in found)
    order = rng.permuted(np.tile(np.arange(8), (100, 1)), axis=1)
    mixed = np.take_along_axis(x, order[..., None], axis=1)
    found = redatuming_limit(GroupedData(mixed)).warnings
    assert not any("seem to drift" in each for each in found)


def test_nuisances_that_groups_have_in_common() -> None:
    rng = np.random.default_rng(0)
    own = rng.normal(size=(200, 1, 4)) * 0.8 + rng.normal(size=(200, 4, 4))
    x = np.concatenate([own, rng.normal(size=(200, 1, 3)) + np.zeros((200, 4, 3))], -1)
    x += 0.05 * rng.normal(size=x.shape)
    (warning,) = redatuming_limit(GroupedData(x)).warnings
    assert "nuisances also differ between groups" in warning


# === Bad input ===


def test_bad_input() -> None:
    x = additive(10).x
    with pytest.raises(InputError, match="at least three groups with two or more"):
        redatuming_limit(GroupedData(x[:2]))
    with pytest.raises(InputError, match="received 0 such of 10 groups"):
        redatuming_limit(GroupedData(x[:, :1]))
    with pytest.raises(InputError, match="constant"):
        redatuming_limit(GroupedData(np.ones((5, 3, 4))))
    with pytest.raises(InputError, match="instances of each group are equal"):
        redatuming_limit(GroupedData(np.repeat(x[:, :1], 3, axis=1)))
    with pytest.raises(InputError, match="NaN or infinite"):
        redatuming_limit(GroupedData(np.where(x == x[1, 1, 1], np.nan, x)))
    for instances in ((), (4, 2), (0, 2), (2.5,)):
        with pytest.raises(InputError, match="increasing positive integers"):
            redatuming_limit(GroupedData(x), instances)
    with pytest.raises(ValueError, match="level"):
        redatuming_limit(GroupedData(x), level=1.0)


@pytest.mark.parametrize("n", [3, 4, 7])
def test_few_groups_have_finite_limits(n: int) -> None:
    found = redatuming_limit(additive(n, 3))
    assert np.isfinite(found.errors).all() and np.isfinite(found.intervals).all()
