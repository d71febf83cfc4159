"""Layers on groups: per instance and pooled, compared with loops and closed forms."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from keras import ops

from symae_keras.layers import (
    AttentionPooling,
    DeepSetsPooling,
    GaussianPooling,
    PerInstance,
)

pytestmark = pytest.mark.jax
MODES = ("mean", "sum", "max")
#: Shape of three groups of four instances.
MASK = np.array([[1, 1, 1, 1], [1, 0, 1, 0], [0, 0, 0, 1]], bool)


# === Per instance ===


def _conv() -> keras.Layer:
    return keras.Sequential(
        [keras.layers.Conv1D(3, 3, activation="gelu"), keras.layers.Flatten()]
    )


@pytest.mark.parametrize("instances", [1, 4])
def test_equals_a_loop_over_instances(instances, rng) -> None:
    x = rng.normal(size=(2, instances, 7, 2)).astype("float32")
    inner = _conv()
    folded = PerInstance(inner)(x)
    looped = ops.stack([inner(x[:, t]) for t in range(instances)], axis=1)
    np.testing.assert_allclose(folded, looped, atol=1e-6)


def test_training_reaches_the_layer_inside(rng) -> None:
    x = rng.normal(size=(3, 4, 5)).astype("float32")
    layer = PerInstance(keras.layers.BatchNormalization(momentum=0.0))
    trained = np.asarray(layer(x, training=True))
    # Statistics are over all instances of all groups.
    np.testing.assert_allclose(trained.mean(axis=(0, 1)), 0.0, atol=1e-5)
    np.testing.assert_allclose(
        layer.layer.moving_mean.value, x.mean(axis=(0, 1)), atol=1e-5
    )
    assert len(layer.trainable_weights) == 2
    assert len(layer.non_trainable_weights) == 2


class OnlyCall(keras.layers.Layer):
    """Minimal Keras layer: no `build`, no output shape."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = keras.layers.Dense(4)

    def call(self, inputs):
        return self.dense(inputs)


def test_takes_a_layer_with_nothing_but_call(rng) -> None:
    x = rng.normal(size=(2, 3, 5)).astype("float32")
    layer = PerInstance(OnlyCall())
    assert layer(keras.KerasTensor((None, None, 5))).shape == (None, None, 4)
    assert len(layer.trainable_weights) == 2
    np.testing.assert_allclose(layer(x)[:, 1], layer.layer(x[:, 1]), atol=1e-6)


def test_axes_unknown_when_traced(tf, rng) -> None:
    """One trace is used for every number of groups and instances."""
    layer = PerInstance(_conv())
    layer.build((None, None, 7, 2))
    traces = []

    @tf.function(input_signature=[tf.TensorSpec((None, None, 7, 2), tf.float32)])
    def apply(x):
        y = layer(x)
        traces.append(y.shape)
        return y

    for groups, instances in ((2, 3), (5, 1), (1, 8)):
        x = rng.normal(size=(groups, instances, 7, 2)).astype("float32")
        np.testing.assert_allclose(apply(x), layer(x), atol=1e-6)
    assert [tuple(each) for each in traces] == [(None, None, 15)]


# === Statistics and attention ===


@pytest.fixture(scope="module")
def pools():
    """Return all layers that pool features, by name."""
    attention = AttentionPooling(num_heads=2, num_seeds=3, key_dim=4, output_dim=5)
    attention.build((None, None, 6))
    rng = np.random.default_rng(1)
    for weight in attention.weights:  # also biases, which start at zero
        weight.assign(rng.normal(size=weight.shape))
    return {"attention": attention, **{mode: DeepSetsPooling(mode) for mode in MODES}}


@pytest.fixture(scope="module")
def attention(pools) -> AttentionPooling:
    return pools["attention"]


def _softmax(scores):
    weights = np.exp(scores - scores.max())
    return weights / weights.sum()


def _attention(pool, group):
    """Compute queries and heads one at a time."""
    seeds, *projections = (np.asarray(w) for w in pool.weights)
    key, key_bias, value, value_bias, out, out_bias = projections
    size = pool.key_dim
    parts = []
    for seed in seeds:
        for head, query in enumerate(seed):
            columns = slice(head * size, (head + 1) * size)
            keys = group @ key[:, columns] + key_bias[columns]
            values = group @ value[:, columns] + value_bias[columns]
            parts.append(_softmax(keys @ query / np.sqrt(size)) @ values)
    return np.concatenate(parts) @ out + out_bias


def _statistic(mode, group):
    return getattr(np, mode)(group, axis=0) if len(group) else 0.0 * group.sum(axis=0)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("offset", [-50.0, 0.0, 50.0])
@given(
    shape=st.sampled_from([(2, 4, 3), (3, 1, 2), (2, 4, 2, 3)]),
    seed=st.integers(0, 1000),
)
def test_statistics_equal_numpy(mode, offset, shape, seed) -> None:
    rng = np.random.default_rng(seed)
    # With an offset, zeros from padding would change a maximum or a mean.
    x = rng.normal(size=shape).astype("float32") + offset
    mask = rng.random(shape[:2]) < 0.6
    pool = DeepSetsPooling(mode)
    expected = [_statistic(mode, g[there]) for g, there in zip(x, mask, strict=True)]
    np.testing.assert_allclose(pool(x, mask=mask), expected, rtol=1e-5, atol=1e-5)
    expected = getattr(np, mode)(x, axis=1)
    np.testing.assert_allclose(pool(x), expected, rtol=1e-5, atol=1e-5)


def test_attention_equals_a_loop(attention, rng) -> None:
    x = rng.normal(size=(3, 4, 6)).astype("float32")
    expected = [_attention(attention, g[m]) for g, m in zip(x, MASK, strict=True)]
    np.testing.assert_allclose(attention(x, mask=MASK), expected, rtol=1e-4, atol=1e-4)
    expected = [_attention(attention, group) for group in x]
    np.testing.assert_allclose(attention(x), expected, rtol=1e-4, atol=1e-4)


@given(seed=st.integers(0, 1000), masked=st.booleans())
def test_order_does_not_matter_to_attention(attention, seed, masked) -> None:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(2, 5, 6)).astype("float32")
    mask = rng.random((2, 5)) < 0.6 if masked else None
    order = rng.permutation(5)
    turned = attention(x[:, order], mask=None if mask is None else mask[:, order])
    np.testing.assert_allclose(turned, attention(x, mask=mask), atol=1e-4)


@pytest.mark.parametrize("name", ["attention", *MODES])
def test_masks_hide_anything_and_may_be_numbers(pools, name, rng) -> None:
    pool = pools[name]
    x = rng.normal(size=(3, 4, 6)).astype("float32")
    expected = pool(x, mask=MASK)
    for padding in (0.0, 1e6, np.nan, np.inf):
        spoiled = np.where(MASK[..., None], x, np.float32(padding))
        np.testing.assert_array_equal(pool(spoiled, mask=MASK), expected)
    np.testing.assert_array_equal(pool(x, mask=MASK.astype("float32")), expected)


@pytest.mark.parametrize("name", ["attention", *MODES])
def test_gradient_reaches_present_instances_alone(pools, name, gradients, rng) -> None:
    """Gradients are finite for an empty group and NaN under the mask."""
    x = rng.normal(size=(2, 5, 6)).astype("float32")
    mask = np.array([[1, 0, 1, 1, 0], [0] * 5], bool)
    x[~mask] = np.nan
    pool = pools[name]
    gradient, *others = gradients(
        lambda x: pool(x, mask=mask) ** 2, x, variables=pool.trainable_variables
    )
    assert np.isfinite(gradient).all()
    assert not gradient[~mask].any()
    # Only the maximum has a gradient, but another instance for each feature.
    reached = np.abs(gradient[0]).sum(axis=0 if name == "max" else 1)
    assert (reached[mask[0]] > 0.0 if name != "max" else reached > 0.0).all()
    assert all(np.isfinite(each).all() for each in others)


def test_an_empty_group_gives_the_bias(attention, rng) -> None:
    x = rng.normal(size=(2, 5, 6)).astype("float32")
    mask = np.array([[1] * 5, [0] * 5], bool)
    pooled = np.asarray(attention(x, mask=mask))
    np.testing.assert_allclose(pooled[1], np.asarray(attention.weights[-1]), atol=1e-6)
    assert np.abs(pooled[0] - pooled[1]).max() > 0.1


def test_masks_work_in_float16(attention, rng) -> None:
    """The lowest score of float32 would be -inf in float16, and NaN after softmax."""
    config = attention.get_config()
    half = AttentionPooling.from_config({**config, "dtype": "mixed_float16"})
    half.build((None, None, 6))
    half.set_weights(attention.get_weights())
    x = rng.normal(size=(2, 5, 6)).astype("float16")
    mask = np.array([[1, 0, 1, 1, 0], [0] * 5], bool)
    expected = attention(x.astype("float32"), mask=mask)
    np.testing.assert_allclose(half(x, mask=mask), expected, atol=0.03)


def test_output_dim_defaults_to_the_features() -> None:
    layer = AttentionPooling()
    assert layer(ops.ones((2, 3, 7))).shape == (2, 7)
    assert layer.get_config()["output_dim"] is None


def test_sums_are_taken_in_float32() -> None:
    # Summed in float16 one by one, 4096 ones stop at 2048.
    ones = ops.ones((1, 4096, 1), "float16")
    assert float(DeepSetsPooling("sum", dtype="float16")(ones)[0, 0]) == 4096.0


def test_takes_the_mask_that_keras_carries(rng) -> None:
    """A `Masking` layer upstream is respected, and the mask ends at the pooling."""
    x = rng.normal(size=(2, 4, 3)).astype("float32")
    x[0, 2:] = 0.0
    pooled = DeepSetsPooling("mean")(keras.layers.Masking()(x))
    expected = [x[0, :2].mean(axis=0), x[1].mean(axis=0)]
    np.testing.assert_allclose(pooled, expected, atol=1e-6)
    assert getattr(pooled, "_keras_mask", None) is None


# === Gaussians ===


@pytest.fixture
def gaussians(rng) -> tuple[np.ndarray, np.ndarray]:
    """Return means and log variances of three groups of four instances."""
    mean, log_variance = rng.normal(size=(2, 3, 4, 5)).astype("float32")
    return mean, log_variance


@pytest.mark.parametrize("masked", [False, True])
def test_product_is_precision_weighted(gaussians, masked) -> None:
    mean, log_variance = gaussians
    weights = MASK[..., None] if masked else np.ones((3, 4, 1))
    precision = weights / np.exp(log_variance)
    variance = 1.0 / precision.sum(axis=1)
    pooled = GaussianPooling("product")(gaussians, mask=MASK if masked else None)
    expected = variance * (precision * mean).sum(axis=1)
    np.testing.assert_allclose(pooled[0], expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(pooled[1], np.log(variance), rtol=1e-5, atol=1e-6)


def test_product_is_the_normalised_product_of_densities() -> None:
    grid = np.linspace(-8.0, 8.0, 4001)
    mean, variance = np.array([-1.0, 0.5, 2.0]), np.array([0.3, 1.0, 2.5])
    density = np.exp(-0.5 * (grid[:, None] - mean) ** 2 / variance).prod(axis=1)
    density /= density.sum()
    expected = density @ grid
    pooled = GaussianPooling("product")(
        (mean[None, :, None], np.log(variance)[None, :, None])
    )
    assert float(pooled[0][0, 0]) == pytest.approx(expected, rel=1e-4)
    assert float(ops.exp(pooled[1])[0, 0]) == pytest.approx(
        density @ (grid - expected) ** 2, rel=1e-4
    )


def test_average_is_of_means_and_of_variances(gaussians) -> None:
    pooled = GaussianPooling("average")(gaussians, mask=MASK)
    for group, rows in enumerate(MASK):
        mean, log_variance = (each[group][rows] for each in gaussians)
        np.testing.assert_allclose(pooled[0][group], mean.mean(axis=0), rtol=1e-5)
        np.testing.assert_allclose(
            ops.exp(pooled[1])[group], np.exp(log_variance).mean(axis=0), rtol=1e-5
        )


@pytest.mark.parametrize("mode", ["product", "average"])
def test_an_empty_group_is_standard_normal(gaussians, mode) -> None:
    mask = np.zeros((3, 4), bool)
    mean, log_variance = GaussianPooling(mode)(gaussians, mask=mask)
    np.testing.assert_array_equal(mean, np.zeros((3, 5)))
    np.testing.assert_array_equal(log_variance, np.zeros((3, 5)))


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16", "mixed_float16"])
@pytest.mark.parametrize("log_variance", [-1e4, 1e4])
@pytest.mark.parametrize("mode", ["product", "average"])
def test_extreme_outputs_of_an_encoder_are_harmless(
    gradients, mode, log_variance, policy
) -> None:
    layer = GaussianPooling(mode, dtype=policy)
    ones = ops.ones((2, 4, 3), layer.compute_dtype)
    pooled = layer((ones * 1e4, ones * log_variance))
    np.testing.assert_allclose(pooled[0], 1e4 * np.ones((2, 3)), rtol=2e-3)
    assert np.isfinite(pooled[1]).all()

    def total(*pair):
        return sum(ops.sum(each) for each in layer(pair))

    for gradient in gradients(total, ones * 1e4, ones * log_variance):
        assert np.isfinite(gradient.astype("float32")).all()
