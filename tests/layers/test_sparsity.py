"""Sparsity penalties and selections against their closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from keras import ops

from symae_keras.layers import KLSparsity, L1Sparsity, TopK


def _term(layer, code) -> float:
    handed_on = layer(code)
    np.testing.assert_array_equal(handed_on, code)
    assert len(layer.losses) == 1
    logged = layer.take_logged()
    assert layer.take_logged() == {}
    assert list(logged) == [layer.term_name]
    assert float(logged[layer.term_name]) == float(layer.losses[0])
    return float(layer.losses[0])


@pytest.mark.jax
@pytest.mark.parametrize("shape", [(5, 3), (5, 4, 3)])
def test_l1_is_the_mean_sum_of_absolute_values(shape, rng) -> None:
    code = rng.normal(size=shape).astype("float32")
    expected = 0.3 * np.abs(code).sum(axis=-1).mean()
    assert _term(L1Sparsity(0.3), code) == pytest.approx(expected, rel=1e-5)


@pytest.mark.jax
@pytest.mark.parametrize("shape", [(50, 3), (50, 4, 3)])
def test_kl_of_bernoulli_rates(shape, rng) -> None:
    code = rng.uniform(size=shape).astype("float32") ** 3
    rate = np.float64(code).reshape(-1, 3).mean(axis=0)
    target = 0.1
    expected = target * np.log(target / rate)
    expected += (1 - target) * np.log((1 - target) / (1 - rate))
    value = _term(KLSparsity(0.3, target), code)
    assert value == pytest.approx(0.3 * expected.sum(), rel=1e-4)


@pytest.mark.jax
def test_kl_is_least_at_the_target() -> None:
    layer = KLSparsity(1.0, target_rate=0.2)

    def at(rate):
        return _term(layer, np.full((4, 2), rate, "float32"))

    assert at(0.2) == pytest.approx(0.0, abs=1e-6)
    assert at(0.1) > at(0.15) > 1e-3 < at(0.25) < at(0.3)


@pytest.mark.jax
@pytest.mark.parametrize("rate", [0.0, 1.0])
def test_kl_of_dead_and_saturated_units_is_finite(rate) -> None:
    value = _term(KLSparsity(1.0), np.full((4, 2), rate, "float32"))
    assert 1.0 < value < 100.0


@pytest.mark.jax
@pytest.mark.parametrize("layer", [L1Sparsity(0.3), KLSparsity(0.3, 0.1)])
@pytest.mark.parametrize("shape", [(7, 3), (7, 4, 3)])
def test_absent_instances_do_not_count(layer, shape, check_absent, rng) -> None:
    check_absent(layer, rng.uniform(size=shape).astype("float32"))


@pytest.mark.jax
def test_penalties_are_computed_in_float32() -> None:
    """In bfloat16, the sum of 1000 numbers of 1 would stop at 256."""
    layer = L1Sparsity(1.0, dtype="mixed_bfloat16")
    layer(ops.ones((2, 1000), "bfloat16"))
    assert float(layer.losses[0]) == 1000.0
    rates = KLSparsity(1.0, dtype="mixed_bfloat16")
    rates(ops.cast(np.eye(1000)[:, :1] * 50.0, "bfloat16"))
    assert float(rates.losses[0]) == pytest.approx(0.0, abs=1e-6)  # 50 / 1000 = 0.05


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


def test_gradients_reach_what_top_k_keeps(tf) -> None:
    code = tf.constant([[0.3, 2.0, -1.0, 0.5]])
    with tf.GradientTape() as tape:
        tape.watch(code)
        total = tf.reduce_sum(3.0 * TopK(2)(code))
    np.testing.assert_array_equal(tape.gradient(total, code), [[0.0, 3.0, 0.0, 3.0]])


def test_top_k_of_a_short_code() -> None:
    with pytest.raises(ValueError, match=r"num_active=5.*\(2, 4\)"):
        TopK(5)(np.ones((2, 4)))
