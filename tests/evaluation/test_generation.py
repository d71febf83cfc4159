"""The energy distance against closed forms and scipy."""

from __future__ import annotations

import math

import numpy as np
import pytest

from symae_keras.errors import InputError
from symae_keras.evaluation import energy_distance


def test_agrees_with_scipy_in_one_dimension(rng) -> None:
    stats = pytest.importorskip("scipy.stats")
    one, other = rng.normal(size=200), 1e3 + rng.exponential(size=150)
    assert energy_distance(one[:, None], other[:, None]) == pytest.approx(
        stats.energy_distance(one, other)
    )


def test_two_points() -> None:
    """Sets of one instance each: sqrt(2 |x - y|), whatever the shape of an instance."""
    one, other = np.zeros((1, 2, 2)), np.full((1, 2, 2), 3.0)
    assert energy_distance(one, other) == pytest.approx(math.sqrt(2 * 6.0))
    assert energy_distance(one, one) == 0.0


def test_shifted_gaussians(rng) -> None:
    """Far apart, 2 |shift| less the distances within, 2 / sqrt(pi) each."""
    one, other = rng.normal(size=(2, 3000, 1))
    expected = math.sqrt(2 * 20.0 - 4 / math.sqrt(math.pi))
    assert energy_distance(one, other + 20.0) == pytest.approx(expected, rel=0.01)


def test_falls_with_the_size_of_equal_distributions_only(rng) -> None:
    def between(scale, n):
        return energy_distance(rng.normal(size=(n, 5)), scale * rng.normal(size=(n, 5)))

    assert between(1.0, 2000) < 0.5 * between(1.0, 100)
    assert between(2.0, 2000) > 0.8 * between(2.0, 100)


def test_refused() -> None:
    with pytest.raises(InputError, match=r"shape \(2, 3\) and \(2, 4\)"):
        energy_distance(np.zeros((2, 3)), np.zeros((2, 4)))
    with pytest.raises(InputError, match="shape"):
        energy_distance(np.zeros((0, 3)), np.zeros((2, 3)))
