"""Fixtures for the tests of the classical references."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest

from symae_keras.data import GroupedData


@pytest.fixture(scope="session")
def spoil() -> Callable[..., GroupedData]:
    """Make groups with some absent instances, filled with given values."""

    def spoiled(groups: GroupedData, filling: float = np.nan) -> GroupedData:
        mask = np.random.default_rng(5).random(groups.x.shape[:2]) < 0.7
        mask[:, 0] = True
        mask[:3] = True
        assert not mask.all()
        x = groups.x.copy()
        x[~mask] = filling
        return dataclasses.replace(groups, x=x, mask=mask)

    return spoiled
