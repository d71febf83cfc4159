"""Divergence and sample compared with their closed forms."""

from __future__ import annotations

import math

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from keras import ops

from symae_keras.layers import GaussianSampling


def _kl(mean, log_variance):
    """Compute the divergence of each diagonal Gaussian from the standard normal."""
    mean, log_variance = np.float64(mean), np.float64(log_variance)
    return 0.5 * (mean**2 + np.exp(log_variance) - 1.0 - log_variance).sum(axis=-1)


def _loss(layer) -> float:
    assert len(layer.losses) == 1
    return float(layer.losses[0])


@pytest.mark.jax
@given(
    shape=st.sampled_from([(3, 2), (2, 4, 3)]),
    weight=st.sampled_from([0.0, 0.01, 1.0, 2.5]),
    training=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_divergence_equals_closed_form(shape, weight, training, seed) -> None:
    """Outside of training, the code is the mean."""
    rng = np.random.default_rng(seed)
    mean, log_variance = rng.normal(size=(2, *shape)).astype("float32") * 2.0
    layer = GaussianSampling(weight)
    code = layer((mean, log_variance), training=training)
    assert np.array_equal(code, mean) is not training
    expected = weight * _kl(mean, log_variance).mean()
    assert _loss(layer) == pytest.approx(expected, rel=1e-5, abs=1e-7)


@pytest.mark.jax
def test_divergence_equals_monte_carlo(rng) -> None:
    """The divergence is E[log q - log p] under q, estimated without the formula."""
    mean, log_variance = np.float32([[0.7, -1.2]]), np.float32([[-0.8, 0.6]])
    z = mean + np.exp(0.5 * log_variance) * rng.normal(size=(400_000, 2))
    log_q = -0.5 * ((z - mean) ** 2 / np.exp(log_variance) + log_variance)
    estimate = (log_q + 0.5 * z**2).sum(axis=-1).mean()
    layer = GaussianSampling()
    layer((mean, log_variance))
    assert _loss(layer) == pytest.approx(estimate, rel=0.01)


@pytest.mark.jax
def test_standard_deviation_is_exp_of_half_the_log_variance() -> None:
    n = 100_000
    mean = np.broadcast_to(np.float32([0.0, 2.0, -1.0]), (n, 3))
    log_variance = np.broadcast_to(np.float32([0.0, 1.5, -3.0]), (n, 3))
    layer = GaussianSampling(seed=0)
    sample = np.asarray(layer((mean, log_variance), training=True))
    deviation = np.exp(0.5 * log_variance[0])
    np.testing.assert_allclose(sample.std(axis=0), deviation, rtol=0.02)
    assert (np.abs(sample.mean(axis=0) - mean[0]) < 5 * deviation / math.sqrt(n)).all()
    # Independent over instances and over the components of the code.
    assert np.abs(np.corrcoef(sample.T) - np.eye(3)).max() < 0.02


@pytest.mark.jax
def test_masked_instances_do_not_count(rng) -> None:
    mean, log_variance = rng.normal(size=(2, 3, 4, 2)).astype("float32")
    mask = np.array([[1, 1, 0, 0], [1, 0, 0, 1], [0, 0, 0, 0]], bool)
    layer = GaussianSampling()
    layer((mean, log_variance), mask=mask)
    expected = _kl(mean, log_variance)[mask].mean()
    assert _loss(layer) == pytest.approx(expected, rel=1e-5)
    layer((mean, log_variance), mask=np.zeros((3, 4), bool))
    assert _loss(layer) == 0.0


POLICIES = ["float32", "mixed_bfloat16", "mixed_float16"]


@pytest.mark.jax
@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("mean", [-1e4, 1e4])
@pytest.mark.parametrize("log_variance", [-1e4, 1e4])
def test_extreme_outputs_of_an_encoder_are_harmless(policy, mean, log_variance) -> None:
    layer = GaussianSampling(seed=0, dtype=policy)
    # Enough values for noise times exp(10) to exceed float16.
    ones = ops.ones((400, 3), layer.compute_dtype)
    for training in (False, True):
        sample = layer((ones * mean, ones * log_variance), training=training)
        assert sample.dtype == ones.dtype
        assert bool(ops.all(ops.isfinite(ops.cast(sample, "float32"))))
        assert math.isfinite(_loss(layer))
    other = ops.cast(-mean * ones, "float32"), ops.cast(-log_variance * ones, "float32")
    layer((ones * mean, ones * log_variance), prior=other, training=True)
    assert math.isfinite(_loss(layer))


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("log_variance", [-1e4, 1e4])
def test_extreme_outputs_have_finite_gradients(
    gradients, loss_gradients, policy, log_variance
) -> None:
    layer = GaussianSampling(seed=0, dtype=policy)
    ones = ops.ones((400, 3), layer.compute_dtype)
    pair = ones * 1e4, ones * log_variance

    def sample(*pair):
        return ops.mean(ops.cast(layer(pair, training=True), "float32"))

    found = [*gradients(sample, *pair), *loss_gradients(layer, pair, training=True)]
    assert all(np.isfinite(each.astype("float32")).all() for each in found)


@pytest.mark.jax
def test_divergence_is_computed_in_float32() -> None:
    """It would be 0 in bfloat16, where exp(0.01) - 1 - 0.01 vanishes."""
    layer = GaussianSampling(dtype="mixed_bfloat16")
    zeros = ops.zeros((1, 1), "bfloat16")
    layer((zeros, zeros + 0.01))
    small = float(ops.cast(zeros + 0.01, "float32")[0, 0])
    assert _loss(layer) == pytest.approx(_kl([0.0], [small]), rel=1e-2)
    assert _loss(layer) > 0.0


@pytest.mark.jax
@pytest.mark.parametrize("weight", [-1.0, math.nan, math.inf])
def test_invalid_weight(weight) -> None:
    with pytest.raises(ValueError, match=rf"`kl_weight`.*kl_weight={weight}"):
        GaussianSampling(weight)
    layer = GaussianSampling(0.5)
    with pytest.raises(ValueError, match="kl_weight"):
        layer.set_kl_weight(weight)
    assert float(layer.kl_weight.value) == 0.5


@pytest.mark.jax
def test_the_current_weight_is_used_and_saved(tmp_path) -> None:
    mean, log_variance = keras.Input((3,)), keras.Input((3,))
    layer = GaussianSampling(1.0)
    model = keras.Model((mean, log_variance), layer((mean, log_variance)))
    layer.set_kl_weight(0.25)
    ones = ops.ones((2, 3))
    model((ones, ones * 0.0))
    assert float(model.losses[0]) == pytest.approx(0.25 * 1.5)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    again((ones, ones * 0.0))
    assert float(again.losses[0]) == pytest.approx(0.25 * 1.5)


def test_gradient_of_the_divergence(loss_gradients, rng) -> None:
    """The gradients are d / d mean = mean, d / d log var = (exp(log var) - 1) / 2."""
    mean, log_variance = rng.normal(size=(2, 5, 3)).astype("float32")
    layer = GaussianSampling(5.0)  # the layer computes the mean over 5
    found = loss_gradients(layer, (mean, log_variance), training=True)
    np.testing.assert_allclose(found[0], mean, rtol=1e-5)
    expected = 0.5 * (np.exp(log_variance) - 1.0)
    np.testing.assert_allclose(found[1], expected, rtol=1e-4, atol=1e-6)


def test_gradient_of_the_sample(gradients, rng) -> None:
    """The sample is reparametrised: dz/d mean = 1, dz/d log var = (z - mean) / 2."""
    pair = rng.normal(size=(2, 5, 3)).astype("float32")

    def sample(*pair):
        return GaussianSampling(seed=0)(pair, training=True)

    of_mean, of_log_variance = gradients(sample, *pair)
    np.testing.assert_array_equal(of_mean, np.ones((5, 3)))
    expected = 0.5 * (sample(*pair) - pair[0])
    np.testing.assert_allclose(of_log_variance, expected, atol=1e-5)


@pytest.mark.jax
def test_divergence_from_a_given_prior(rng) -> None:
    mean, log_variance, other_mean, other_log_variance = rng.normal(size=(4, 6, 3))
    layer = GaussianSampling()
    layer((mean, log_variance), prior=(other_mean, other_log_variance))
    log_ratio = log_variance - other_log_variance
    distance = (mean - other_mean) ** 2 / np.exp(other_log_variance)
    kl = 0.5 * (np.exp(log_ratio) + distance - 1.0 - log_ratio)
    assert _loss(layer) == pytest.approx(kl.sum(axis=1).mean(), rel=1e-5)


@pytest.mark.jax
def test_the_sum_of_divergences_over_another_number(rng) -> None:
    mean, log_variance = rng.normal(size=(2, 6, 3)).astype("float32")
    layer = GaussianSampling(kl_weight=0.5)
    layer((mean, log_variance), per=24.0)
    expected = 0.5 * _kl(mean, log_variance).sum() / 24
    assert _loss(layer) == pytest.approx(expected, rel=1e-5)
    # It is not rounded to half precision.
    half, ones = GaussianSampling(dtype="mixed_float16"), ops.ones((1, 1), "float16")
    half((ones, 0.0 * ones), per=ops.convert_to_tensor(70000.0, "float32"))
    assert _loss(half) == pytest.approx(0.5 / 70000.0, rel=1e-5)


@pytest.mark.jax
def test_free_bits_are_for_each_number_of_the_code() -> None:
    mean, zeros = np.float32([[0.1, 2.0], [-0.1, 1.0]]), np.zeros((2, 2), "float32")
    layer = GaussianSampling(free_bits=0.5)
    layer((mean, zeros))
    # The first element has 0.005 nats, which count as 0.5; the second has 1.25.
    assert _loss(layer) == pytest.approx(0.5 + 1.25, rel=1e-6)


def test_no_gradient_below_the_free_bits(loss_gradients) -> None:
    mean, zeros = np.float32([[0.1, 2.0], [-0.1, 1.0]]), np.zeros((2, 2), "float32")
    gradient, _ = loss_gradients(GaussianSampling(free_bits=0.5), (mean, zeros))
    np.testing.assert_allclose(gradient, [[0.0, 1.0], [0.0, 0.5]], rtol=1e-6)
