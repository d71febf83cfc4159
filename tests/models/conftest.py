"""Small models and data."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from symae_keras import layers
from symae_keras.models import SymAE


@pytest.fixture(scope="session")
def tiny() -> Callable[..., SymAE]:
    """Return a function that makes a small model of 12 pixels from SymAE arguments."""

    def make(**arguments) -> SymAE:
        arguments.setdefault("encoder", layers.DenseEncoder(8, units=(16,)))
        return SymAE((12,), coherent_dim=3, nuisance_dim=2, seed=0, **arguments)

    return make


@pytest.fixture
def x(rng) -> np.ndarray:
    """Make six groups of four instances of 12 pixels."""
    return rng.normal(size=(6, 4, 12)).astype("float32")


@pytest.fixture
def mask() -> np.ndarray:
    """Return a mask for `x` with one to four instances per group."""
    rows = ["1111", "1110", "0110", "1000", "0101", "0001"]
    return np.array([[c == "1" for c in row] for row in rows])
