"""Pooling against NumPy, with masks."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from keras import ops

from symae_keras.layers import DeepSetsPooling

pytestmark = pytest.mark.jax
MODES = ("mean", "sum", "max")


def _reference(mode, x, mask):
    """Group by group, over the instances that are there."""
    return np.stack(
        [
            getattr(np, mode)(group[there], axis=0)
            if there.any()
            else np.zeros(group.shape[1:])
            for group, there in zip(x, mask, strict=True)
        ]
    )


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("offset", [-50.0, 0.0, 50.0])
@given(
    shape=st.sampled_from([(2, 4, 3), (3, 1, 2), (2, 4, 2, 3)]),
    seed=st.integers(0, 1000),
)
def test_equals_numpy(mode, offset, shape, seed) -> None:
    rng = np.random.default_rng(seed)
    # An offset shows zeros that padding would slip into a maximum or a mean.
    x = rng.normal(size=shape).astype("float32") + offset
    mask = rng.random(shape[:2]) < 0.6
    pool = DeepSetsPooling(mode)
    np.testing.assert_allclose(
        pool(x, mask=mask), _reference(mode, x, mask), rtol=1e-5, atol=1e-5
    )
    everything = np.ones(shape[:2], bool)
    np.testing.assert_allclose(
        pool(x), _reference(mode, x, everything), rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize("mode", MODES)
def test_nan_behind_the_mask_is_harmless(mode, rng) -> None:
    x = rng.normal(size=(2, 4, 3)).astype("float32")
    mask = np.array([[True, True, False, False], [True, False, True, True]])
    spoiled = np.where(mask[..., None], x, np.nan)
    pool = DeepSetsPooling(mode)
    np.testing.assert_array_equal(pool(spoiled, mask=mask), pool(x, mask=mask))


@pytest.mark.parametrize("mode", MODES)
def test_numbers_serve_as_a_mask(mode, rng) -> None:
    x = rng.normal(size=(2, 4, 3)).astype("float32")
    mask = rng.random((2, 4)) < 0.5
    pool = DeepSetsPooling(mode)
    np.testing.assert_array_equal(
        pool(x, mask=mask.astype("float32")), pool(x, mask=mask)
    )


def test_sums_are_taken_in_float32() -> None:
    # Summed in float16 one by one, 4096 ones stop at 2048.
    ones = ops.ones((1, 4096, 1), "float16")
    assert float(DeepSetsPooling("sum", dtype="float16")(ones)[0, 0]) == 4096.0


def test_takes_the_mask_that_keras_carries(rng) -> None:
    """A `Masking` layer upstream is obeyed, and the mask ends at the pooling."""
    x = rng.normal(size=(2, 4, 3)).astype("float32")
    x[0, 2:] = 0.0
    mask = x.any(axis=-1)
    masked = keras.layers.Masking()(x)
    pooled = DeepSetsPooling("mean")(masked)
    np.testing.assert_allclose(pooled, _reference("mean", x, mask), atol=1e-6)
    assert getattr(pooled, "_keras_mask", None) is None


@pytest.mark.parametrize("mode", MODES)
def test_gradient_reaches_present_instances_alone(tf, mode, rng) -> None:
    """Also past an empty group and NaN behind the mask."""
    x = rng.normal(size=(2, 3, 2)).astype("float32")
    mask = np.array([[True, False, True], [False, False, False]])
    x = tf.constant(np.where(mask[..., None], x, np.nan))
    with tf.GradientTape() as tape:
        tape.watch(x)
        value = tf.reduce_sum(DeepSetsPooling(mode)(x, mask=mask) ** 2)
    gradient = tape.gradient(value, x).numpy()
    assert np.isfinite(gradient).all()
    assert not gradient[~mask].any()
    assert (np.abs(gradient[0]).sum(axis=0) > 0.0).all()
