"""Agreement of replicates before and after redatuming."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from symae_keras.classical import MeanSwap
from symae_keras.data import GroupedData
from symae_keras.errors import InputError
from symae_keras.evaluation import repeatability
from symae_keras.evaluation.replicates import (
    fill_bad_pixels,
    typical_nuisance,
    virtual_of_each,
)


def normal(between: float, within: float, n: int = 2000, t: int = 4) -> GroupedData:
    """Instances with a known share of variance that is due to the group."""
    rng = np.random.default_rng(0)
    state = rng.normal(scale=between**0.5, size=(n, 1, 5))
    return GroupedData(state + rng.normal(scale=within**0.5, size=(n, t, 5)))


def test_shares_of_variance() -> None:
    """The mean swap corrects nothing here: the mean contains all variation."""
    groups = normal(between=1.0, within=2.0)
    found = repeatability(MeanSwap().fit(groups), groups)
    assert found.instances == pytest.approx(1 / 3, abs=0.02)
    assert found.means == pytest.approx(1 / 2, abs=0.02)
    assert found.corrected == pytest.approx(found.instances, abs=1e-5)
    assert found.virtual == pytest.approx(found.means, abs=1e-5)


def test_a_perfect_model_and_one_without_states(known_model, known_groups) -> None:
    found = repeatability(known_model("perfect"), known_groups)
    # Two of four pixels of equal variance are the state.
    assert found.instances == pytest.approx(0.5, abs=0.05)
    assert found.corrected == pytest.approx(1.0) == pytest.approx(found.virtual)
    found = repeatability(known_model("leaking"), known_groups)
    assert found.corrected == found.virtual == 0.0


def test_absent_instances_and_bad_pixels_do_not_count() -> None:
    groups = normal(1.0, 1.0, n=1000)
    mask = np.ones(groups.x.shape[:2], bool)
    mask[::2, 2:] = False
    good = np.random.default_rng(1).random(groups.x.shape) < 0.9
    x = np.where(good & mask[..., None], groups.x, 1e6)
    masked = GroupedData(x, mask=mask, pixel_mask=good)
    found = repeatability(MeanSwap().fit(masked), masked)
    # A bad pixel is replaced by the mean of its group: a tenth of the variance is lost.
    assert found.instances == pytest.approx(1.0 / 1.85, abs=0.03)
    filled = fill_bad_pixels(masked)[mask]
    assert np.abs(filled).max() < 10.0
    code, group, place = typical_nuisance(MeanSwap().fit(masked), masked)
    assert code.shape == (5,) and mask[group, place]


def test_each_virtual_instance_comes_from_one_instance(known_model) -> None:
    groups = normal(1.0, 1.0, n=3)
    model = known_model("perfect")
    groups = dataclasses.replace(groups, x=groups.x[..., :4])
    code = np.array([7.0, 8.0])
    found = virtual_of_each(model, groups, code)
    np.testing.assert_allclose(found[:, :2], groups.x.reshape(-1, 4)[:, :2], rtol=1e-6)
    np.testing.assert_array_equal(found[:, 2:], np.tile(code, (12, 1)))


def test_too_few_groups(known_model) -> None:
    mask = np.array([[True, True], [True, False]])
    groups = GroupedData(np.zeros((2, 2, 4)), mask=mask)
    with pytest.raises(InputError, match=r"two groups of two instances; received 1\."):
        repeatability(known_model("perfect"), groups)
