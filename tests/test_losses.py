"""Losses that keep pixels apart."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from symae_keras.losses import RelativeMeanAbsoluteError

pytestmark = pytest.mark.jax


def test_absolute_error_of_each_pixel(rng) -> None:
    """Instance and pixel weights, and the deviation, against NumPy."""
    x, y = rng.normal(size=(2, 4, 3, 7)).astype("float32")
    loss = RelativeMeanAbsoluteError(deviation=2.5)
    difference = np.abs(x - y) / 2.5
    assert float(loss(x, y)) == pytest.approx(difference.mean(), rel=1e-5)
    for shape in ((4, 3, 7), (4, 3, 1)):
        weights = rng.uniform(size=shape).astype("float32")
        expected = np.mean(weights * difference)
        found = float(loss(x, y, sample_weight=weights))
        assert found == pytest.approx(expected, rel=1e-5)


def test_absolute_error_is_saved() -> None:
    loss = RelativeMeanAbsoluteError(3.0, name="l1")
    again = keras.losses.deserialize(keras.losses.serialize(loss))
    assert type(again) is RelativeMeanAbsoluteError
    assert again.get_config() == loss.get_config()
    with pytest.raises(ValueError, match="Received: deviation=0"):
        RelativeMeanAbsoluteError(0.0)
