"""The squared error of a reconstruction as a loss term."""

from __future__ import annotations

import numpy as np
import pytest
from keras import ops

from symae_keras.layers import ReconstructionPenalty


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
def test_computed_in_float32() -> None:
    """The square of 300 is too large for float16."""
    layer = ReconstructionPenalty(1.0, dtype="mixed_float16")
    truth = ops.convert_to_tensor(np.full((2, 3), 300.0), "float16")
    layer((truth, ops.zeros_like(truth)))
    assert float(layer.losses[0]) == 90000.0


def test_bad_argument() -> None:
    with pytest.raises(ValueError, match="`weight`.*weight=-1"):
        ReconstructionPenalty(-1)
