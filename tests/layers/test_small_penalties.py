"""Weight decay and the squared error of a reconstruction as loss terms."""

from __future__ import annotations

import json

import keras
import numpy as np
import pytest
from keras import ops

from symae_keras.layers import ReconstructionPenalty, WeightPenalty


@pytest.mark.jax
def test_sum_over_all_weights(rng) -> None:
    weights = [rng.normal(size=shape).astype("float32") for shape in [(3, 4), (2,)]]
    layer = WeightPenalty(keras.regularizers.L1L2(l1=0.1, l2=0.2))
    handed_on = layer([ops.convert_to_tensor(each) for each in weights])
    for one, other in zip(handed_on, weights, strict=True):
        np.testing.assert_array_equal(one, other)
    expected = sum(0.1 * np.abs(w).sum() + 0.2 * (w**2).sum() for w in weights)
    (loss,) = layer.losses
    assert float(loss) == pytest.approx(expected, rel=1e-5)
    assert layer.term_name == "weight_decay_loss"


@pytest.mark.jax
def test_weights_are_summed_in_float32() -> None:
    """In bfloat16, the sum of 1000 numbers of 1 would stop at 256."""
    layer = WeightPenalty(keras.regularizers.L1(1.0), dtype="mixed_bfloat16")
    layer([ops.ones((1000,), "bfloat16")])
    assert float(layer.losses[0]) == 1000.0


def test_config_of_a_regularizer() -> None:
    layer = WeightPenalty(keras.regularizers.L2(0.25))
    text = json.dumps(keras.saving.serialize_keras_object(layer))
    again = keras.saving.deserialize_keras_object(json.loads(text))
    assert type(again) is WeightPenalty
    assert again.get_config() == layer.get_config()
    again([ops.ones((2, 3))])
    assert float(again.losses[0]) == 1.5


@pytest.mark.jax
def test_mean_squared_error(rng) -> None:
    truth, other = rng.normal(size=(2, 3, 4, 5)).astype("float32")
    layer = ReconstructionPenalty(0.3)
    np.testing.assert_array_equal(layer((truth, other)), other)
    (loss,) = layer.losses
    assert float(loss) == pytest.approx(0.3 * np.mean((truth - other) ** 2), rel=1e-5)
    assert layer.term_name == "reconstruction_loss"


@pytest.mark.jax
def test_masked_numbers_count_as_reconstructed(rng) -> None:
    truth, other = rng.normal(size=(2, 3, 4)).astype("float32")
    mask = rng.random(truth.shape) < 0.5
    layer = ReconstructionPenalty(1.0)
    layer((np.where(mask, truth, np.float32(np.nan)), other), pixel_mask=mask)
    expected = np.mean(np.where(mask, truth - other, 0.0) ** 2)
    assert float(layer.losses[0]) == pytest.approx(expected, rel=1e-5)


@pytest.mark.jax
def test_errors_are_squared_in_float32() -> None:
    """The square of 300 is too large for float16."""
    layer = ReconstructionPenalty(1.0, dtype="mixed_float16")
    truth = ops.convert_to_tensor(np.full((2, 3), 300.0), "float16")
    layer((truth, ops.zeros_like(truth)))
    assert float(layer.losses[0]) == 90000.0
