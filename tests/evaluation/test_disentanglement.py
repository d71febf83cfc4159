"""Scores and mutual information of codes with known values."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from symae_keras.errors import InputError
from symae_keras.evaluation import (
    disentanglement,
    disentanglement_spread,
    mutual_information,
)

# === disentanglement ===


SCORES = ["mig", "sap", "disentanglement", "completeness", "informativeness"]


@pytest.fixture(scope="module")
def factors() -> np.ndarray:
    return np.random.default_rng(0).uniform(size=(600, 3))


def _scores(code, factors) -> dict[str, float]:
    named = {"temperature": factors[:, 0], "abundance": factors[:, 1:]}
    return dataclasses.asdict(disentanglement(code, named))


def test_perfect_code(factors) -> None:
    """The factors in other units and another order."""
    scores = _scores(np.exp(-factors[:, ::-1]), factors)
    assert scores["mig"] == pytest.approx(1.0, abs=0.1)
    for name in SCORES[1:]:
        assert scores[name] == pytest.approx(1.0, abs=0.05), name


def test_rotated_code_tells_all_and_means_nothing(factors) -> None:
    """Every component is an equal share of every factor, up to signs."""
    rotation = np.linalg.qr(np.array([[1.0, 1, 1], [1, -1, 1], [1, 1, -2]]).T)[0]
    scores = _scores((factors - 0.5) @ rotation, factors)
    assert scores["informativeness"] > 0.8
    assert max(scores[name] for name in ("mig", "disentanglement")) < 0.6
    assert scores["mig"] < scores["informativeness"]


def test_leaking_code_lies_between_a_perfect_and_a_random_one(factors, rng) -> None:
    leaking = np.c_[factors[:, 0], factors[:, 1] + factors[:, 0], factors[:, 2]]
    perfect, leaks = _scores(factors, factors), _scores(leaking, factors)
    chance = _scores(rng.normal(size=factors.shape), factors)
    assert max(chance.values()) < 0.05
    for name in SCORES[:-1]:
        assert chance[name] + 0.1 < leaks[name] < perfect[name] - 0.1, name


def test_a_factor_told_twice_is_not_complete(factors) -> None:
    scores = _scores(np.concatenate([factors, factors], axis=1), factors)
    assert scores["mig"] < 0.05 and scores["sap"] < 0.05
    assert scores["disentanglement"] > 0.95
    assert scores["completeness"] < 0.8


def test_classes(rng) -> None:
    digit, angle = rng.integers(0, 4, 600), rng.uniform(size=600)
    code = np.stack([digit + 0.05 * rng.normal(size=600), angle], axis=1)
    scores = disentanglement(code, {"digit": digit, "angle": angle})
    for name in SCORES:
        assert getattr(scores, name) > 0.9, name


def test_a_dead_number_changes_little(factors) -> None:
    scores = _scores(np.c_[factors, np.zeros(600)], factors)
    assert min(scores.values()) > 0.9


def test_spread_over_five_seeds(factors, rng) -> None:
    """The measure itself has a small spread, for perfect and for random codes."""
    few = factors[:220, :2]
    named = {"temperature": few[:, 0], "velocity": few[:, 1]}
    perfect = disentanglement_spread(few, named)
    random = disentanglement_spread(rng.random(few.shape), named, n_seeds=3)
    assert perfect.scores[3] == disentanglement(few, named, seed=3)
    for found, n_seeds in ((perfect, 5), (random, 3)):
        table = np.array([dataclasses.astuple(each) for each in found.scores])
        assert table.shape == (n_seeds, 5)
        mean, spread = map(dataclasses.astuple, (found.mean, found.spread))
        np.testing.assert_allclose(mean, table.mean(axis=0))
        np.testing.assert_allclose(spread, table.std(axis=0, ddof=1))
        assert max(spread) < 0.2 and found.spread.informativeness > 0.0
    assert min(dataclasses.astuple(perfect.mean)) > 0.85
    assert max(dataclasses.astuple(random.mean)) < 0.15


def test_spread_over_trained_models(factors) -> None:
    """Compare a model that finds the factors and one that finds them rotated."""
    few = factors[:300, :2]
    turned = (few - 0.5) @ (np.array([[1.0, 1.0], [1.0, -1.0]]) / np.sqrt(2.0))
    named = {"a": few[:, 0], "b": few[:, 1]}
    found = disentanglement_spread([few, turned], named)
    assert len(found.scores) == 2
    assert found.scores[1] == disentanglement(turned, named, seed=1)
    assert found.spread.mig > 0.3 > found.spread.informativeness


def test_one_score_has_no_spread(factors) -> None:
    for codes, n_seeds in ((factors, 1), ([factors], 5)):
        with pytest.raises(InputError, match="at least two scores.*received 1"):
            disentanglement_spread(codes, {"a": factors[:, 0]}, n_seeds=n_seeds)


@pytest.mark.parametrize("shape", [(600,), (100, 3), (600, 1)])
def test_bad_codes(shape) -> None:
    with pytest.raises(InputError, match="200 rows"):
        disentanglement(np.zeros(shape), {"x": np.zeros(shape[0])})


# === mutual_information ===


def _gaussians(rho: float, rows: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Two numbers with correlation rho have the information -log(1 - rho^2) / 2."""
    one, other = np.random.default_rng(seed).normal(size=(2, rows))
    return one, rho * one + np.sqrt(1.0 - rho**2) * other


@pytest.mark.parametrize("rho", [-0.95, -0.5, 0.3, 0.8])
def test_correlated_gaussians(rho) -> None:
    """With 2000 rows, eight seeds scatter by less than 0.025 around the formula."""
    one, other = _gaussians(rho, 2000)
    found = mutual_information(one[:, None], {"y": other}, n_permutations=2)
    expected = -0.5 * np.log(1.0 - rho**2)
    assert found.nats["y"] == pytest.approx([expected], abs=0.06)


def test_independent_numbers_tell_nothing() -> None:
    rng = np.random.default_rng(0)
    codes, label = rng.normal(size=(1000, 8)), rng.normal(size=1000)
    found = mutual_information(codes, {"y": label})
    assert found.nats["y"].max() < 0.08
    assert found.chance["y"].max() < 0.05
    excess = found.nats["y"] - found.chance["y"]
    assert (excess < 4.0 * found.spread["y"] + 1e-3).all()


def test_scatter_by_chance_falls_with_the_rows() -> None:
    rng = np.random.default_rng(0)
    spreads = []
    for rows in (200, 1800):
        codes, label = rng.normal(size=(rows, 6)), rng.normal(size=rows)
        spreads.append(mutual_information(codes, {"y": label}).spread["y"].mean())
    assert 1.5 < spreads[0] / spreads[1] < 6.0  # 3 = sqrt(9)


def test_strong_dependence_is_underestimated_and_more_neighbours_make_it_worse():
    """As in the docstring: 9.2 nats cannot be detected with 300 rows."""
    one, other = _gaussians(np.sqrt(1.0 - 1e-8), 300)
    few, many = (
        mutual_information(one[:, None], {"y": other}, 0, neighbors, 1).nats["y"][0]
        for neighbors in (3, 12)
    )
    assert many < few < -0.5 * np.log(1e-8) - 2.0


def test_units_and_monotonic_scales_of_labels_do_not_matter_much() -> None:
    one, other = _gaussians(0.8, 2000)
    labels = {"plain": other, "scaled": 1e4 * other, "exp": np.exp(other)}
    found = mutual_information(one[:, None], labels, n_permutations=1)
    assert found.nats["scaled"] == pytest.approx(found.nats["plain"], abs=0.01)
    assert found.nats["exp"] == pytest.approx(found.nats["plain"], abs=0.1)


@pytest.mark.parametrize("kind", [bool, int, str])
def test_information_of_classes(kind) -> None:
    """A fair coin that the code determines has log 2 nats."""
    code = np.random.default_rng(0).normal(size=(1000, 2))
    label = (code[:, 1] > 0.0).astype(kind)
    found = mutual_information(code, {"y": label}, n_permutations=3)
    assert found.nats["y"] == pytest.approx([0.0, np.log(2.0)], abs=0.05)


def test_components_have_names() -> None:
    code = np.random.default_rng(0).normal(size=(300, 3))
    found = mutual_information(code, {"abundance": code[:, 1:]}, n_permutations=1)
    assert list(found.nats) == ["abundance[0]", "abundance[1]"]
    assert [nats.argmax() for nats in found.nats.values()] == [1, 2]


def test_a_seed_repeats_the_estimates() -> None:
    one, other = _gaussians(0.5, 200)
    labels = {"y": np.round(other)}  # ties, which scikit-learn breaks at random
    first, again, else_ = (
        mutual_information(one[:, None], labels, seed=seed) for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first.nats["y"], again.nats["y"])
    np.testing.assert_array_equal(first.chance["y"], again.chance["y"])
    assert (first.chance["y"] != else_.chance["y"]).any()


def test_too_few_rows_or_labels() -> None:
    code = np.zeros((10, 2))
    with pytest.raises(InputError, match=r"more than 3 rows; received shape \(3, 2\)"):
        mutual_information(code[:3], {"y": np.zeros(3)})
    with pytest.raises(InputError, match=r"labels\['y'\] must have one row for each"):
        mutual_information(code, {"y": np.zeros(9)})
