"""Data-parallel training on JAX, which Keras supports directly."""

from __future__ import annotations

import importlib.util
import json

import pytest

_ON_TWO_DEVICES = """
import json
import os

os.environ["XLA_FLAGS"] += " --xla_force_host_platform_device_count=2"

import jax
import keras
import numpy as np
from symae_keras.data import GroupedData, batches
from symae_keras.layers import DenseEncoder
from symae_keras.models import SymAE

assert keras.config.backend() == "jax" and len(jax.devices()) == 2
x = np.random.default_rng(0).normal(size=(36, 4, 6)).astype("float32")
groups = GroupedData(x, mask=np.arange(4 * 36).reshape(36, 4) % 4 > 0)


def train():
    keras.utils.set_random_seed(0)
    encoder = DenseEncoder(4, units=(8,))
    model = SymAE((6,), 2, 2, encoder=encoder, nuisance_noise="variational", seed=0)
    model.compile(keras.optimizers.SGD(0.1), "mse")
    dataset = batches(groups, 8, instances=3)
    # Whole batches: JAX compiles the evaluation once more for the size of the last one.
    held_out = batches(groups[:16], 8, instances=None, shuffle=False)
    history = model.fit(
        dataset, epochs=2, validation_data=held_out, shuffle=False, verbose=0
    ).history
    variable = model.trainable_variables[0].value
    weights = np.concatenate([each.ravel() for each in model.get_weights()])
    return history, weights.tolist(), len(variable.sharding.device_set)


alone = train()
keras.distribution.set_distribution(
    keras.distribution.DataParallel(devices=["cpu:0", "cpu:1"])
)
print(json.dumps([alone, train()]))
"""


@pytest.mark.large
def test_data_parallel_trains_as_one_device(run_python) -> None:
    """Results agree including the noise, which JAX draws for the whole batch."""
    if importlib.util.find_spec("jax") is None:
        pytest.skip("JAX is not installed")
    printed = run_python(_ON_TWO_DEVICES, backend="jax").splitlines()[-1]
    (history, weights, devices), (other, other_weights, both) = json.loads(printed)
    assert (devices, both) == (1, 2)
    assert set(other) == set(history)
    for key, losses in history.items():
        assert other[key] == pytest.approx(losses, rel=1e-5, abs=1e-5), key
    assert other_weights == pytest.approx(weights, rel=0, abs=1e-5)
