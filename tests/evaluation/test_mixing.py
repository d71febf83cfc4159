"""Mixing of batches, compared with direct implementations and limiting cases."""

from __future__ import annotations

import numpy as np
import pytest

from symae_keras.errors import InputError
from symae_keras.evaluation import ilisi, lisi, principal_component_regression

# === LISI ===


def _lisi_by_hand(codes, labels, perplexity) -> np.ndarray:
    """Compute LISI row by row, with a root finder and all distances."""
    optimize = pytest.importorskip("scipy.optimize")
    found = []
    for i, row in enumerate(codes):
        distances = np.sqrt(((codes - row) ** 2).sum(axis=1))
        distances[i] = np.inf
        nearest = np.argsort(distances)[: 3 * perplexity - 1]
        d = distances[nearest]

        def weights(log_bandwidth, d=d):
            p = np.exp(-(d - d.min()) / np.exp(log_bandwidth))
            return p / p.sum()

        def excess(log_bandwidth, weights=weights):
            p = weights(log_bandwidth)
            p = p[p > 0]
            return np.exp(-(p * np.log(p)).sum()) - perplexity

        p = weights(optimize.brentq(excess, -12.0, 12.0))
        shares = [p[labels[nearest] == each].sum() for each in np.unique(labels)]
        found.append(1.0 / np.sum(np.square(shares)))
    return np.array(found)


@pytest.mark.parametrize("perplexity", [5, 13])
def test_lisi_equals_its_formula(perplexity, rng) -> None:
    codes = rng.normal(size=(90, 3)) * [1.0, 20.0, 0.1]
    labels = np.array(["a", "b", "c"])[rng.integers(0, 3, 90)]
    codes[labels == "b", 1] += 15.0
    expected = _lisi_by_hand(codes, labels, perplexity)
    np.testing.assert_allclose(lisi(codes, labels, perplexity), expected, rtol=1e-6)
    score = (np.median(expected) - 1.0) / 2.0
    assert ilisi(codes, labels, perplexity) == pytest.approx(score, rel=1e-6)


def test_batches_apart_and_mixed(rng) -> None:
    codes, labels = rng.normal(size=(600, 2)), np.arange(600) % 3
    apart = codes + 50.0 * labels[:, None]
    np.testing.assert_allclose(lisi(apart, labels), 1.0)
    assert ilisi(apart, labels) == pytest.approx(0.0, abs=1e-12)
    assert 0.85 < ilisi(codes, labels) < 1.0
    assert ilisi(codes, labels) > ilisi(codes + 1.0 * labels[:, None], labels) + 0.2


def test_equal_rows_have_equal_weights() -> None:
    """For equal codes, the neighbours are arbitrary and their weights are equal."""
    labels = np.arange(90) % 2
    found = lisi(np.ones((90, 2)), labels, 30)
    assert (found > 1.99).all()  # 44 and 45 of 89


def test_lisi_does_not_depend_on_units(rng) -> None:
    codes, labels = rng.normal(size=(100, 2)), rng.integers(0, 2, 100)
    expected = lisi(codes, labels, 10)
    for scale in (1e-8, 1e8):
        np.testing.assert_allclose(lisi(scale * codes, labels, 10), expected, rtol=1e-6)
    np.testing.assert_allclose(lisi(codes[::-1], labels[::-1], 10), expected[::-1])


# === Principal component regression ===


def _pcr_by_hand(codes, batches, n_components=None) -> float:
    """Regress each component on indicators of batches."""
    from sklearn.decomposition import PCA
    from sklearn.linear_model import LinearRegression

    pca = PCA(n_components, svd_solver="full").fit(codes)
    indicators = (batches[:, None] == np.unique(batches)).astype(float)
    if batches.dtype.kind == "f":
        indicators = batches[:, None]
    components = pca.transform(codes)
    scores = [
        LinearRegression().fit(indicators, each).score(indicators, each)
        for each in components.T
    ]
    return float(
        np.sum(scores * pca.explained_variance_) / pca.explained_variance_.sum()
    )


@pytest.mark.parametrize("n_components", [None, 2])
@pytest.mark.parametrize("kind", ["text", "numbers"])
def test_regression_equals_its_formula(n_components, kind, rng) -> None:
    codes = rng.normal(size=(80, 4)) * [3.0, 1.0, 0.5, 0.1] + 7.0
    number = rng.integers(0, 3, 80)
    batches = np.array(["x", "yy", "z"])[number] if kind == "text" else number + 0.5
    codes[:, 1] += number
    found = principal_component_regression(codes, batches, n_components)
    assert found == pytest.approx(_pcr_by_hand(codes, batches, n_components), rel=1e-8)


def test_regression_on_all_components_is_the_share_between_batches(rng) -> None:
    """The trace of the scatter between batches over the total scatter, for any axes."""
    codes, batches = rng.normal(size=(60, 3)), rng.integers(0, 4, 60)
    codes += batches[:, None] * [0.5, 0.0, -1.0]
    means = np.array([codes[batches == b].mean(axis=0) for b in batches])
    total = codes - codes.mean(axis=0)
    expected = np.square(means - codes.mean(axis=0)).sum() / np.square(total).sum()
    rotation = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    for each in (codes, codes @ rotation, 1e6 * codes - 3.0):
        found = principal_component_regression(each, batches)
        assert found == pytest.approx(expected, rel=1e-8)


def test_limits_of_regression(rng) -> None:
    batches = np.repeat(np.arange(4), 25)
    half = rng.normal(size=(25, 3))
    equal = np.concatenate([half - half.mean(axis=0)] * 4)
    assert principal_component_regression(equal, batches) < 1e-12
    places = rng.normal(size=(4, 3))[batches]
    assert principal_component_regression(places, batches) == pytest.approx(1.0)
    chance = [
        principal_component_regression(rng.normal(size=(100, 3)), batches)
        for _ in range(200)
    ]
    assert np.mean(chance) == pytest.approx(3 / 99, rel=0.1)


# === Input ===

_CODES, _LABELS = np.arange(200.0).reshape(100, 2), np.arange(100) % 2


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: lisi(_CODES, _LABELS, 40), "needs 120 rows or more; received 100"),
        (lambda: lisi(_CODES, _LABELS[:5]), r"\(100, 2\) and labels of shape \(5,\)"),
        (lambda: lisi(_CODES[:, 0], _LABELS), r"\(rows, numbers\).*\(100,\)"),
        (lambda: lisi(_CODES * np.nan, _LABELS), "Codes contain NaN"),
        (lambda: ilisi(_CODES, np.zeros(100)), "two batches or more; received 1"),
        (
            lambda: principal_component_regression(_CODES, _LABELS * 0),
            "two batches or more; received 1",
        ),
        (
            lambda: principal_component_regression(_CODES, np.full(100, np.nan)),
            "Labels contain NaN",
        ),
        (
            lambda: principal_component_regression(np.ones((100, 2)), _LABELS),
            "codes of all rows are equal",
        ),
    ],
)
def test_wrong_input(call, sentence) -> None:
    with pytest.raises(InputError, match=sentence):
        call()
