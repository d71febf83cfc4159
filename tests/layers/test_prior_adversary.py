"""The cross-entropy of a known discriminator, and who gets which gradient."""

from __future__ import annotations

import math

import keras
import numpy as np
import pytest

from symae_keras.layers import PriorAdversary

KERNEL, BIAS = np.float32([[0.7], [-1.2]]), np.float32([0.3])


def _linear(strength=1.0, dtype=None):
    """A discriminator with one layer, whose logit is `KERNEL z + BIAS`."""
    layer = PriorAdversary(units=(), strength=strength, seed=3, dtype=dtype)
    layer.build((None, 2))
    layer.discriminator[-1].kernel.assign(KERNEL)
    layer.discriminator[-1].bias.assign(BIAS)
    return layer


def _draws(n):
    """What the layer draws in its first call."""
    draws = keras.random.normal((n, 2), seed=keras.random.SeedGenerator(3))
    return keras.ops.convert_to_numpy(draws)


def _sigmoid(x):
    return 1.0 / (1.0 + np.exp(-x))


@pytest.mark.jax
@pytest.mark.parametrize("shape", [(5, 2), (3, 4, 2)])
def test_log_2_when_nothing_is_told_apart(shape, rng) -> None:
    layer = PriorAdversary(units=(4,), seed=0)
    layer.build((None, 2))
    layer.discriminator[-1].kernel.assign(np.zeros((4, 1)))
    codes = rng.normal(size=shape).astype("float32")
    np.testing.assert_array_equal(layer(codes), codes)
    assert float(keras.ops.convert_to_numpy(layer.losses[0])) == pytest.approx(
        math.log(2.0), rel=1e-6
    )


@pytest.mark.jax
def test_loss_equals_closed_form(rng) -> None:
    """The mean of -log p of the right answer, over codes and draws alike."""
    codes = rng.normal(size=(50, 2)).astype("float32")
    layer = _linear(strength=0.1)  # which is of no account here
    layer(codes)
    of_codes, of_draws = (each @ KERNEL + BIAS for each in (codes, _draws(50)))
    right = np.concatenate([1.0 - _sigmoid(of_codes), _sigmoid(of_draws)])
    expected = -np.log(right).mean()
    assert float(keras.ops.convert_to_numpy(layer.losses[0])) == pytest.approx(
        expected, rel=1e-5
    )


@pytest.mark.jax
@pytest.mark.parametrize("policy", ["float32", "mixed_float16"])
def test_a_sure_discriminator_gives_a_finite_loss(policy) -> None:
    layer = _linear(dtype=policy)
    codes = np.full((4, 2), -3e3) * [-1.0, 1.0]
    layer(keras.ops.convert_to_tensor(codes, layer.compute_dtype))
    logit = 3e3 * (0.7 + 1.2) + 0.3
    # The draws are far less than this from the middle.
    assert float(keras.ops.convert_to_numpy(layer.losses[0])) == pytest.approx(
        0.5 * logit, rel=1e-2
    )


def test_gradient_of_the_codes(tf, rng) -> None:
    """That of `strength * mean softplus(-d(z))`, not the fading reversed one."""
    codes = tf.constant(rng.normal(size=(50, 2)), tf.float32)
    layer = _linear(strength=0.3)
    with tf.GradientTape() as tape:
        tape.watch(codes)
        layer(codes)
        loss = layer.losses[0]
    logit = codes.numpy() @ KERNEL + BIAS
    expected = -0.3 * _sigmoid(-logit) * KERNEL[:, 0] / 50
    np.testing.assert_allclose(tape.gradient(loss, codes), expected, rtol=1e-4)


@pytest.mark.parametrize("strength", [0.0, 10.0])
def test_gradient_of_the_discriminator(strength, tf, rng) -> None:
    """That of its own cross-entropy, whatever the strength."""
    codes = rng.normal(1.0, 1.0, size=(50, 2)).astype("float32")
    layer = _linear(strength)
    with tf.GradientTape() as tape:
        layer(codes)
        loss = layer.losses[0]
    of_kernel, of_bias = tape.gradient(loss, layer.trainable_variables)
    draws = _draws(50)
    of_codes = _sigmoid(codes @ KERNEL + BIAS)
    of_draws = -_sigmoid(-(draws @ KERNEL + BIAS))
    expected = (codes.T @ of_codes + draws.T @ of_draws) / 100
    np.testing.assert_allclose(of_kernel, expected, rtol=1e-4, atol=1e-6)
    expected = (of_codes + of_draws).sum(axis=0) / 100
    np.testing.assert_allclose(of_bias, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.jax
@pytest.mark.parametrize("shape", [(7, 2), (7, 4, 2)])
def test_absent_instances_do_not_count(
    shape, check_absent, present, monkeypatch, rng
) -> None:
    codes, draws = rng.normal(size=(2, *shape)).astype("float32")
    monkeypatch.setattr(
        keras.random,
        "normal",
        lambda shape, **_: draws if shape[0] == 7 else draws[present],
    )
    check_absent(_linear(strength=0.3), codes)


@pytest.mark.jax
def test_draws_differ_from_call_to_call() -> None:
    layer = _linear()
    losses = []
    for _ in range(2):
        layer(np.zeros((4, 2), "float32"))
        losses.append(float(keras.ops.convert_to_numpy(layer.losses[0])))
    assert losses[0] != losses[1]
