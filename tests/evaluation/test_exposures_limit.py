"""The limit of the entangled exposures against measured values and its own law."""

from __future__ import annotations

import numpy as np
import pytest

from symae_keras.evaluation import exposures_limit


@pytest.fixture(scope="module")
def limits() -> dict[int, float]:
    states = {4: 500, 8: 500, 16: 600, 32: 250}
    return {n: exposures_limit(n, n_states=states[n]) for n in states}


@pytest.mark.large
def test_limit_of_sixteen_exposures(limits) -> None:
    assert 0.019 < limits[16] < 0.025


@pytest.mark.large
def test_more_exposures_lower_it(limits) -> None:
    # Measured once with other code: 0.072, 0.042, 0.021 and 0.011.
    expected = {4: 0.072, 8: 0.042, 16: 0.021, 32: 0.011}
    for n, limit in limits.items():
        assert limit == pytest.approx(expected[n], rel=0.25), n
    assert limits[4] > limits[8] > limits[16] > limits[32]
    # As 1 / n where the prior on the temperature does not matter any more.
    assert limits[8] / limits[32] == pytest.approx(4.0, rel=0.25)


def test_a_seed_repeats_it() -> None:
    first, second, other = (exposures_limit(8, 50, seed) for seed in (1, 1, 2))
    assert first == second != other
    assert np.isfinite([first, other]).all()
