"""Weight decay as a loss term."""

from __future__ import annotations

import json

import keras
import numpy as np
import pytest
from keras import ops

from symae_keras.layers import WeightPenalty


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
def test_computed_in_float32() -> None:
    """In bfloat16, the sum of 1000 numbers of 1 would stop at 256."""
    layer = WeightPenalty(keras.regularizers.L1(1.0), dtype="mixed_bfloat16")
    layer([ops.ones((1000,), "bfloat16")])
    assert float(layer.losses[0]) == 1000.0


def test_config() -> None:
    layer = WeightPenalty(keras.regularizers.L2(0.25))
    text = json.dumps(keras.saving.serialize_keras_object(layer))
    again = keras.saving.deserialize_keras_object(json.loads(text))
    assert type(again) is WeightPenalty
    assert again.get_config() == layer.get_config()
    again([ops.ones((2, 3))])
    assert float(again.losses[0]) == 1.5


def test_bad_argument() -> None:
    with pytest.raises(ValueError, match=r"`regularizer`.*Received: regularizer=None"):
        WeightPenalty(None)
