"""Gaussians of instances pooled to one of the group, against NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from keras import ops

from symae_keras.layers import GaussianPooling


@pytest.fixture
def gaussians(rng) -> tuple[np.ndarray, np.ndarray]:
    """Means and log variances of three groups of four instances."""
    mean, log_variance = rng.normal(size=(2, 3, 4, 5)).astype("float32")
    return mean, log_variance


@pytest.mark.jax
@pytest.mark.parametrize("masked", [False, True])
def test_product_is_precision_weighted(gaussians, masked) -> None:
    mean, log_variance = gaussians
    mask = np.array([[1, 1, 1, 1], [1, 0, 1, 0], [0, 0, 0, 1]], bool)
    weights = mask[..., None] if masked else np.ones((3, 4, 1))
    precision = weights / np.exp(log_variance)
    variance = 1.0 / precision.sum(axis=1)
    pooled = GaussianPooling("product")(gaussians, mask=mask if masked else None)
    np.testing.assert_allclose(
        pooled[0], variance * (precision * mean).sum(axis=1), rtol=1e-5, atol=1e-6
    )
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


@pytest.mark.jax
def test_average_is_of_means_and_of_variances(gaussians) -> None:
    mask = np.array([[1, 1, 1, 1], [1, 0, 1, 0], [0, 0, 0, 1]], bool)
    pooled = GaussianPooling("average")(gaussians, mask=mask)
    for group, rows in enumerate(mask):
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


def test_more_instances_make_the_product_surer_but_not_the_average() -> None:
    def variance(mode: str, instances: int) -> float:
        zeros = np.zeros((1, instances, 1), "float32")
        return float(ops.exp(GaussianPooling(mode)((zeros, zeros))[1])[0, 0])

    assert variance("product", 8) == pytest.approx(1 / 8)
    assert variance("average", 8) == pytest.approx(1.0)


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16", "mixed_float16"])
@pytest.mark.parametrize("log_variance", [-1e4, 1e4])
@pytest.mark.parametrize("mode", ["product", "average"])
def test_extreme_outputs_of_an_encoder_are_harmless(
    tf, mode, log_variance, policy
) -> None:
    layer = GaussianPooling(mode, dtype=policy)
    ones = tf.ones((2, 4, 3), layer.compute_dtype)
    pair = ones * 1e4, ones * log_variance
    with tf.GradientTape() as tape:
        tape.watch(pair)
        pooled = layer(pair)
        total = tf.reduce_sum(pooled)
    np.testing.assert_allclose(pooled[0], 1e4 * np.ones((2, 3)), rtol=2e-3)
    assert np.isfinite(pooled[1]).all()
    for gradient in tape.gradient(total, pair):
        assert np.isfinite(tf.cast(gradient, "float32")).all()
