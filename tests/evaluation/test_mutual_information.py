"""Mutual information where a formula tells it."""

from __future__ import annotations

import numpy as np
import pytest

from symae_keras.errors import InputError
from symae_keras.evaluation import mutual_information


def _gaussians(rho: float, rows: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Two numbers of correlation rho, whose information is -log(1 - rho^2) / 2."""
    one, other = np.random.default_rng(seed).normal(size=(2, rows))
    return one, rho * one + np.sqrt(1.0 - rho**2) * other


@pytest.mark.parametrize("rho", [-0.95, -0.5, 0.3, 0.8])
def test_correlated_gaussians(rho) -> None:
    """Over eight seeds 2000 rows scatter by less than 0.025 around the formula."""
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
    """As the docstring tells: 9.2 nats cannot be seen in 300 rows."""
    one, other = _gaussians(np.sqrt(1.0 - 1e-8), 300)
    few, many = (
        mutual_information(one[:, None], {"y": other}, n_neighbors=k, n_permutations=1)
        for k in (3, 12)
    )
    truth = -0.5 * np.log(1e-8)
    assert many.nats["y"][0] < few.nats["y"][0] < truth - 2.0


def test_units_and_monotonic_scales_of_labels_do_not_matter_much() -> None:
    one, other = _gaussians(0.8, 2000)
    labels = {"plain": other, "scaled": 1e4 * other, "exp": np.exp(other)}
    found = mutual_information(one[:, None], labels, n_permutations=1)
    assert found.nats["scaled"] == pytest.approx(found.nats["plain"], abs=0.01)
    assert found.nats["exp"] == pytest.approx(found.nats["plain"], abs=0.1)


@pytest.mark.parametrize("kind", [bool, int, str])
def test_classes(kind) -> None:
    """A fair coin that the code shows without doubt has log 2 nats."""
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


def test_bad_shapes_are_refused() -> None:
    code = np.zeros((10, 2))
    with pytest.raises(InputError, match=r"more than 3 rows; received shape \(3, 2\)"):
        mutual_information(code[:3], {"y": np.zeros(3)})
    with pytest.raises(InputError, match=r"labels\['y'\] must have one row for each"):
        mutual_information(code, {"y": np.zeros(9)})
