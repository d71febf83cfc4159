"""Penalties on codes, weights and Jacobians against closed forms; sparse codes."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import ops

from symae_keras.layers import (
    DenseEncoder,
    JacobianPenalty,
    KLSparsity,
    L1Sparsity,
    ReconstructionPenalty,
    TopK,
    WeightPenalty,
)


def _term(layer, inputs, handed_on=None, **keywords) -> float:
    """Return the loss of a call, which must return its inputs unchanged."""
    output = layer(inputs, **keywords)
    np.testing.assert_array_equal(output, inputs if handed_on is None else handed_on)
    assert len(layer.losses) == 1
    logged = layer.take_logged()
    assert layer.take_logged() == {}
    assert list(logged) == [layer.term_name]
    assert float(logged[layer.term_name]) == float(layer.losses[0])
    return float(layer.losses[0])


# === Sparse codes ===


@pytest.mark.jax
@pytest.mark.parametrize("shape", [(50, 3), (50, 4, 3)])
def test_sparsity_equals_closed_forms(shape, rng) -> None:
    code = rng.normal(size=shape).astype("float32")
    expected = 0.3 * np.abs(code).sum(axis=-1).mean()
    assert _term(L1Sparsity(0.3), code) == pytest.approx(expected, rel=1e-5)
    code = rng.uniform(size=shape).astype("float32") ** 3
    rate = np.float64(code).reshape(-1, 3).mean(axis=0)
    target = 0.1
    expected = target * np.log(target / rate)
    expected += (1 - target) * np.log((1 - target) / (1 - rate))
    value = _term(KLSparsity(0.3, target), code)
    assert value == pytest.approx(0.3 * expected.sum(), rel=1e-4)


@pytest.mark.jax
def test_kl_is_least_at_the_target_and_finite_at_the_ends() -> None:
    layer = KLSparsity(1.0, target_rate=0.2)

    def at(rate):
        return _term(layer, np.full((4, 2), rate, "float32"))

    assert at(0.2) == pytest.approx(0.0, abs=1e-6)
    assert at(0.1) > at(0.15) > 1e-3 < at(0.25) < at(0.3)
    assert 1.0 < at(0.0) < 100.0  # dead units
    assert 1.0 < at(1.0) < 100.0  # saturated units


@pytest.mark.jax
@pytest.mark.parametrize("layer", [L1Sparsity(0.3), KLSparsity(0.3, 0.1)])
@pytest.mark.parametrize("shape", [(7, 3), (7, 4, 3)])
def test_absent_instances_are_not_sparse(layer, shape, check_absent, rng) -> None:
    check_absent(layer, rng.uniform(size=shape).astype("float32"))


@pytest.mark.jax
@pytest.mark.parametrize("shape", [(20, 7), (4, 5, 7)])
@pytest.mark.parametrize("num_active", [1, 3, 7])
def test_top_k_keeps_the_largest(shape, num_active, rng) -> None:
    code = rng.normal(size=shape).astype("float32")
    kept = ops.convert_to_numpy(TopK(num_active)(code))
    threshold = np.sort(code, axis=-1)[..., -num_active, None]
    np.testing.assert_array_equal(kept, np.where(code >= threshold, code, 0.0))


@pytest.mark.jax
def test_top_k_keeps_as_many_among_equals() -> None:
    kept = ops.convert_to_numpy(TopK(3)(np.ones((4, 9), "float32")))
    np.testing.assert_array_equal(kept.sum(axis=1), 3.0)


def test_gradients_reach_what_top_k_keeps(gradients) -> None:
    code = np.float32([[0.3, 2.0, -1.0, 0.5]])
    (gradient,) = gradients(lambda code: 3.0 * TopK(2)(code), code)
    np.testing.assert_array_equal(gradient, [[0.0, 3.0, 0.0, 3.0]])


# === Weights and reconstructions ===


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
def test_mean_squared_error(rng) -> None:
    """Masked values, which are NaN in the ground truth, have zero error."""
    truth, other = rng.normal(size=(2, 3, 4, 5)).astype("float32")
    expected = 0.3 * np.mean((truth - other) ** 2)
    layer = ReconstructionPenalty(0.3)
    assert layer.term_name == "reconstruction_loss"
    assert _term(layer, (truth, other), other) == pytest.approx(expected, rel=1e-5)
    mask = rng.random(truth.shape) < 0.5
    truth[~mask] = np.nan
    expected = 0.3 * np.mean(np.where(mask, truth - other, 0.0) ** 2)
    value = _term(layer, (truth, other), other, pixel_mask=mask)
    assert value == pytest.approx(expected, rel=1e-5)


@pytest.mark.jax
@pytest.mark.parametrize(
    ("make", "inputs", "expected"),
    [
        # In bfloat16, a sum of 1000 ones would stop at 256.
        (L1Sparsity, np.ones((2, 1000)), 1000.0),
        (KLSparsity, np.eye(1000)[:, :1] * 50.0, 0.0),  # 50 / 1000 = 0.05
        (lambda _, **k: WeightPenalty("l1", **k), [np.ones(1000)], 10.0),
        # The square of 300 would be infinite in float16 and rounded in bfloat16.
        (ReconstructionPenalty, (np.full((2, 3), 300.0), np.zeros((2, 3))), 90000.0),
    ],
)
@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_computed_in_float32(make, inputs, expected, policy) -> None:
    layer = make(1.0, dtype=policy)
    half = keras.tree.map_structure(
        lambda x: ops.convert_to_tensor(x, layer.compute_dtype), inputs
    )
    layer(half)
    assert float(layer.losses[0]) == pytest.approx(expected, rel=1e-6, abs=1e-6)


# === Jacobians ===


def _norm(function, x, **arguments) -> float:
    return _term(JacobianPenalty(1.0, **arguments), x, function=function)


@pytest.mark.jax
@pytest.mark.parametrize("shape", [(9,), (3, 1, 3)])
def test_linear_function(shape, rng) -> None:
    """The Jacobian of `W x + b` is `W` for every instance."""
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
    value = _norm(lambda x: 3.0 * x, x, num_directions=None)
    assert value == pytest.approx(54, rel=1e-4)


@pytest.mark.parametrize("num_directions", [1, 3])
def test_directions_of_a_network(tf, num_directions, rng) -> None:
    """All unit vectors give the exact norm; random ones are unbiased."""
    encoder = DenseEncoder(4, units=(16, 8))
    x = tf.constant(rng.normal(size=(50, 12)), tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(x)
        code = encoder(x)
    norms = (tape.batch_jacobian(code, x).numpy() ** 2).sum(axis=(1, 2))
    assert norms.std() > 0.1 * norms.mean()  # the encoder is clearly nonlinear
    expected = norms.mean()
    exact = _norm(encoder, x, num_directions=None)
    assert exact == pytest.approx(expected, rel=1e-3)
    layer = JacobianPenalty(1.0, num_directions, seed=0)
    draws = [_term(layer, x, function=encoder) for _ in range(100)]
    error = np.std(draws) / np.sqrt(len(draws))
    assert 0.0 < error < 0.03 * expected
    assert abs(np.mean(draws) - expected) < 4 * error


def test_gradient_is_that_of_the_exact_norm(loss_gradients, rng) -> None:
    """The gradient by weights is `d |W|^2 / dW = 2 W`, through the differences."""
    dense = keras.layers.Dense(3)
    dense.build((None, 6))
    layer = JacobianPenalty(0.5, num_directions=None)
    x = rng.normal(size=(5, 6)).astype("float32")
    kernel = dense.kernel.value
    _, gradient = loss_gradients(layer, x, function=dense, variables=[kernel])
    np.testing.assert_allclose(gradient, kernel, rtol=1e-3, atol=1e-4)


@pytest.mark.jax
@pytest.mark.parametrize("num_directions", [None, 3])
def test_absent_instances_have_no_jacobian(
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
def test_jacobian_in_half_precision(policy, rng) -> None:
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
