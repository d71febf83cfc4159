"""Detection of new data: rates, smallest p-values, reasons, unusual groups."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from symae_keras import zoo
from symae_keras.classical import GroupedPCA
from symae_keras.data import GroupedData, simulate_exposures
from symae_keras.errors import InputError
from symae_keras.evaluation import NewData

PIXELS = 16


def linear(n: int, instances: int, seed: int) -> GroupedData:
    """Three directions of the state, two of the nuisance, and noise."""
    directions = np.random.default_rng(99).normal(size=(5, PIXELS))
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 1, 3)) @ directions[:3]
    x = x + rng.normal(size=(n, instances, 2)) @ directions[3:]
    x += 0.1 * rng.normal(size=x.shape)
    return GroupedData(x.astype("float32"))


@pytest.fixture(scope="module")
def model() -> GroupedPCA:
    return GroupedPCA(3, 2).fit(linear(300, 4, seed=0))


@pytest.fixture(scope="module")
def detector(model: GroupedPCA) -> NewData:
    return NewData.fit(model, linear(199, 4, seed=1))


def test_false_alarms_have_the_stated_rate(model: GroupedPCA) -> None:
    groups, instances = [], []
    for seed in range(16):
        detector = NewData.fit(model, linear(149, 3, seed=10 + seed))
        check = detector.check(linear(150, 3, seed=50 + seed))
        groups.append(check.group_p)
        instances.append(check.instance_p)
    for p in (np.concatenate(groups), np.concatenate(instances)):
        for level in (0.05, 0.2):
            # The spread of the rate at 0.2 is 0.03 for one calibration set, 0.008 for
            # 16.
            assert abs(np.mean(p <= level) - level) < 0.035


def test_floor(detector: NewData) -> None:
    strange = GroupedData(linear(5, 4, seed=2).x + np.float32(50.0))
    check = detector.check(strange)
    assert check.floor == pytest.approx(1.0 / 200)
    np.testing.assert_allclose(check.group_p, check.floor)
    assert (check.group_score > 3.0).all()
    first, *_, last = check.warnings()
    assert "unlike the held-out groups" in first and "the smallest possible" in first
    assert last == "5 of 5 groups have p <= 0.01; 0.1 are expected by chance."


@pytest.mark.parametrize("explained", [0.1, 0.9])
def test_a_small_part_of_the_residual_is_not_called_a_shift(detector, explained):
    check = detector.check(GroupedData(linear(1, 4, seed=2).x[..., ::-1] * 9))
    assert (check.explained >= 0.0).all() and (check.explained <= 1.0).all()
    check = dataclasses.replace(
        check,
        group_reason=np.array(["shift"]),
        explained=np.full_like(check.explained, explained),
    )
    (sentence,) = check.warnings()
    shape = "another shape, of which shift and gain explain only 10%"
    assert (shape in sentence) == (explained < 0.5)
    assert ("shift along the axis by" in sentence) == (explained > 0.5)


def test_normal_groups_are_not_reported(detector: NewData) -> None:
    assert detector.check(linear(100, 4, seed=3)).warnings() == []


def test_one_instance_of_another_group(model: GroupedPCA) -> None:
    detector = NewData.fit(model, linear(149, 10, seed=1))
    groups = linear(50, 10, seed=4)
    x = groups.x.copy()
    x[7, 2] = groups.x[8, 2]
    ids = np.array([f"star {n}" for n in range(50)])
    check = detector.check(GroupedData(x, ids=ids))
    assert check.group_p[7] == pytest.approx(check.floor)
    assert check.odd_instance[7] == 2
    assert check.instance_p[7].argmin() == 2
    text = check.warnings()[0]
    assert "group 7 (id 'star 7')" in text and "in instance 2" in text


def test_absent_instances_and_bad_pixels_do_not_matter(model: GroupedPCA) -> None:
    groups = linear(120, 5, seed=5)
    rng = np.random.default_rng(0)
    mask = np.arange(5) < rng.choice([1, 3, 5], 120)[:, None]
    bad = rng.random(groups.x.shape) < 0.02
    checks = []
    for wrong in (0.0, 1e4):
        x = np.where(mask[..., None] & ~bad, groups.x, wrong).astype("float32")
        data = GroupedData(x, mask=mask, pixel_mask=~bad)
        checks.append(NewData.fit(model, data[:80]).check(data[80:]))
    one, two = checks
    np.testing.assert_allclose(one.group_p, two.group_p)
    np.testing.assert_allclose(one.instance_p, two.instance_p)
    assert np.isfinite(one.group_p).all()
    np.testing.assert_array_equal(np.isfinite(one.instance_p), mask[80:])


def test_results_are_deterministic(model: GroupedPCA, detector: NewData) -> None:
    again = NewData.fit(model, linear(199, 4, seed=1))
    groups = linear(20, 4, seed=6)
    np.testing.assert_array_equal(
        detector.check(groups).group_p, again.check(groups).group_p
    )


def test_exact_models_have_no_reasons_out_of_rounding_errors() -> None:
    from symae_keras.classical import MeanSwap

    groups = linear(140, 4, seed=7)
    check = NewData.fit(MeanSwap().fit(groups), groups[:100]).check(groups[100:])
    assert set(check.group_p_of) == {"state", "nuisance", "grouping"}


def test_refusals(model: GroupedPCA, detector: NewData) -> None:
    with pytest.raises(InputError, match="at least 19 held-out groups.*received 18"):
        NewData.fit(model, linear(18, 4, seed=0))
    with pytest.raises(ValueError, match="limit"):
        detector.check(linear(3, 4, seed=0)).warnings(limit=0.0)
    x = linear(3, 4, seed=0).x.copy()
    x[1, 2, 3] = np.nan
    with pytest.raises(InputError, match="NaN or infinite; correct or mask"):
        detector.check(GroupedData(x))


@pytest.mark.large
def test_reasons_on_exposures() -> None:
    detector = NewData.fit(zoo.load("symae_exposures"), simulate_exposures(100, 8, 0))
    new = simulate_exposures(12, 8, 1)
    wavelengths = np.arange(256)
    shifted = np.array(
        [
            [np.interp(wavelengths - 1.0, wavelengths, x) for x in group]
            for group in new.x
        ]
    )
    water = {**new.nuisance, "water": new.nuisance["water"] + 2.0}
    wet = dataclasses.replace(new, nuisance=water)
    place = np.indices(new.present.shape)
    swapped = new.x.copy()
    swapped[:, 3] = np.roll(new.x, 1, axis=0)[:, 3]
    for x, reason in (
        (1.2 * new.x, "gain"),
        (shifted, "shift"),
        (swapped, "grouping"),
        (wet.virtual(place[0], *place), "nuisance"),
    ):
        check = detector.check(GroupedData(np.asarray(x, "float32")))
        assert (check.group_p <= 0.05).all()
        assert np.mean(check.group_reason == reason) > 0.8
    assert detector.check(new).group_p.min() > check.floor / 2
    check = detector.check(GroupedData(shifted.astype("float32")))
    # The codes absorb a part of the shift of 1 pixel.
    assert check.shift.mean() == pytest.approx(0.5, abs=0.3)
