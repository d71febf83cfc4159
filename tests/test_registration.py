"""Classes are registered with Keras, for every order of imports."""

from __future__ import annotations

import importlib.util

import pytest

import symae_keras

_ALONE = """
import os
import sys

# Imports of Keras, once for all children.
import jax.experimental.sparse, matplotlib.axes, rich.console, sklearn.utils

assert not {"keras", "symae_keras"} & set(sys.modules)
for name in sys.argv[1:]:
    if (child := os.fork()) == 0:
        __import__(f"symae_keras.{name}")
        import keras

        for each in ("SymAE", "GaussianSampling", "RelativeMeanSquaredErrorMetric"):
            assert keras.saving.get_registered_object(f"symae_keras>{each}"), each
        os._exit(0)
    if os.waitpid(child, 0)[1]:
        print(name)
"""


@pytest.mark.large
def test_each_module_is_imported_alone(run_python) -> None:
    if importlib.util.find_spec("jax") is None:
        pytest.skip("JAX is not installed")
    names = list(symae_keras._MODULES)
    assert "metrics" in names
    assert run_python(_ALONE, *names, backend="jax").split() == []
