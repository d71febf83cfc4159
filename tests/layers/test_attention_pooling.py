"""Attention pooling against a loop, and its invariances."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from keras import ops

from symae_keras.layers import AttentionPooling

pytestmark = pytest.mark.jax


@pytest.fixture(scope="module")
def pool() -> AttentionPooling:
    layer = AttentionPooling(num_heads=2, num_seeds=3, key_dim=4, output_dim=5)
    layer.build((None, None, 6))
    rng = np.random.default_rng(1)
    for weight in layer.weights:  # biases too, which start at zero
        weight.assign(rng.normal(size=weight.shape))
    return layer


def _softmax(scores):
    weights = np.exp(scores - scores.max())
    return weights / weights.sum()


def _reference(pool, x, mask):
    """Queries, heads and instances one at a time."""
    seeds, *projections = (np.asarray(w) for w in pool.weights)
    key, key_bias, value, value_bias, out, out_bias = projections
    size = pool.key_dim
    pooled = []
    for group, there in zip(x, mask, strict=True):
        parts = []
        for seed in seeds:
            for head, query in enumerate(seed):
                columns = slice(head * size, (head + 1) * size)
                keys = group[there] @ key[:, columns] + key_bias[columns]
                values = group[there] @ value[:, columns] + value_bias[columns]
                parts.append(_softmax(keys @ query / np.sqrt(size)) @ values)
        pooled.append(np.concatenate(parts) @ out + out_bias)
    return np.stack(pooled)


def test_equals_a_loop(pool, rng) -> None:
    x = rng.normal(size=(3, 5, 6)).astype("float32")
    mask = np.array([[1, 1, 1, 1, 1], [0, 1, 0, 1, 1], [0, 0, 1, 0, 0]], bool)
    np.testing.assert_allclose(
        pool(x, mask=mask), _reference(pool, x, mask), rtol=1e-4, atol=1e-4
    )
    everything = np.ones((3, 5), bool)
    np.testing.assert_allclose(
        pool(x), _reference(pool, x, everything), rtol=1e-4, atol=1e-4
    )


@given(seed=st.integers(0, 1000), masked=st.booleans())
def test_order_does_not_matter(pool, seed, masked) -> None:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(2, 5, 6)).astype("float32")
    mask = rng.random((2, 5)) < 0.6 if masked else None
    order = rng.permutation(5)
    np.testing.assert_allclose(
        pool(x[:, order], mask=None if mask is None else mask[:, order]),
        pool(x, mask=mask),
        atol=1e-4,
    )


@pytest.mark.parametrize("padding", [0.0, 1e6, np.nan, np.inf])
def test_masked_content_is_ignored(pool, padding, rng) -> None:
    x = rng.normal(size=(2, 5, 6)).astype("float32")
    mask = np.array([[1, 1, 0, 0, 0], [1, 0, 1, 1, 1]], bool)
    spoiled = np.where(mask[..., None], x, np.float32(padding))
    np.testing.assert_array_equal(pool(spoiled, mask=mask), pool(x, mask=mask))


def test_an_empty_group_gives_the_bias(pool, rng) -> None:
    x = rng.normal(size=(2, 5, 6)).astype("float32")
    mask = np.array([[1] * 5, [0] * 5], bool)
    pooled = np.asarray(pool(x, mask=mask))
    np.testing.assert_allclose(pooled[1], np.asarray(pool.weights[-1]), atol=1e-6)
    assert np.abs(pooled[0] - pooled[1]).max() > 0.1


def test_masks_work_in_float16(pool, rng) -> None:
    """The lowest score of float32 would be -inf in float16, and NaN after softmax."""
    half = AttentionPooling.from_config({**pool.get_config(), "dtype": "mixed_float16"})
    half.build((None, None, 6))
    half.set_weights(pool.get_weights())
    x = rng.normal(size=(2, 5, 6)).astype("float16")
    mask = np.array([[1, 0, 1, 1, 0], [0] * 5], bool)
    np.testing.assert_allclose(
        half(x, mask=mask), pool(x.astype("float32"), mask=mask), atol=0.03
    )


def test_gradient_reaches_present_instances_alone(tf, pool, rng) -> None:
    """Also past an empty group and NaN behind the mask."""
    x = rng.normal(size=(2, 5, 6)).astype("float32")
    mask = np.array([[1] * 3 + [0] * 2, [0] * 5], bool)
    x = tf.constant(np.where(mask[..., None], x, np.nan))
    with tf.GradientTape() as tape:
        tape.watch(x)
        value = tf.reduce_sum(pool(x, mask=mask) ** 2)
    gradient, *others = tape.gradient(value, [x, *pool.trainable_variables])
    gradient = gradient.numpy()
    assert not gradient[~mask].any()
    assert (np.abs(gradient[0, :3]).sum(axis=-1) > 0.0).all()
    assert all(np.isfinite(each).all() for each in others)


def test_output_dim_defaults_to_the_features() -> None:
    layer = AttentionPooling()
    assert layer(ops.ones((2, 3, 7))).shape == (2, 7)
    assert layer.get_config()["output_dim"] is None
