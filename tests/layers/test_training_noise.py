"""Layers that draw random numbers in training: when they do, and which."""

from __future__ import annotations

import numpy as np
import pytest
from keras import ops

from symae_keras import layers

ALL = {
    "GaussianCorruption": {"stddev": 0.5},
    "MaskingCorruption": {"rate": 0.5},
    "SaltAndPepper": {"rate": 0.5},
    "BlockCorruption": {"fraction": 0.5},
    "RandomScale": {"strength": 0.5},
    "RandomShift": {"max_shift": 2.5},
    "NuisanceDropout": {"strength": 0.5},
}


def _make(name):
    return getattr(layers, name)(**ALL[name], seed=0)


def _altered(layer, x) -> np.ndarray:
    return ops.convert_to_numpy(layer(x, training=True))


@pytest.mark.jax
@pytest.mark.parametrize("name", ALL)
def test_active_in_training_only(name, rng) -> None:
    x = rng.normal(size=(4, 12)).astype("float32")
    layer = _make(name)
    np.testing.assert_array_equal(layer(x), x)
    np.testing.assert_array_equal(layer(x, training=False), x)
    assert np.any(_altered(layer, x) != x)


@pytest.mark.jax
@pytest.mark.parametrize("name", ALL)
def test_every_call_draws_afresh_and_a_seed_repeats_them(name, rng) -> None:
    x = rng.normal(size=(50, 12)).astype("float32")
    one, other = _make(name), _make(name)
    first = _altered(one, x)
    np.testing.assert_array_equal(first, _altered(other, x))
    again = _altered(one, x)
    assert np.mean(np.any(first != again, axis=1)) > 0.5
