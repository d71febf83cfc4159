"""Weights of groups, instances and pixels against Keras's own losses and NumPy."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from symae_keras.losses import (
    GaussianNegativeLogLikelihood,
    RelativeMeanAbsoluteError,
    RelativeMeanSquaredError,
)

pytestmark = pytest.mark.jax


_KERAS = {
    RelativeMeanSquaredError: keras.losses.MeanSquaredError,
    RelativeMeanAbsoluteError: keras.losses.MeanAbsoluteError,
}


@pytest.mark.parametrize(
    "reduction", ["sum_over_batch_size", "sum", "none", "mean_with_sample_weight"]
)
@pytest.mark.parametrize("ours", _KERAS)
# As many pixels as groups would broadcast the wrong way without a word.
@pytest.mark.parametrize("shape", [(4, 6), (4, 4), (4, 3, 6), (4, 4, 4), (2, 3, 5, 4)])
def test_weights_of_samples_are_those_of_keras(ours, shape, reduction, rng) -> None:
    y, z = rng.normal(size=(2, *shape)).astype("float32")
    loss, theirs = ours(reduction=reduction), _KERAS[ours](reduction=reduction)
    np.testing.assert_allclose(loss(y, z), theirs(y, z), rtol=1e-6)
    # Keras itself takes one weight for each value of the last axis but one.
    weights = rng.uniform(0.5, 2.0, shape[:-1]).astype("float32")
    expected = theirs(y, z, sample_weight=weights)
    np.testing.assert_allclose(loss(y, z, weights), expected, rtol=1e-6)
    np.testing.assert_allclose(loss(y, z, weights[..., None]), expected, rtol=1e-6)
    # Fewer axes repeat, more are averaged.
    rows = rng.uniform(0.5, 2.0, shape[0]).astype("float32")
    repeated = np.broadcast_to(rows.reshape(-1, *(1,) * (len(shape) - 2)), shape[:-1])
    expected = theirs(y, z, sample_weight=repeated)
    np.testing.assert_allclose(loss(y, z, rows), expected, rtol=1e-6)


@pytest.mark.parametrize("ours", _KERAS)
@pytest.mark.parametrize("shape", [(4, 6), (4, 3, 6), (4, 4, 4)])
def test_weights_of_pixels(ours, shape, rng) -> None:
    y, z = rng.normal(size=(2, *shape)).astype("float32")
    squared = ours is RelativeMeanSquaredError
    errors = (y - z) ** 2 / 2.5 if squared else np.abs(y - z) / 2.5
    weights = rng.uniform(0.0, 2.0, shape).astype("float32")
    weights[0] = 0.0  # nothing of it counts, and nothing becomes NaN
    pixels = weights * errors
    expected = {
        "sum_over_batch_size": pixels.mean(),
        "sum": pixels.mean(axis=-1).sum(),
        "none": pixels.mean(axis=-1),
        "mean_with_sample_weight": pixels.sum() / weights.sum(),
    }
    for reduction, value in expected.items():
        found = ours(2.5, reduction)(y, z, weights)
        np.testing.assert_allclose(found, value, rtol=1e-5)


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_weights_and_masks(axes, rng) -> None:
    """Absent instances count in no mean, whatever their weights are."""
    y, z = rng.normal(size=(2, 4, 4, 4)).astype("float32")
    weights = rng.uniform(0.5, 2.0, (4,) * axes).astype("float32")
    mask = np.array([[1, 1, 1, 1], [1, 1, 0, 0], [1, 0, 0, 0], [0, 1, 1, 0]], bool)
    full = weights.reshape(weights.shape + (1,) * (3 - axes))
    expected = np.mean((full * (y - z) ** 2)[mask])
    for own in (mask, mask[..., None]):
        output = keras.ops.convert_to_tensor(z)
        output._keras_mask = keras.ops.convert_to_tensor(own)
        found = RelativeMeanSquaredError()(y, output, weights)
        np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize("shape", [(6,), (4, 6), (4, 3, 5), (4, 3, 6, 1)])
def test_weights_that_do_not_fit(shape) -> None:
    x = np.zeros((4, 3, 6), "float32")
    with pytest.raises(ValueError, match="first axes of the data") as error:
        RelativeMeanSquaredError()(x, x, np.ones(shape, "float32"))
    assert str(shape) in str(error.value) and "(4, 3, 6)" in str(error.value)


def test_one_value_per_sample(rng) -> None:
    """As Keras's own losses; a direct call checks the axes of the data."""
    y, z = rng.normal(size=(2, 4, 3, 6)).astype("float32")
    squares = np.mean((y - z) ** 2, axis=-1)
    np.testing.assert_allclose(
        RelativeMeanSquaredError(2.0).call(y, z), squares / 2.0, rtol=1e-5
    )
    nats = GaussianNegativeLogLikelihood((6,)).call(y, z)
    expected = 3.0 * squares + 3.0 * np.log(2.0 * np.pi)
    np.testing.assert_allclose(nats, expected, rtol=1e-5)
    with pytest.raises(ValueError, match="same number of axes"):
        RelativeMeanSquaredError()(y, z[..., None])


@pytest.mark.parametrize("ours", _KERAS)
def test_losses_are_saved(ours) -> None:
    loss = ours(3.0, name="error")
    again = keras.losses.deserialize(keras.losses.serialize(loss))
    assert type(again) is ours
    assert again.get_config() == loss.get_config()
    (argument,) = {"variance", "deviation"} & set(loss.get_config())
    assert loss.get_config()[argument] == 3.0
    with pytest.raises(ValueError, match=f"Received: {argument}=0"):
        ours(0.0)
