"""Bands: conformal quantiles, coverage compared with the truth, unusual groups."""

from __future__ import annotations

import dataclasses
import logging
import math
from typing import Any

import numpy as np
import pytest

from symae_keras import zoo
from symae_keras._utils.arrays import Codes
from symae_keras.classical import MeanSwap
from symae_keras.data import GroupedData, simulate_exposures
from symae_keras.errors import InputError
from symae_keras.evaluation import Bands
from symae_keras.evaluation._conformal import groups_needed, p_values, quantile
from symae_keras.evaluation.bands import _without_noise

PIXELS = 5


@dataclasses.dataclass
class Additive:
    """Linear model whose coherent code is the mean of the group times a factor.

    A virtual instance is wrong by `e_j - e_i` with `e = s - factor (s + mean nuisance)`
    and, with `blind`, by what it does not see of the last pixel.
    """

    factor: float = 1.0
    blind: bool = False

    def encode(self, x: Any, mask: Any = None) -> Codes:
        good = np.ones(x.shape, bool) if mask is None else np.asarray(mask)
        good = good.reshape(*good.shape, *(1,) * (x.ndim - good.ndim))
        good = np.broadcast_to(good, x.shape)
        x = np.where(good, x, 0.0)
        share = self.factor * x.sum(axis=1) / good.sum(axis=1).clip(1)
        nuisance = x - share[:, None]
        if self.blind:
            nuisance[..., -1] = 0.0
        return Codes(share, nuisance)

    def decode(self, coherent: Any, nuisance: Any) -> Any:
        return coherent[:, None] + nuisance

    def reconstruct(self, x: Any, mask: Any = None) -> Any:
        return self.decode(*self.encode(x, mask))

    def redatum(
        self,
        coherent_from: Any,
        nuisance_from: Any,
        coherent_mask: Any = None,
        nuisance_mask: Any = None,
    ) -> Any:
        coherent = self.encode(coherent_from, coherent_mask).coherent
        return self.decode(coherent, self.encode(nuisance_from, nuisance_mask).nuisance)


def additive(n: int, instances: int, seed: int) -> tuple[GroupedData, Any, Any]:
    """Groups, their states and their nuisances."""
    rng = np.random.default_rng(seed)
    state = rng.normal(size=(n, 1, PIXELS))
    nuisance = 0.7 * rng.normal(size=(n, instances, PIXELS))
    return GroupedData((state + nuisance).astype("float32")), state, nuisance


def covered(truth: Any, lower: Any, upper: Any) -> Any:
    return ((lower <= truth) & (truth <= upper)).all(axis=-1)


# === Conformal quantiles and p-values ===


@pytest.mark.parametrize("level", [0.5, 0.8, 0.9, 0.95])
@pytest.mark.parametrize("n", [19, 20, 99])
def test_index_of_the_quantile(n: int, level: float) -> None:
    scores = np.random.default_rng(0).permutation(np.arange(1.0, n + 1))[:, None]
    index = math.ceil(round((n + 1) * level, 6))
    assert quantile(scores, level) == index
    # Instances share the weight of their group; absent ones have no weight.
    repeated = np.repeat(scores, 3, axis=1)
    repeated[::2, 1] = np.nan
    assert quantile(repeated, level) == index


def test_too_few_groups_for_a_level() -> None:
    assert [groups_needed(level) for level in (0.5, 0.8, 0.9, 0.95)] == [1, 4, 9, 19]
    assert quantile(np.arange(9.0)[:, None], 0.9) == 8.0
    with pytest.raises(InputError, match="at least 9 calibration groups; received 8"):
        quantile(np.arange(8.0)[:, None], 0.9)
    with pytest.raises(InputError, match="at most 0.889"):
        quantile(np.arange(8.0)[:, None], 0.9)


def test_coverage_of_new_groups_in_finite_samples() -> None:
    """Coverage is from the level to the level plus 1 / (n + 1), for any correlation."""
    rng = np.random.default_rng(1)
    n, draws = 19, 4000
    scores = rng.normal(size=(draws, n + 1, 1)) + 0.5 * rng.normal(
        size=(draws, n + 1, 3)
    )
    found = [each[-1] <= quantile(each[:-1], 0.8) for each in scores]
    assert 0.79 < np.mean(found) < 0.8 + 1.0 / (n + 1) + 0.01


def test_floor_and_rate_of_p_values() -> None:
    rng = np.random.default_rng(2)
    n, draws = 39, 3000
    scores = rng.normal(size=(draws, n + 1, 1)) + rng.normal(size=(draws, n + 1, 2))
    p = np.array([p_values(each[:-1], each[-1]) for each in scores])
    assert p.min() >= 1.0 / (n + 1)
    assert p_values(scores[0], 1e9) == pytest.approx(1.0 / (n + 2))
    for level in (0.05, 0.1, 0.5):
        assert level - 0.03 < np.mean(p <= level) < level + 0.01
    assert np.isnan(p_values(scores[0], [np.nan])).all()


# === Coverage ===


@pytest.mark.large
@pytest.mark.parametrize(
    ("factor", "instances", "blind"),
    [
        *((1.0, 2, False), (1.0, 8, False), (0.9, 8, False), (0.3, 8, False)),
        *((1.0, 2, True), (0.3, 8, True)),
    ],
)
def test_coverage_in_a_linear_model(factor: float, instances: int, blind: bool) -> None:
    rates, widths = [], []
    for seed in range(2):
        model = Additive(factor, blind)
        groups, state, nuisance = additive(800, instances, seed)
        bands = Bands.fit(model, groups[:400], crossed=False, seed=seed)
        other = np.roll(np.arange(400), -1)
        lower, upper = bands.of(groups[400:], groups[400:][other])
        truth = state[400:] + nuisance[400:][other]
        rates.append(covered(truth, lower, upper).mean())
        half = 0.5 * (upper - lower)
        ratios = np.abs(truth - 0.5 * (lower + upper)) / half
        widths.append(1.0 / np.quantile(ratios.max(axis=-1), 0.9))
    assert 0.85 < np.mean(rates) < 0.95
    assert 0.85 < np.mean(widths) < 1.15


def test_crossed_designs_have_their_exact_coverage() -> None:
    rng = np.random.default_rng(3)
    instrument = np.array([0.0, 3.0])[:, None] * np.ones(PIXELS)
    rates = []
    for _ in range(60):
        x = rng.normal(size=(140, 1, PIXELS)) + instrument
        x = GroupedData((x + 0.2 * rng.normal(size=x.shape)).astype("float32"))
        bands = Bands.fit(MeanSwap().fit(x), x[:40])
        assert bands.crossed and bands.n_groups == 40
        first = np.broadcast_to([True, False], (100, 2))
        lower, upper = bands.of(x.x[40:], x.x[:1], coherent_mask=first)
        truth = x.x[40:, 1]
        rates.append(covered(truth, lower[:, 1], upper[:, 1]).mean())
    assert 0.88 < np.mean(rates) < 0.94


def test_repeated_exposures_are_not_crossed() -> None:
    groups = simulate_exposures(40, 4, seed=0)
    assert not Bands.fit(MeanSwap().fit(groups), groups).crossed


@pytest.mark.large
def test_coverage_of_exposures() -> None:
    groups = simulate_exposures(140, 16, seed=0)
    bands = Bands.fit(zoo.load("symae_exposures"), groups[:100])
    test = groups[100:]
    other = np.roll(np.arange(40), -1)
    lower, upper = bands.of(test, test[other])
    place = np.indices(test.present.shape)[1]
    truth = test.virtual(np.arange(40)[:, None], other[:, None], place)
    assert 0.8 < covered(truth, lower, upper).mean() < 0.99
    assert (upper - lower).mean() < 0.35  # flux of about 1


# === Arguments and unusual groups ===


def test_noise_is_removed_from_the_residual_of_each_instance() -> None:
    rng = np.random.default_rng(0)
    sizes = rng.choice([0.5, 1.0, 3.0], size=(50, 4, 1))
    errors = sizes * rng.normal(size=(50, 4, 400))
    good = rng.random(errors.shape) < 0.9
    residuals = np.where(good, errors + rng.normal(size=errors.shape), 0.0)
    left = residuals * _without_noise(residuals, good, 1.0)
    for size in (0.5, 1.0, 3.0):
        chosen = good & (sizes == size)
        assert np.mean(left[chosen] ** 2) == pytest.approx(size**2, rel=0.15)
    np.testing.assert_array_equal(_without_noise(residuals, good, 0.0), 1.0)
    absent = _without_noise(0.0 * residuals, np.zeros_like(good), 1.0)
    assert np.isfinite(absent).all()


def test_levels_are_nested_and_draws_are_fixed_by_the_seed() -> None:
    groups = additive(60, 4, seed=0)[0]
    narrow, wide, again = (
        Bands.fit(Additive(0.9), groups[:50], level=level, crossed=False)
        for level in (0.5, 0.9, 0.9)
    )
    assert narrow.quantile < wide.quantile == again.quantile
    limits = [each.of(groups[50:], groups[:10]) for each in (narrow, wide, again)]
    assert (limits[0][0] > limits[1][0]).all() and (limits[0][1] < limits[1][1]).all()
    np.testing.assert_array_equal(limits[1], limits[2])
    assert limits[0][0].dtype == np.float32


def test_one_group_is_used_for_all() -> None:
    groups = additive(60, 4, seed=0)[0]
    bands = Bands.fit(Additive(), groups[:50], crossed=False)
    one = bands.of(coherent_from=groups.x[50:], nuisance_from=groups.x[:1])
    all_of_them = groups.x[:1].repeat(10, axis=0)
    np.testing.assert_allclose(one, bands.of(groups.x[50:], all_of_them), atol=1e-6)
    with pytest.raises(InputError, match="received 10 and 2"):
        bands.of(groups.x[50:], groups.x[:2])


def test_absent_instances_and_bad_pixels_do_not_matter() -> None:
    groups, state, nuisance = additive(600, 6, seed=1)
    rng = np.random.default_rng(0)
    counts = rng.choice([1, 2, 4, 6], 600)
    mask = np.arange(6) < counts[:, None]
    bad = rng.random(groups.x.shape) < 0.02
    made = []
    for wrong in (0.0, 1e6):
        x = np.where(mask[..., None] & ~bad, groups.x, wrong).astype("float32")
        data = GroupedData(x, mask=mask, pixel_mask=~bad)
        bands = Bands.fit(Additive(), data[:400], crossed=False)
        assert bands.n_groups == (counts[:400] > 1).sum()
        other = np.roll(np.arange(200), -1)
        made.append(bands.of(data[400:], data[400:][other]))
    there = mask[400:][other][..., None] & ~bad[400:][other]
    for one, two in zip(*made, strict=True):
        np.testing.assert_allclose(one[there], two[there], rtol=1e-5)
    truth = np.where(there, state[400:] + nuisance[400:][other], 0.5 * np.add(*made[0]))
    rate = covered(truth, *made[0])[mask[400:][other]].mean()
    assert 0.8 < rate < 0.97


@pytest.mark.parametrize("crossed", [True, False])
def test_nothing_is_known_of_a_pixel_without_measurements(crossed: bool) -> None:
    rng = np.random.default_rng(0)
    state, of_place = rng.normal(size=(60, 1, 9)), 3.0 * rng.normal(size=(1, 4, 9))
    x = state + (of_place if crossed else 0.0) + 0.1 * rng.normal(size=(60, 4, 9))
    there = np.ones(x.shape, bool)
    there[:40, :, 7] = False
    model = MeanSwap().fit(GroupedData(x))
    bands = Bands.fit(model, GroupedData(x[:40], pixel_mask=there[:40]), 0.8, crossed)
    low, high = bands.of(x[40:50], x[50:60])
    assert np.isnan(low[..., 7]).all() and np.isnan(high[..., 7]).all()
    assert np.isfinite(np.delete(high - low, 7, axis=-1)).all()


def test_refusals() -> None:
    groups = additive(8, 3, seed=0)[0]
    with pytest.raises(InputError, match="at least 9 held-out groups of two or more"):
        Bands.fit(Additive(), groups)
    assert Bands.fit(Additive(), groups, level=0.8, crossed=False).n_groups == 8
    singles = additive(40, 1, seed=0)[0]
    with pytest.raises(InputError, match="received 0"):
        Bands.fit(Additive(), singles)
    with pytest.raises(ValueError, match="level"):
        Bands.fit(Additive(), groups, level=1.0)


def test_new_data_are_reported(caplog: pytest.LogCaptureFixture) -> None:
    groups = additive(140, 4, seed=0)[0]
    bands = Bands.fit(Additive(), groups[:120], crossed=False)
    strange = GroupedData(groups.x[120:] + np.float32(20.0))
    with caplog.at_level(logging.WARNING, logger="symae_keras"):
        bands.of(groups.x[:20], strange)
    assert "nuisance_from: group" in caplog.text and "new state" in caplog.text
    assert "coherent_from" not in caplog.text
