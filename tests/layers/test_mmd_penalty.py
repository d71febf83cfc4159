"""Maximum mean discrepancy against its closed form."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import ops

from symae_keras.layers import MMDPenalty


def _loss(layer, codes) -> float:
    layer(codes)
    assert len(layer.losses) == 1
    return float(layer.losses[0])


def _kernel(a, b, scales):
    squares = np.square(np.float64(a)[:, None] - b).sum(axis=-1)
    constants = [2.0 * a.shape[-1] * s for s in scales]
    return sum(c / (c + squares) for c in constants)


@pytest.mark.jax
@pytest.mark.parametrize("scales", [(1.0,), (0.1, 0.2, 0.5, 1, 2, 5, 10)])
@pytest.mark.parametrize("shape", [(30, 4), (5, 6, 4)])
def test_loss_equals_closed_form(shape, scales, rng) -> None:
    codes = rng.normal(0.5, 2.0, size=shape).astype("float32")
    layer = MMDPenalty(weight=0.3, scales=scales, seed=3)
    draws = keras.random.normal((30, 4), seed=keras.random.SeedGenerator(3))
    z, p = codes.reshape(30, 4), ops.convert_to_numpy(draws)
    pairs = [_kernel(a, b, scales).mean() for a, b in ((z, z), (p, p), (z, p))]
    expected = 0.3 * (pairs[0] + pairs[1] - 2.0 * pairs[2])
    assert _loss(layer, codes) == pytest.approx(expected, rel=1e-4)
    np.testing.assert_array_equal(layer(codes), codes)


@pytest.mark.jax
def test_small_for_the_prior_only(rng) -> None:
    normal = rng.normal(size=(500, 3)).astype("float32")
    small = _loss(MMDPenalty(seed=0), normal)
    assert 0.0 < small < 2.0 * 7.0 / 500  # the diagonal, which is always there
    for other in (normal + 1.0, normal * 2.0, normal * 0.3, normal * [1.0, 1.0, 0.0]):
        assert _loss(MMDPenalty(seed=0), np.float32(other)) > 5.0 * small


@pytest.mark.jax
def test_zero_where_the_samples_coincide(monkeypatch, rng) -> None:
    """With all pairs; without the diagonal it would be negative."""
    codes = rng.normal(size=(20, 3)).astype("float32")
    monkeypatch.setattr(keras.random, "normal", lambda *_, **__: codes[::-1])
    assert _loss(MMDPenalty(), codes) == pytest.approx(0.0, abs=1e-5)
    # One code is enough.
    monkeypatch.setattr(keras.random, "normal", lambda *_, **__: codes[:1] + 1.0)
    squared = 3.0
    constants = [6.0 * s for s in (0.1, 0.2, 0.5, 1, 2, 5, 10)]
    expected = 2.0 * sum(1.0 - c / (c + squared) for c in constants)
    assert _loss(MMDPenalty(), codes[:1]) == pytest.approx(expected, rel=1e-4)


@pytest.mark.jax
@pytest.mark.parametrize("shape", [(7, 2), (7, 4, 2)])
def test_absent_instances_do_not_count(
    shape, check_absent, present, monkeypatch, rng
) -> None:
    codes, draws = rng.normal(size=(2, *shape)).astype("float32")
    flat, some = draws.reshape(-1, 2), draws[present].reshape(-1, 2)
    monkeypatch.setattr(
        keras.random, "normal", lambda shape, **_: flat if shape[0] % 7 == 0 else some
    )
    check_absent(MMDPenalty(0.3), codes)


def test_gradient_draws_codes_to_the_prior(tf, rng) -> None:
    codes = tf.constant(rng.normal(2.0, 1.0, size=(100, 2)), tf.float32)
    layer = MMDPenalty(seed=0)
    with tf.GradientTape() as tape:
        tape.watch(codes)
        layer(codes)
        loss = layer.losses[0]
    gradient = tape.gradient(loss, codes).numpy()
    assert np.isfinite(gradient).all()
    assert (gradient.mean(axis=0) > 0.0).all()


@pytest.mark.jax
def test_computed_in_float32(rng) -> None:
    codes = ops.cast(rng.normal(size=(50, 3)).astype("float32"), "bfloat16")
    half = _loss(MMDPenalty(seed=0, dtype="mixed_bfloat16"), codes)
    full = _loss(MMDPenalty(seed=0), ops.cast(codes, "float32"))
    assert half == full
