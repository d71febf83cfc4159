"""The package is light to import, and says what it needs."""

from __future__ import annotations

import sys

import numpy as np
import pytest

import symae_keras
from symae_keras import classical
from symae_keras.data import GroupedData


def test_public_names() -> None:
    assert "classical" in symae_keras.__all__
    for name in classical.__all__:
        assert getattr(classical, name).__doc__, name


def test_import_needs_no_scikit_learn(run_python) -> None:
    code = """
import sys
sys.modules["sklearn"] = None
from symae_keras.classical import GroupedPCA
print(GroupedPCA().coherent_dim)
"""
    assert run_python(code).strip() == "8"


@pytest.mark.parametrize(
    "model",
    [
        classical.GroupedPCA(1, 1),
        classical.DirectStandardization(0, 1),
        classical.PiecewiseDirectStandardization(0, 1),
    ],
    ids=lambda model: type(model).__name__,
)
def test_without_scikit_learn(model, monkeypatch) -> None:
    for name in [each for each in sys.modules if each.startswith("sklearn")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "sklearn", None)
    groups = GroupedData(np.random.default_rng(0).normal(size=(6, 3, 4)))
    with pytest.raises(ImportError, match=r'pip install "symae_keras\[data\]"'):
        model.fit(groups)
    assert not hasattr(model, "instance_shape_")
    # The one that learns nothing needs nothing.
    swap = classical.MeanSwap().fit(groups)
    np.testing.assert_allclose(swap.reconstruct(groups.x), groups.x)
