"""The estimate of the redatuming error, against closed forms."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from typing import Any

import numpy as np
import pytest

from symae_keras._utils.arrays import Codes
from symae_keras.classical import GroupedPCA, MeanSwap
from symae_keras.data import GroupedData, simulate_exposures
from symae_keras.errors import InputError
from symae_keras.evaluation import (
    confounded_metadata,
    estimate_redatuming_error,
    redatuming_error,
)
from symae_keras.evaluation._noise import white_noise_variance
from symae_keras.evaluation.estimate import (
    EstimatedRedatumingError,
    _mean_of_positive,
)

PIXELS = 6
#: Variances of the state and of the nuisance, in every pixel.
STATE, NUISANCE = 1.0, 0.5


@dataclasses.dataclass
class Shrinking:
    """Additive model whose coherent code is the mean times a factor.

    What it gets wrong of a state `s` is `e = s - factor (s + mean nuisance)`, and every
    virtual instance is wrong by the difference of two of these.
    """

    factor: float
    #: Instances of all groups, for which the code is their sum.
    summed: int | None = None

    def encode(self, x: Any, mask: Any = None) -> Codes:
        good = np.ones(x.shape, bool) if mask is None else np.asarray(mask)
        good = good.reshape(*good.shape, *(1,) * (x.ndim - good.ndim))
        good = np.broadcast_to(good, x.shape)
        total = np.where(good, x, 0.0).sum(axis=1)
        share = self.factor * total / good.sum(axis=1).clip(1)
        nuisance = x - share[:, None]
        return Codes(self.factor * total if self.summed else share, nuisance)

    def decode(self, coherent: Any, nuisance: Any) -> Any:
        return coherent[:, None] / (self.summed or 1) + nuisance


def additive(n: int, instances: int, seed: int = 0) -> GroupedData:
    rng = np.random.default_rng(seed)
    state = rng.normal(size=(n, 1, PIXELS)) * STATE**0.5
    nuisance = rng.normal(size=(n, instances, PIXELS)) * NUISANCE**0.5
    return GroupedData((state + nuisance).astype("float32"))


@pytest.mark.parametrize("instances", [2, 3, 8])
@pytest.mark.parametrize("factor", [0.0, 0.5, 1.0])
def test_closed_form_of_additive_models(factor: float, instances: int) -> None:
    found = estimate_redatuming_error(Shrinking(factor), additive(2000, instances))
    total = STATE + NUISANCE
    contamination = factor**2 * NUISANCE / instances / total
    leak = (1.0 - factor) ** 2 * STATE / total
    assert found.reconstruction == pytest.approx(0.0, abs=1e-9)
    assert found.nuisance_in_state == pytest.approx(contamination, rel=0.06, abs=1e-9)
    # Shapes with few instances are compared within noise of this size.
    assert found.state_in_nuisance == pytest.approx(leak, rel=0.08, abs=0.02)
    assert found == pytest.approx(2.0 * (contamination + leak), rel=0.08, abs=0.04)


@pytest.mark.parametrize("instances", [2, 4])
@pytest.mark.parametrize("factor", [0.5, 1.0])
def test_effects_of_instruments_are_no_error(factor: float, instances: int) -> None:
    """In a crossed design, all groups have the same error, which cancels."""
    groups = additive(1000, instances)
    alone = estimate_redatuming_error(Shrinking(factor), groups)
    effects = np.random.default_rng(1).normal(size=(instances, PIXELS))
    effects *= 3.0 / effects.std()
    crossed = dataclasses.replace(groups, x=groups.x + effects.astype("float32"))
    found = estimate_redatuming_error(Shrinking(factor), crossed)
    # The error is relative to a variance that includes the effects.
    variances = [float(x.var(axis=(0, 1)).mean()) for x in (groups.x, crossed.x)]
    expected = alone * variances[0] / variances[1]
    assert found == pytest.approx(expected, rel=0.1, abs=1e-3)
    # In random order, the same instances are chance, and the common part is an error.
    rng = np.random.default_rng(2)
    order = rng.permuted(np.tile(np.arange(instances), (1000, 1)), axis=1)
    x = np.take_along_axis(crossed.x, order[:, :, None], axis=1)
    by_chance = estimate_redatuming_error(Shrinking(factor), GroupedData(x))
    assert found.nuisance_in_state < 0.5 * by_chance.nuisance_in_state


def test_ragged_groups_and_bad_pixels() -> None:
    groups = additive(1500, 6)
    rng = np.random.default_rng(1)
    counts = rng.choice([1, 2, 3, 6], 1500)
    mask = np.arange(6) < counts[:, None]
    mask = rng.permuted(mask, axis=1)
    x = np.where(mask[..., None], groups.x, 1e6)
    bad = np.arange(PIXELS) == 2
    spoiled = np.where(bad, np.nan, x)
    several = counts[counts > 1]
    contamination = 0.36 * np.mean(NUISANCE / several) / (STATE + NUISANCE)
    for each in (
        GroupedData(x.astype("float32"), mask=mask),
        GroupedData(
            np.nan_to_num(spoiled, nan=1e6).astype("float32"),
            mask=mask,
            pixel_mask=np.broadcast_to(~bad, x.shape),
        ),
    ):
        found = estimate_redatuming_error(Shrinking(0.6), each)
        assert found.nuisance_in_state == pytest.approx(contamination, rel=0.1)
        assert found.state_in_nuisance == pytest.approx(0.16 * STATE / 1.5, rel=0.2)


def test_swaps_of_other_groups() -> None:
    """The reconstruction error is that of held-out groups, the rest that of swaps."""

    class Dim(Shrinking):
        def decode(self, coherent: Any, nuisance: Any) -> Any:
            return 0.9 * super().decode(coherent, nuisance)

    few, many = additive(12, 4, seed=1), additive(800, 4, seed=2)
    model = Dim(0.6)
    held_out = estimate_redatuming_error(model, few)
    both = estimate_redatuming_error(model, few, swapped=many)
    alone = estimate_redatuming_error(model, many)
    assert both.reconstruction == held_out.reconstruction > 0.0
    variance, of_many = (float(each.x.var(axis=(0, 1)).mean()) for each in (few, many))
    for part in ("nuisance_in_state", "state_in_nuisance"):
        expected = getattr(alone, part) * of_many / variance
        assert getattr(both, part) == pytest.approx(expected, rel=1e-3)
    assert both.interval[0] < both < both.interval[1]
    with pytest.raises(InputError, match="received 1 such of 1 groups"):
        estimate_redatuming_error(model, few, swapped=many[:1])


def test_halves_of_groups_have_their_size_for_a_sum() -> None:
    groups = additive(500, 4)
    found = estimate_redatuming_error(Shrinking(0.7, summed=4), groups)
    assert found == pytest.approx(
        estimate_redatuming_error(Shrinking(0.7), groups), rel=1e-4
    )


def test_scale_and_offset_of_the_data_do_not_matter() -> None:
    groups = simulate_exposures(60, 6, seed=0)
    other = GroupedData(groups.x * 1000.0 + 5.0)
    one = estimate_redatuming_error(MeanSwap().fit(groups), groups)
    two = estimate_redatuming_error(MeanSwap().fit(other), other)
    np.testing.assert_allclose(two, one, rtol=2e-3)
    np.testing.assert_allclose(two.interval, one.interval, rtol=2e-3)


@pytest.mark.parametrize("entangled", [True, False])
@pytest.mark.parametrize("instances", [2, 8, 16])
def test_it_comes_near_the_truth(entangled: bool, instances: int) -> None:
    groups = simulate_exposures(200, instances, seed=1, entangled=entangled)
    model = MeanSwap().fit(groups)
    found = estimate_redatuming_error(model, groups)
    assert 0.75 < found / redatuming_error(model, groups) < 1.25
    assert found.interval[0] < found < found.interval[1]


def test_actions_of_nuisances_count() -> None:
    """Gains act most on bright states; the mean swap transfers this to dark ones."""
    rng = np.random.default_rng(0)
    state = rng.lognormal(size=(300, 1, 40))
    gain = 1.0 + 0.2 * rng.normal(size=(300, 12, 1))
    groups = GroupedData((state * gain).astype("float32"))
    found = estimate_redatuming_error(MeanSwap().fit(groups), groups)
    # (s_i - s_j)(g - 1), and the means of gains on both sides.
    swapped = 2.0 * state.var() * 0.2**2
    variance = groups.x.var(axis=(0, 1)).mean()
    assert found.state_in_nuisance > 0.25 * swapped / variance
    known = Shrinking(1.0)
    additive_part = 2.0 * estimate_redatuming_error(known, groups).nuisance_in_state
    assert found > 1.3 * additive_part


@pytest.mark.parametrize("interacts", [True, False])
def test_noise_does_not_hide_interactions(interacts: bool) -> None:
    """A gain acts on the whole state, or on its mean over groups only."""
    rng = np.random.default_rng(0)
    pixels = np.linspace(0.0, 1.0, 40)
    mean = 3.0 + np.sin(7.0 * pixels)
    shapes = np.stack([np.cos(9.0 * pixels), pixels - 0.5])
    state = mean + rng.normal(size=(600, 1, 2)) @ shapes
    gain = 0.3 * rng.normal(size=(600, 3, 1))
    noise = 0.5 * rng.normal(size=(600, 3, 40))
    x = state + gain * (state if interacts else mean) + noise
    found = estimate_redatuming_error(MeanSwap().fit(GroupedData(x)), GroupedData(x))
    variance = x.var(axis=(0, 1)).mean()
    expected = 0.3**2 * state.var(axis=0).mean() / variance
    if interacts:
        assert 0.6 < found.state_in_nuisance / expected < 1.5
    else:
        assert found.state_in_nuisance < 0.4 * expected


@pytest.mark.parametrize("components", [4, 60])
@pytest.mark.parametrize("masked", [False, True])
def test_noise_is_subtracted_from_the_reconstruction(
    components: int, masked: bool
) -> None:
    """A projection to 60 of 80 pixels reproduces most of the noise."""
    rng = np.random.default_rng(0)
    clean = rng.normal(size=(300, 4, 3)) @ rng.normal(size=(3, 80)) + 2.0
    mask = rng.random((300, 4)) < 0.8 if masked else None
    noise = 0.5 * rng.normal(size=clean.shape)
    groups = GroupedData((clean + noise).astype("float32"), mask=mask)
    model = GroupedPCA(components, components).fit(groups[:150])
    groups, clean, present = groups[150:], clean[150:], groups.present[150:]
    estimate = estimate_redatuming_error(model, groups)
    decoded = model.decode(*model.encode(groups.x, groups.model_mask))[present]
    error = np.mean((decoded - clean[present]) ** 2)
    error /= groups.x[present].var(axis=0).mean()
    assert (estimate.noise > 0.0) == (components == 4)
    np.testing.assert_allclose(
        estimate.reconstruction - estimate.noise, error, rtol=0.05, atol=2e-3
    )


@pytest.mark.parametrize("rows", [60, 300, 2000])
def test_white_noise_of_signals(rows: int) -> None:
    rng = np.random.default_rng(rows)
    signal = 5.0 * rng.normal(size=(rows, 8)) @ rng.normal(size=(8, 120)) + 3.0
    white = rng.normal(size=signal.shape)
    smooth = white + np.roll(white, 1, axis=1)
    found, below, none = (
        white_noise_variance(signal + 0.1 * noise, rng)
        for noise in (white, smooth, 0.0 * white)
    )
    assert 0.93 < found / 0.01 < 1.07
    assert below < 0.01 * smooth.var()
    assert none < 1e-12 * signal.var()
    assert white_noise_variance(signal[:9], rng) == 0.0


def test_the_verdict_names_noise() -> None:
    error = EstimatedRedatumingError(0.01, 1e-3, 0.0, (0.01, 0.02), 0.9, noise=0.009)
    assert error.verdict().endswith(
        "Most of it is pixel noise, which virtual instances do not contain: their own "
        "error is about 0.3 %."
    )


def test_small_groups_do_not_hide_the_actions_of_others() -> None:
    rng = np.random.default_rng(0)
    state = rng.normal(size=(80, 1, 40))
    gain = 1.0 + 0.5 * rng.normal(size=(80, 6, 1))
    x = state * gain + 0.3 * rng.normal(size=(80, 6, 1))
    model, mask = MeanSwap().fit(GroupedData(x)), np.ones((80, 6), bool)
    whole = estimate_redatuming_error(model, GroupedData(x))
    mask[0, 2:] = False
    found = estimate_redatuming_error(model, GroupedData(x, mask=mask))
    assert found == pytest.approx(whole, rel=0.1)
    # Pairs do not show actions.
    pairs = estimate_redatuming_error(model, GroupedData(x[:, :2]))
    assert pairs.state_in_nuisance < 0.2 * whole.state_in_nuisance


def test_what_cannot_be_negative_is_estimated_as_a_mean() -> None:
    """Compute the mean of a normal distribution, truncated at zero, by summation."""
    axis = np.linspace(0.0, 20.0, 2_000_001)
    measured = np.array([-30.0, -4.0, -0.5, 0.0, 0.2, 3.0])
    for value, found in zip(measured, _mean_of_positive(measured, 0.7), strict=True):
        log_density = -0.5 * ((axis - value) / 0.7) ** 2
        density = np.exp(log_density - log_density.max())
        assert found == pytest.approx((axis * density).sum() / density.sum(), rel=1e-3)
    assert _mean_of_positive(-1.0, 0.0) == 0.0
    assert _mean_of_positive(50.0, 0.1) == pytest.approx(50.0)


def test_more_groups_narrow_the_interval() -> None:
    widths = []
    for n in (50, 400):
        low, high = estimate_redatuming_error(Shrinking(0.5), additive(n, 4)).interval
        widths.append(high - low)
    assert 1.8 < widths[0] / widths[1] < 4.5  # the square root of 8 in the mean


@pytest.mark.parametrize("factor", [0.5, 1.0])
def test_the_interval_contains_the_truth_with_few_groups(factor: float) -> None:
    """Without a small-sample correction, a bootstrap covers it half of the time."""
    groups, model = additive(640, 4), Shrinking(factor)
    leak = (1.0 - factor) ** 2 * STATE + factor**2 * NUISANCE / 4
    error = 2.0 * leak / (STATE + NUISANCE)
    parts = (groups[start : start + 8] for start in range(0, 640, 8))
    found = [estimate_redatuming_error(model, each) for each in parts]
    covered = [each.interval[0] <= error <= each.interval[1] for each in found]
    assert np.mean(covered) > 0.8  # of 80, at a level of 0.9
    assert all(each.interval[0] <= each <= each.interval[1] for each in found)


def test_an_uncertain_leak_is_named() -> None:
    """With few groups, the advice does not take uncertainty for state in the code."""
    found = estimate_redatuming_error(Shrinking(1.0), additive(10, 4, seed=3))
    assert 0.0 < found.uncertainty <= found.state_in_nuisance
    few = EstimatedRedatumingError(0.01, 0.001, 0.05, (0.01, 0.2), 0.9, 0.04)
    assert "uncertainty, because there are few groups" in few.verdict()
    leaking = EstimatedRedatumingError(0.01, 0.001, 0.05, (0.01, 0.2), 0.9, 0.01)
    assert "state in the nuisance code" in leaking.verdict()


def test_seed_and_copies() -> None:
    groups, model = additive(40, 4), Shrinking(0.5)
    found = estimate_redatuming_error(model, groups, seed=3)
    assert found == estimate_redatuming_error(model, groups, seed=3)
    assert found != estimate_redatuming_error(model, groups, seed=4)
    for other in (copy.deepcopy(found), pickle.loads(pickle.dumps(found))):
        assert repr(other) == repr(found) and other.interval == found.interval
    assert f"EstimatedRedatumingError({found:.4f}, 90% interval" in repr(found)


def test_what_cannot_be_estimated() -> None:
    model = Shrinking(1.0)
    with pytest.raises(InputError, match="two or more instances; received 0 such of 9"):
        estimate_redatuming_error(model, additive(9, 1))
    for value in (1.0, 0.1):  # rounding of the mean is no variance
        with pytest.raises(InputError, match="constant"):
            estimate_redatuming_error(model, GroupedData(np.full((4, 3, 5), value)))
    with pytest.raises(InputError, match="vary by about 1e-24, outside.*rescale"):
        estimate_redatuming_error(model, GroupedData(1e-24 * additive(9, 2).x))
    with pytest.raises(ValueError, match="0 < level < 1"):
        estimate_redatuming_error(model, additive(9, 2), level=90)


# === Assumption ===


def test_confounded_nuisances_are_told_by_metadata() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 6, 5))
    night = np.repeat(rng.integers(0, 5, (40, 1)), 6, axis=1)
    night[:, 5] = rng.integers(0, 5, 40)  # nearly one night for each star
    groups = GroupedData(
        x,
        mask=rng.random((40, 6)) < 0.9,
        instance_metadata={
            "night": night.astype(str),
            "air mass": rng.normal(size=(40, 1)) + 0.1 * rng.normal(size=(40, 6)),
            "order": np.tile(np.arange(6), (40, 1)),
            "file": np.arange(240).astype(str).reshape(40, 6),
            "seeing": rng.normal(size=(40, 6)),
            "constant": np.ones((40, 6)),
            "gaps": np.full((40, 6), np.nan),
        },
    )
    found = confounded_metadata(groups)
    assert set(found) == {"night", "air mass"}
    assert 0.4 < found["night"] < 0.9 and found["air mass"] == pytest.approx(1, abs=0.1)


def test_confounding_makes_the_estimate_too_low(caplog) -> None:
    rng = np.random.default_rng(0)
    state = rng.normal(size=(200, 1, PIXELS))
    weather = np.repeat(rng.normal(size=(200, 1, 1)), 8, axis=1)
    x = state + weather + 0.3 * rng.normal(size=(200, 8, PIXELS))
    groups = GroupedData(x, instance_metadata={"weather": weather[..., 0]})
    found = estimate_redatuming_error(Shrinking(1.0), groups)
    # The weather of a group is entirely in its coherent code, and no measure detects
    # it.
    assert found < 0.1 * 2.0 * weather.var() / x.var(axis=(0, 1)).mean()
    (record,) = caplog.records
    assert "weather" in record.getMessage() and "too low" in record.getMessage()
