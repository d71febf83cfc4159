"""The penalty against exact Jacobians."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import ops

from symae_keras.layers import DenseEncoder, JacobianPenalty


def _norm(function, x, **arguments) -> float:
    layer = JacobianPenalty(1.0, **arguments)
    np.testing.assert_array_equal(layer(x, function=function), x)
    assert len(layer.losses) == 1
    return float(layer.losses[0])


@pytest.mark.jax
@pytest.mark.parametrize("shape", [(9,), (3, 1, 3)])
def test_linear_function(shape, rng) -> None:
    """The Jacobian of `W x + b` is `W`, whatever the instance."""
    matrix = rng.normal(size=(9, 4)).astype("float32")

    def function(x):
        return ops.matmul(ops.reshape(x, (-1, 9)), matrix) + 1.0

    x = rng.normal(size=(5, *shape)).astype("float32")
    expected = (np.float64(matrix) ** 2).sum()
    exact = _norm(function, x, num_directions=None)
    assert exact == pytest.approx(expected, rel=1e-4)
    # For one direction, the variance over instances is about 2 |W^T W|^2.
    x = np.broadcast_to(x[:1], (2000, *shape))
    five_sigma = 5 * np.sqrt(2 * ((matrix.T @ matrix) ** 2).sum() / 2000)
    assert abs(_norm(function, x, seed=0) - expected) < five_sigma
    assert abs(_norm(function, x, num_directions=4, seed=0) - expected) < five_sigma / 2


@pytest.mark.jax
def test_codes_of_any_shape(rng) -> None:
    x = rng.normal(size=(4, 3, 2)).astype("float32")
    assert _norm(lambda x: 3.0 * x, x, num_directions=None) == pytest.approx(
        54, rel=1e-4
    )


@pytest.fixture
def encoder():
    return DenseEncoder(4, units=(16, 8))


def _exact(tf, encoder, x) -> np.ndarray:
    """Squared norm of the Jacobian at each instance."""
    x = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(x)
        code = encoder(x)
    return (tape.batch_jacobian(code, x).numpy() ** 2).sum(axis=(1, 2))


def test_all_unit_vectors_give_the_exact_norm(tf, encoder, rng) -> None:
    x = rng.normal(size=(20, 12)).astype("float32")
    expected = _exact(tf, encoder, x)
    assert expected.std() > 0.1 * expected.mean()  # the encoder is not all but linear
    value = _norm(encoder, x, num_directions=None)
    assert value == pytest.approx(expected.mean(), rel=1e-3)


@pytest.mark.parametrize("num_directions", [1, 3])
def test_random_directions_are_unbiased(tf, encoder, num_directions, rng) -> None:
    x = rng.normal(size=(50, 12)).astype("float32")
    expected = _exact(tf, encoder, x).mean()
    layer = JacobianPenalty(1.0, num_directions, seed=0)
    draws = []
    for _ in range(100):
        layer(x, function=encoder)
        draws.append(float(layer.losses[0]))
    error = np.std(draws) / np.sqrt(len(draws))
    assert 0.0 < error < 0.03 * expected
    assert abs(np.mean(draws) - expected) < 4 * error


def test_gradient_is_that_of_the_exact_norm(tf, rng) -> None:
    """`d |W|^2 / dW = 2 W`, through the differences."""
    dense = keras.layers.Dense(3)
    x = rng.normal(size=(5, 6)).astype("float32")
    dense(x)
    layer = JacobianPenalty(0.5, num_directions=None)
    with tf.GradientTape() as tape:
        layer(x, function=dense)
        value = layer.losses[0]
    kernel = dense.kernel.numpy()
    gradient = tape.gradient(value, dense.kernel.value)
    np.testing.assert_allclose(gradient, kernel, rtol=1e-3, atol=1e-4)


@pytest.mark.jax
@pytest.mark.parametrize("num_directions", [None, 3])
def test_absent_instances_do_not_count(
    num_directions, check_absent, present, monkeypatch, rng
) -> None:
    coins = rng.integers(0, 2, size=(3, 7, 4, 2))
    monkeypatch.setattr(
        keras.random,
        "randint",
        lambda shape, *_, **__: coins if shape[1] == 7 else coins[:, present],
    )
    layer = JacobianPenalty(0.3, num_directions)
    x = rng.normal(size=(7, 4, 2)).astype("float32")
    check_absent(layer, x, function=lambda x: ops.sum(x**3, axis=-1))


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_half_precision(policy, rng) -> None:
    """A step as small as that of float32 would be lost in rounding."""
    x = rng.normal(size=(200, 12)).astype("float32")
    encoder = DenseEncoder(4, units=(16,))
    expected = _norm(encoder, x, num_directions=None)
    half = DenseEncoder(4, units=(16,), dtype=policy)
    half.build((None, 12))
    half.set_weights(encoder.get_weights())
    layer = JacobianPenalty(1.0, num_directions=None, dtype=policy)
    layer(ops.cast(x, layer.compute_dtype), function=half)
    assert float(layer.losses[0]) == pytest.approx(expected, rel=0.05)


@pytest.mark.jax
def test_config() -> None:
    layer = JacobianPenalty(0.2, num_directions=None, seed=3)
    config = layer.get_config()
    assert (config["weight"], config["num_directions"], config["seed"]) == (
        0.2,
        None,
        3,
    )
    assert JacobianPenalty.from_config(config).get_config() == config
