"""The package is light to import, and says what it needs."""

from __future__ import annotations

import symae_keras
from symae_keras import classical


def test_public_names() -> None:
    assert "classical" in symae_keras.__all__
    for name in classical.__all__:
        assert getattr(classical, name).__doc__, name


def test_importing_the_package_does_not_import_scikit_learn(run_python) -> None:
    code = """
import sys
from symae_keras.classical import GroupedPCA
print(GroupedPCA().coherent_dim, "sklearn" in sys.modules)
"""
    assert run_python(code).split() == ["8", "False"]
