"""The fall of the redatuming error with the number of instances."""

from __future__ import annotations

import numpy as np
import pytest

from symae_keras.data import GroupedData, simulate_exposures
from symae_keras.errors import InputError
from symae_keras.evaluation import error_over_instances, exposures_limit


class Guess:
    """Knows the truth but for an error whose square is `T ** power` of its variance."""

    def __init__(self, groups: GroupedData, power: float) -> None:
        self.groups, self.power = groups, power

    def redatum(self, coherent_from, nuisance_from, coherent_mask, nuisance_mask):
        n, count = len(coherent_from), coherent_from.shape[1]
        instances = np.full(n, count)
        if coherent_mask is not None:
            instances = coherent_mask.sum(axis=1)
        index = np.arange(n)
        truth = self.groups.virtual(
            ((index + 1) % n)[:, None], index[:, None], np.arange(count)
        )
        variance = np.mean(np.var(truth, axis=(0, 1)))
        size = np.sqrt(variance * instances**self.power)
        return truth + size[:, None, None]

    def reconstruct(self, x, mask):
        return x


@pytest.fixture(scope="module")
def groups() -> GroupedData:
    # No more than are put through a model at once.
    return simulate_exposures(n_states=60, n_instances=8, seed=0)


@pytest.mark.parametrize("power", [0.0, -1.0, -2.0])
def test_slope(groups, power) -> None:
    found = error_over_instances(Guess(groups, power), groups)
    assert found.n_instances == (1, 2, 4, 8)
    assert found.slope == pytest.approx(power, abs=1e-3)
    expected = [float(n) ** power for n in found.n_instances]
    np.testing.assert_allclose(found.errors, expected, rtol=1e-3)


def test_groups_are_cut_to_their_present_instances(groups) -> None:
    mask = np.ones(groups.x.shape[:2], bool)
    mask[::2, 0] = mask[1::3, 2] = False
    some = GroupedData(
        groups.x, mask, groups.state, groups.nuisance, render=groups.render
    )
    found = error_over_instances(Guess(groups, -1.0), some, [1, 3, 6])
    assert found.slope == pytest.approx(-1.0, abs=0.1)


def test_the_limit_falls_as_one_over_t() -> None:
    few, many = (exposures_limit(n, n_states=150) for n in (4, 16))
    assert np.log(many / few) / np.log(4) == pytest.approx(-0.9, abs=0.2)


@pytest.mark.parametrize("counts", [[1], [2, 2], [0, 1], [1, 9]])
def test_bad_counts(groups, counts) -> None:
    with pytest.raises(InputError, match="smallest group, which has 8"):
        error_over_instances(Guess(groups, -1.0), groups, counts)
