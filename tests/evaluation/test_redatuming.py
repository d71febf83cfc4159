"""Redatuming errors, compared with constructed cases and known models."""

from __future__ import annotations

import copy
import dataclasses
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
    error_over_instances,
    exposures_limit,
    redatuming_error,
    relative_error,
    rotations,
    shifts,
)


@pytest.fixture(scope="module", params=["complete", "masked"])
def groups(request) -> GroupedData:
    # More groups than the model processes at once.
    groups = simulate_exposures(n_states=70, n_instances=5, seed=0)
    if request.param == "complete":
        return groups
    mask = np.random.default_rng(5).random(groups.x.shape[:2]) < 0.7
    mask[:, 0] = True
    x = np.where(mask[..., None], groups.x, np.float32(np.nan))
    return dataclasses.replace(groups, x=x, mask=mask)


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


# === redatuming_error ===


@pytest.mark.jax
def test_a_perfect_model_has_no_error(groups, oracle) -> None:
    model = oracle(groups)
    error = redatuming_error(model, groups)
    assert float(error) < 1e-12
    # The data are noisy and the oracle is exact: 0.01^2 over the variance of the data.
    noise = 1e-4 / np.var(groups.x[groups.present], axis=0).mean()
    assert error.reconstruction == pytest.approx(noise, rel=0.05)
    assert 0.05 < error.mean_swap < 0.5
    masked = groups.mask is not None
    assert all((mask is not None) == masked for mask in model.masks_seen)


def test_what_cannot_be_judged(oracle) -> None:
    with pytest.raises(InputError, match="constant"):
        relative_error(np.zeros((3, 2)), np.ones((3, 2)))
    measured = GroupedData(np.zeros((3, 2, 4), "float32"))
    with pytest.raises(InputError, match="only simulated data"):
        redatuming_error(oracle(measured), measured)
    one = simulate_exposures(n_states=1, n_instances=2)
    with pytest.raises(InputError, match="at least two groups.*received 1"):
        redatuming_error(oracle(one), one)


def test_the_error_is_a_float_that_can_be_copied_and_sent() -> None:
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
    for again in (copy.copy(error), pickle.loads(pickle.dumps(error))):
        assert type(again) is RedatumingError
        assert (again, again.mean_swap, again.reconstruction) == (0.25, 0.5, 0.125)


# === Gauges ===


def _bump(place, width, size=24) -> np.ndarray:
    pixel = np.arange(size)
    return np.exp(-(((pixel - place[:, None]) / width[:, None]) ** 2)).astype("float32")


@pytest.fixture(scope="module")
def bumps() -> GroupedData:
    """Bumps whose width is the state and whose position is the nuisance."""
    rng = np.random.default_rng(0)
    width, place = rng.uniform(1.0, 2.0, 20), rng.uniform(9.0, 15.0, (20, 4))

    def render(state, nuisance):
        return _bump(nuisance["place"], state["width"])

    x = render({"width": np.repeat(width, 4)}, {"place": place.reshape(-1)})
    state, nuisance = {"width": width}, {"place": place}
    return GroupedData(
        x.reshape(20, 4, 24), state=state, nuisance=nuisance, render=render
    )


@pytest.fixture
def shifted(oracle, bumps):
    """Models with exact output except for shifts `(pairs, instances)`, in pixels."""

    class Shifted(oracle):
        def __init__(self, pixels: np.ndarray) -> None:
            super().__init__(bumps)
            self.pixels = np.broadcast_to(pixels, (20, 4))

        def redatum(self, coherent_from, nuisance_from, coherent_mask, nuisance_mask):
            virtual = super().redatum(coherent_from, nuisance_from, None, None)
            for place, n in np.ndenumerate(self.pixels):
                virtual[place] = shifts(3)[3 + int(n)](virtual[place])
            return virtual

    return Shifted


def test_one_shift_of_a_pair_is_no_error_but_shifts_of_instances_are(
    bumps, shifted, rng
) -> None:
    of_pairs = shifted(rng.integers(-2, 3, (20, 1)))
    assert redatuming_error(of_pairs, bumps) > 0.1
    assert redatuming_error(of_pairs, bumps, shifts(2)) < 1e-3  # lost at the edges
    of_instances = shifted(rng.integers(-2, 3, (20, 4)))
    fixed = redatuming_error(of_instances, bumps)
    assert 0.1 < redatuming_error(of_instances, bumps, gauge=shifts(2)) <= fixed


def test_a_gauge_changes_nothing_of_what_is_right(bumps, shifted) -> None:
    exact = shifted(np.zeros((1, 1)))
    error = redatuming_error(exact, bumps, shifts(1))
    assert error == 0.0
    assert error.mean_swap <= redatuming_error(exact, bumps).mean_swap


def test_shifts_of_images() -> None:
    image = np.arange(12.0).reshape(3, 4, 1)
    every = [each(image) for each in shifts(1, axes=(-3, -2))]
    assert len(every) == 9
    np.testing.assert_array_equal(every[4], image)
    np.testing.assert_array_equal(every[8][1:, 1:], image[:-1, :-1])


def test_rotations() -> None:
    image = np.arange(16.0).reshape(1, 4, 4, 1)
    same, quarter, half, _ = (each(image) for each in rotations(4))
    np.testing.assert_array_equal(same, image)
    np.testing.assert_array_equal(half, image[:, ::-1, ::-1])
    np.testing.assert_array_equal(quarter, np.rot90(image, 1, (1, 2)))


def test_rotations_go_on_where_quarter_turns_stop() -> None:
    """Two rotations by 45 degrees give 90 degrees, up to interpolation."""
    y, x = np.mgrid[-8:9, -8:9]
    image = np.exp(-((x - 2.0) ** 2 + y**2) / 16.0)[..., None]
    eighth, quarter = rotations(8)[1], rotations(8)[2]
    middle = np.s_[4:-4, 4:-4]
    twice = eighth(eighth(image))[middle]
    np.testing.assert_allclose(twice, quarter(image)[middle], atol=0.06)


def test_bad_gauges() -> None:
    with pytest.raises(ValueError, match="`max_pixels`"):
        shifts(0)
    with pytest.raises(ValueError, match="`n_angles`"):
        rotations(0)
    with pytest.raises(ValueError, match="`axes`"):
        rotations(4, axes=(-1, -1))


# === error_over_instances ===


@pytest.fixture(scope="module")
def stars() -> GroupedData:
    # At most as many as the model processes at once.
    return simulate_exposures(n_states=60, n_instances=8, seed=0)


@pytest.fixture
def guess(oracle, stars):
    """Models with an error whose square is `T ** power` of the variance."""

    class Guess(oracle):
        def __init__(self, power: float) -> None:
            super().__init__(stars)
            self.power = power

        def redatum(self, coherent_from, nuisance_from, coherent_mask, nuisance_mask):
            arguments = coherent_from, nuisance_from, coherent_mask, nuisance_mask
            truth = super().redatum(*arguments)
            count = np.full(len(truth), truth.shape[1])
            if coherent_mask is not None:
                count = coherent_mask.sum(axis=1)
            variance = np.mean(np.var(truth, axis=(0, 1)))
            return truth + np.sqrt(variance * count**self.power)[:, None, None]

    return Guess


@pytest.mark.parametrize("power", [0.0, -1.0, -2.0])
def test_slope(stars, guess, power) -> None:
    found = error_over_instances(guess(power), stars)
    assert found.n_instances == (1, 2, 4, 8)
    assert found.slope == pytest.approx(power, abs=1e-3)
    expected = [float(n) ** power for n in found.n_instances]
    np.testing.assert_allclose(found.errors, expected, rtol=1e-3)


def test_groups_are_cut_to_their_present_instances(stars, guess) -> None:
    mask = np.ones(stars.x.shape[:2], bool)
    mask[::2, 0] = mask[1::3, 2] = False
    some = dataclasses.replace(stars, mask=mask)
    found = error_over_instances(guess(-1.0), some, [1, 3, 6])
    assert found.slope == pytest.approx(-1.0, abs=0.1)


@pytest.mark.parametrize("counts", [[1], [2, 2], [0, 1], [1, 9]])
def test_bad_counts(stars, guess, counts) -> None:
    with pytest.raises(InputError, match="smallest group, which has 8"):
        error_over_instances(guess(-1.0), stars, counts)


# === exposures_limit ===


@pytest.mark.large
def test_more_exposures_lower_the_limit() -> None:
    states = {4: 150, 8: 300, 16: 250, 32: 100}
    limits = {n: exposures_limit(n, n_states=states[n]) for n in states}
    assert 0.019 < limits[16] < 0.025
    # Computed once with independent code: 0.072, 0.042, 0.021 and 0.011.
    expected = {4: 0.072, 8: 0.042, 16: 0.021, 32: 0.011}
    for n, limit in limits.items():
        assert limit == pytest.approx(expected[n], rel=0.25), n
    assert limits[4] > limits[8] > limits[16] > limits[32]
    # The error falls as 1 / n once the prior on the temperature is negligible.
    assert limits[8] / limits[32] == pytest.approx(4.0, rel=0.25)


def test_a_seed_repeats_the_limit() -> None:
    first, second, other = (exposures_limit(8, 50, seed) for seed in (1, 1, 2))
    assert first == second != other
    assert np.isfinite([first, other]).all()
