"""Reversed gradients, and codes pulled to a prior, compared with closed forms."""

from __future__ import annotations

import math

import keras
import numpy as np
import pytest
from keras import ops

from symae_keras.layers import GradientReversal, MMDPenalty, PriorAdversary


def _loss(layer, codes) -> float:
    layer(codes)
    assert len(layer.losses) == 1
    return float(ops.convert_to_numpy(layer.losses[0]))


def _draws(n, size):
    """Return the draws of the first call of a layer with seed 3."""
    draws = keras.random.normal((n, size), seed=keras.random.SeedGenerator(3))
    return ops.convert_to_numpy(draws)


# === Reversed gradients ===


@pytest.mark.jax
@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_nothing_is_rounded(policy, rng) -> None:
    layer = GradientReversal(strength=1e4, dtype=policy)
    x = ops.cast(rng.normal(size=(5, 3)).astype("float32"), layer.compute_dtype)
    assert bool(ops.all(layer(x) == x))


@pytest.mark.parametrize("strength", [0.0, 0.3, 2.0])
def test_gradient_is_reversed(strength, gradients, rng) -> None:
    x, weights = rng.normal(size=(2, 5, 3)).astype("float32")
    layer = GradientReversal(strength)
    (gradient,) = gradients(lambda x: weights * layer(x), x)
    np.testing.assert_array_equal(gradient, -np.float32(strength) * weights)


@pytest.mark.jax
def test_before_and_after_learn_the_opposite(rng) -> None:
    """Later layers decrease the loss, and earlier ones increase it, in a step of `fit`.

    The loss of `after * before` is `mean(after * before * x - y)`, so the gradient
    by either factor is x as long as both are 1.
    """

    def difference(y_true, y_pred):
        return y_pred - y_true

    before, after = (
        keras.layers.Dense(1, use_bias=False, kernel_initializer="ones")
        for _ in range(2)
    )
    model = keras.Sequential([before, GradientReversal(0.5), after])
    model.compile(optimizer=keras.optimizers.SGD(0.1), loss=difference)
    x = rng.uniform(1.0, 2.0, size=(8, 1)).astype("float32")
    model.fit(x, 0.0 * x, batch_size=8, verbose=0)
    later, earlier = (
        ops.convert_to_numpy(each.kernel)[0, 0] for each in (after, before)
    )
    assert later == pytest.approx(1 - 0.1 * x.mean())
    assert earlier == pytest.approx(1 + 0.05 * x.mean())


# === Maximum mean discrepancy ===


def _kernel(a, b, scales):
    squares = np.square(np.float64(a)[:, None] - b).sum(axis=-1)
    constants = [2.0 * a.shape[-1] * s for s in scales]
    return sum(c / (c + squares) for c in constants)


@pytest.mark.jax
@pytest.mark.parametrize("scales", [(1.0,), (0.1, 0.2, 0.5, 1, 2, 5, 10)])
@pytest.mark.parametrize("shape", [(30, 4), (5, 6, 4)])
def test_discrepancy_equals_closed_form(shape, scales, rng) -> None:
    codes = rng.normal(0.5, 2.0, size=shape).astype("float32")
    layer = MMDPenalty(weight=0.3, scales=scales, seed=3)
    z, p = codes.reshape(30, 4), _draws(30, 4)
    pairs = [_kernel(a, b, scales).mean() for a, b in ((z, z), (p, p), (z, p))]
    expected = 0.3 * (pairs[0] + pairs[1] - 2.0 * pairs[2])
    assert _loss(layer, codes) == pytest.approx(expected, rel=1e-4)
    np.testing.assert_array_equal(layer(codes), codes)


@pytest.mark.jax
def test_small_for_the_prior_only(rng) -> None:
    normal = rng.normal(size=(500, 3)).astype("float32")
    small = _loss(MMDPenalty(seed=0), normal)
    assert 0.0 < small < 2.0 * 7.0 / 500  # the diagonal always contributes
    for other in (normal + 1.0, normal * 2.0, normal * 0.3, normal * [1.0, 1.0, 0.0]):
        assert _loss(MMDPenalty(seed=0), np.float32(other)) > 5.0 * small


@pytest.mark.jax
def test_zero_where_the_samples_coincide(monkeypatch, rng) -> None:
    """The discrepancy includes all pairs; without the diagonal it could be negative."""
    codes = rng.normal(size=(20, 3)).astype("float32")
    monkeypatch.setattr(keras.random, "normal", lambda *_, **__: codes[::-1])
    assert _loss(MMDPenalty(), codes) == pytest.approx(0.0, abs=1e-5)
    # One code is enough.
    monkeypatch.setattr(keras.random, "normal", lambda *_, **__: codes[:1] + 1.0)
    squared = 3.0
    constants = [6.0 * s for s in (0.1, 0.2, 0.5, 1, 2, 5, 10)]
    expected = 2.0 * sum(1.0 - c / (c + squared) for c in constants)
    assert _loss(MMDPenalty(), codes[:1]) == pytest.approx(expected, rel=1e-4)


def test_gradient_draws_codes_to_the_prior(loss_gradients, rng) -> None:
    codes = rng.normal(2.0, 1.0, size=(100, 2)).astype("float32")
    (gradient,) = loss_gradients(MMDPenalty(seed=0), codes)
    assert np.isfinite(gradient).all()
    assert (gradient.mean(axis=0) > 0.0).all()


@pytest.mark.jax
def test_discrepancy_is_computed_in_float32(rng) -> None:
    codes = ops.cast(rng.normal(size=(50, 3)).astype("float32"), "bfloat16")
    half = _loss(MMDPenalty(seed=0, dtype="mixed_bfloat16"), codes)
    full = _loss(MMDPenalty(seed=0), ops.cast(codes, "float32"))
    assert half == full


# === Adversary ===

KERNEL, BIAS = np.float32([[0.7], [-1.2]]), np.float32([0.3])


def _linear(strength=1.0, dtype=None):
    """Return a discriminator with one layer, whose logit is `KERNEL z + BIAS`."""
    layer = PriorAdversary(units=(), strength=strength, seed=3, dtype=dtype)
    layer.build((None, 2))
    layer.discriminator[-1].kernel.assign(KERNEL)
    layer.discriminator[-1].bias.assign(BIAS)
    return layer


def _sigmoid(x):
    return 1.0 / (1.0 + np.exp(-x))


@pytest.mark.jax
@pytest.mark.parametrize("shape", [(5, 2), (3, 4, 2)])
def test_log_2_when_nothing_is_told_apart(shape, rng) -> None:
    layer = PriorAdversary(units=(4,), seed=0)
    layer.build((None, 2))
    layer.discriminator[-1].kernel.assign(np.zeros((4, 1)))
    codes = rng.normal(size=shape).astype("float32")
    assert _loss(layer, codes) == pytest.approx(math.log(2.0), rel=1e-6)
    np.testing.assert_array_equal(layer(codes), codes)


@pytest.mark.jax
def test_cross_entropy_equals_closed_form(rng) -> None:
    """The loss is the mean of -log p of the correct answer, over codes and draws."""
    codes = rng.normal(size=(50, 2)).astype("float32")
    of_codes, of_draws = (each @ KERNEL + BIAS for each in (codes, _draws(50, 2)))
    right = np.concatenate([1.0 - _sigmoid(of_codes), _sigmoid(of_draws)])
    layer = _linear(strength=0.1)  # has no effect here
    value = _loss(layer, codes)
    assert value == pytest.approx(-np.log(right).mean(), rel=1e-5)
    assert _loss(layer, codes) != value  # draws differ between calls


@pytest.mark.jax
@pytest.mark.parametrize("policy", ["float32", "mixed_float16"])
def test_a_sure_discriminator_gives_a_finite_loss(policy) -> None:
    layer = _linear(dtype=policy)
    codes = np.full((4, 2), -3e3) * [-1.0, 1.0]
    value = _loss(layer, ops.convert_to_tensor(codes, layer.compute_dtype))
    logit = 3e3 * (0.7 + 1.2) + 0.3
    # The draws are much closer to the middle than this.
    assert value == pytest.approx(0.5 * logit, rel=1e-2)


@pytest.mark.parametrize("strength", [0.0, 0.3, 10.0])
def test_gradients_of_codes_and_discriminator(strength, loss_gradients, rng) -> None:
    """Codes get the gradient of `strength * mean softplus(-d(z))`.

    The discriminator gets that of its cross-entropy, for any strength.
    """
    codes = rng.normal(1.0, 1.0, size=(50, 2)).astype("float32")
    layer = _linear(strength)
    found, of_kernel, of_bias = loss_gradients(
        layer, codes, variables=layer.trainable_variables
    )
    logit = codes @ KERNEL + BIAS
    expected = -strength * _sigmoid(-logit) * KERNEL[:, 0] / 50
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    draws = _draws(50, 2)
    of_codes, of_draws = _sigmoid(logit), -_sigmoid(-(draws @ KERNEL + BIAS))
    expected = (codes.T @ of_codes + draws.T @ of_draws) / 100
    np.testing.assert_allclose(of_kernel, expected, rtol=1e-4, atol=1e-6)
    expected = (of_codes + of_draws).sum(axis=0) / 100
    np.testing.assert_allclose(of_bias, expected, rtol=1e-4, atol=1e-6)


# === Both ===


@pytest.mark.jax
@pytest.mark.parametrize("shape", [(7, 2), (7, 4, 2)])
@pytest.mark.parametrize("make", [lambda: MMDPenalty(0.3), lambda: _linear(0.3)])
def test_absent_instances_do_not_count(
    make, shape, check_absent, present, monkeypatch, rng
) -> None:
    codes, draws = rng.normal(size=(2, *shape)).astype("float32")

    def normal(shape, **_):
        of_all = draws if shape[0] % 7 == 0 else draws[present]
        return of_all.reshape(shape)

    monkeypatch.setattr(keras.random, "normal", normal)
    check_absent(make(), codes)
