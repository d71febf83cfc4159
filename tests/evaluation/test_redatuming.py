"""Redatuming error against hand-made cases, and a model that knows everything."""

from __future__ import annotations

import copy
import json
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from symae_keras.data import GroupedData, simulate_exposures
from symae_keras.errors import InputError
from symae_keras.evaluation import (
    RedatumingError,
    linear_mean_swap,
    redatuming_error,
    relative_error,
)

pytestmark = pytest.mark.jax


class Oracle:
    """A model that recognises every group and knows the rest from its parameters."""

    def __init__(self, groups: GroupedData) -> None:
        self.groups = groups
        self.index = {x.tobytes(): i for i, x in enumerate(groups.x)}
        self.masks_seen: list[object] = []

    def _find(self, x) -> np.ndarray:
        return np.array([self.index[np.asarray(each).tobytes()] for each in x])

    def redatum(self, coherent_from, nuisance_from, coherent_mask, nuisance_mask):
        self.masks_seen += [coherent_mask, nuisance_mask]
        state, group = self._find(coherent_from), self._find(nuisance_from)
        instance = np.arange(nuisance_from.shape[1])
        return self.groups.virtual(state[:, None], group[:, None], instance)

    def reconstruct(self, x, mask):
        return self.redatum(x, x, mask, mask)


def _spoiled(groups: GroupedData) -> GroupedData:
    """The same groups with absent instances, NaN in their place."""
    mask = np.random.default_rng(5).random(groups.x.shape[:2]) < 0.7
    mask[:, 0] = True
    x = np.where(mask[..., None], groups.x, np.float32(np.nan))
    return GroupedData(x, mask, groups.state, groups.nuisance, render=groups.render)


@pytest.fixture(scope="module", params=["complete", "masked"])
def groups(request) -> GroupedData:
    # More groups than are put through the model at once.
    groups = simulate_exposures(n_states=70, n_instances=5, seed=0)
    return groups if request.param == "complete" else _spoiled(groups)


# === relative_error ===


@given(
    seed=st.integers(0, 1000),
    shape=st.sampled_from([(5, 3), (4, 2, 3), (10, 1)]),
    scale=st.floats(1e-3, 1e3),
)
def test_the_mean_has_error_one(seed, shape, scale) -> None:
    truth = np.random.default_rng(seed).normal(3.0, scale, size=shape)
    mean = np.broadcast_to(truth.mean(axis=0), shape)
    assert relative_error(mean, truth) == pytest.approx(1.0)
    assert relative_error(truth, truth) == 0.0


def test_relative_error_by_hand() -> None:
    truth = np.array([[0.0, 10.0], [2.0, 10.0]])
    # Pixel variances 1 and 0, 0.5 on average; squared errors 1, 0, 0 and 4.
    prediction = np.array([[1.0, 10.0], [2.0, 12.0]])
    assert relative_error(prediction, truth) == pytest.approx((5.0 / 4.0) / 0.5)


def test_relative_error_is_computed_in_float64() -> None:
    truth = np.float32([[1e4], [1e4 + 1.0]])
    assert relative_error(truth + np.float32(0.5), truth) == pytest.approx(1.0)


def test_a_constant_truth_has_no_relative_error() -> None:
    with pytest.raises(InputError, match="constant"):
        relative_error(np.zeros((3, 2)), np.ones((3, 2)))


# === linear_mean_swap ===


def test_mean_swap_by_hand() -> None:
    x = np.array([[[1.0], [3.0]], [[10.0], [20.0]]])
    swapped = linear_mean_swap(GroupedData(x), np.array([1, 0]))
    # x - own mean + other mean; the means are 2 and 15.
    np.testing.assert_allclose(swapped, [[[14.0], [16.0]], [[-3.0], [7.0]]])


def test_mean_swap_with_a_mask_by_hand() -> None:
    x = np.array([[[1.0], [3.0], [np.nan]], [[10.0], [20.0], [60.0]]])
    mask = np.array([[True, True, False], [True, False, True]])
    swapped = linear_mean_swap(GroupedData(x, mask), np.array([1, 0]))
    # The means over present instances are 2 and 35.
    np.testing.assert_allclose(swapped[0, :2], [[34.0], [36.0]])
    np.testing.assert_allclose(swapped[1, [0, 2]], [[-23.0], [27.0]])


def test_mean_swap_of_a_group_with_itself_changes_nothing(groups) -> None:
    swapped = linear_mean_swap(groups, np.arange(len(groups)))
    present = groups.present
    np.testing.assert_allclose(swapped[present], groups.x[present], atol=1e-5)


def test_mean_swap_is_exact_where_effects_add_up() -> None:
    """An additive world, whose nuisances have the same mean in every group."""
    rng = np.random.default_rng(0)
    state, nuisance = rng.normal(size=(6, 4)), rng.normal(size=(6, 5, 4))
    nuisance -= nuisance.mean(axis=1, keepdims=True)
    groups = GroupedData(
        state[:, None] + nuisance,
        state={"s": state},
        nuisance={"n": nuisance},
        render=lambda s, n: s["s"] + n["n"],
    )
    error = redatuming_error(_Constant(groups), groups)
    assert error.mean_swap < 1e-12
    assert float(error) == pytest.approx(1.0, abs=0.05)


class _Constant:
    """Predicts the mean instance always."""

    def __init__(self, groups: GroupedData) -> None:
        self.mean = groups.x[groups.present].mean(axis=0)

    def redatum(self, coherent_from, nuisance_from, coherent_mask, nuisance_mask):
        return np.broadcast_to(self.mean, nuisance_from.shape)

    def reconstruct(self, x, mask):
        return np.broadcast_to(self.mean, x.shape)


# === redatuming_error ===


def test_a_perfect_model_has_no_error(groups) -> None:
    oracle = Oracle(groups)
    error = redatuming_error(oracle, groups)
    assert float(error) < 1e-12
    # The data are noisy and the oracle is not: 0.01^2 over the variance of the data.
    noise = 1e-4 / np.var(groups.x[groups.present], axis=0).mean()
    assert error.reconstruction == pytest.approx(noise, rel=0.05)
    assert 0.05 < error.mean_swap < 0.5
    masked = groups.mask is not None
    assert all((mask is not None) == masked for mask in oracle.masks_seen)


def test_a_model_that_only_reconstructs_is_found_out(groups) -> None:
    """It copies its input: no state is ever swapped."""

    class Copies(Oracle):
        def redatum(self, coherent_from, nuisance_from, coherent_mask, nuisance_mask):
            return nuisance_from

        def reconstruct(self, x, mask):
            return x

    error = redatuming_error(Copies(groups), groups)
    assert error.reconstruction == 0.0
    assert float(error) > 0.5
    assert float(error) > error.mean_swap


def test_a_constant_model_has_error_one(groups) -> None:
    error = redatuming_error(_Constant(groups), groups)
    assert float(error) == pytest.approx(1.0, abs=0.1)
    assert error.reconstruction == pytest.approx(1.0, abs=1e-4)


def test_needs_simulated_data_and_two_groups() -> None:
    measured = GroupedData(np.zeros((3, 2, 4), "float32"))
    with pytest.raises(InputError, match="only simulated data"):
        redatuming_error(_Constant(measured), measured)
    one = simulate_exposures(n_states=1, n_instances=2)
    with pytest.raises(InputError, match="at least two groups.*received 1"):
        redatuming_error(_Constant(one), one)


def test_the_error_is_a_float() -> None:
    error = RedatumingError(0.25, mean_swap=0.5, reconstruction=0.125)
    assert isinstance(error, float)
    assert error == 0.25
    assert error < error.mean_swap
    assert round(error, 1) == 0.2
    assert f"{error:.3f}" == "0.250"
    assert json.loads(json.dumps({"error": error})) == {"error": 0.25}
    assert repr(error) == (
        "RedatumingError(0.2500, mean_swap=0.5000, reconstruction=0.1250)"
    )
    assert type(error + 1.0) is float


@pytest.mark.parametrize(
    "duplicate", [copy.copy, lambda e: pickle.loads(pickle.dumps(e))]
)
def test_the_error_can_be_copied_and_sent(duplicate) -> None:
    again = duplicate(RedatumingError(0.25, mean_swap=0.5, reconstruction=0.125))
    assert type(again) is RedatumingError
    assert (again, again.mean_swap, again.reconstruction) == (0.25, 0.5, 0.125)
