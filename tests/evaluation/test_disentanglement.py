"""Disentanglement scores on codes whose scores are known."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from symae_keras.errors import InputError
from symae_keras.evaluation import disentanglement, disentanglement_spread

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


def test_random_code(factors, rng) -> None:
    scores = _scores(rng.normal(size=factors.shape), factors)
    for name in SCORES:
        assert scores[name] < 0.05, name


def test_rotated_code_tells_all_and_means_nothing(factors) -> None:
    """Every number is an equal share of every factor, but for signs."""
    rotation = np.linalg.qr(np.array([[1.0, 1, 1], [1, -1, 1], [1, 1, -2]]).T)[0]
    scores = _scores((factors - 0.5) @ rotation, factors)
    assert scores["informativeness"] > 0.8
    assert max(scores[name] for name in ("mig", "disentanglement")) < 0.6
    assert scores["mig"] < scores["informativeness"]


def test_leaking_code_lies_between(factors, rng) -> None:
    leaking = factors.copy()
    leaking[:, 1] += factors[:, 0]
    perfect, leaks = _scores(factors, factors), _scores(leaking, factors)
    chance = _scores(rng.normal(size=factors.shape), factors)
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
    """The measure itself leaves little open, of a perfect and of a random code."""
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
    """A model that finds the factors and one that finds them rotated."""
    few = factors[:300, :2]
    turned = (few - 0.5) @ (np.array([[1.0, 1.0], [1.0, -1.0]]) / np.sqrt(2.0))
    found = disentanglement_spread([few, turned], {"a": few[:, 0], "b": few[:, 1]})
    assert len(found.scores) == 2
    assert found.scores[1] == disentanglement(
        turned, {"a": few[:, 0], "b": few[:, 1]}, seed=1
    )
    assert found.spread.mig > 0.3 > found.spread.informativeness


def test_one_score_has_no_spread(factors) -> None:
    for codes, n_seeds in ((factors, 1), ([factors], 5)):
        with pytest.raises(InputError, match="two scores or more.*received 1"):
            disentanglement_spread(codes, {"a": factors[:, 0]}, n_seeds=n_seeds)


@pytest.mark.parametrize("shape", [(600,), (100, 3), (600, 1)])
def test_bad_codes(shape) -> None:
    with pytest.raises(InputError, match="200 rows"):
        disentanglement(np.zeros(shape), {"x": np.zeros(shape[0])})
