"""Moments of the noise against theory, and its strength as a variable."""

from __future__ import annotations

import math

import keras
import numpy as np
import pytest
from keras import ops

from symae_keras.layers import NuisanceDropout

KINDS = ("gaussian", "bernoulli", "additive")


@pytest.mark.jax
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("strength", [0.2, 0.7])
@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_moments(kind, strength, policy) -> None:
    """The noise has no bias, and the variance that the docstring gives."""
    n, x = 200_000, 3.0
    variance = {
        "gaussian": x**2 * strength**2,
        "bernoulli": x**2 * strength / (1.0 - strength),
        "additive": strength**2,
    }[kind]
    layer = NuisanceDropout(kind, strength, seed=0, dtype=policy)
    noisy = layer(x * ops.ones((n,), layer.compute_dtype), training=True)
    noisy = np.asarray(ops.cast(noisy, "float32"), "float64")
    # bfloat16 has 8 bits: its rounding adds up to half a per cent.
    rounding = 0.005 if policy == "mixed_bfloat16" else 0.0
    assert abs(noisy.mean() - x) < 5.0 * math.sqrt(variance / n) + rounding * x
    assert noisy.var() == pytest.approx(variance, rel=0.03 + 2.0 * rounding)


@pytest.mark.jax
def test_bernoulli_drops_or_rescales() -> None:
    layer = NuisanceDropout("bernoulli", 0.75, seed=0)
    noisy = np.asarray(layer(ops.ones((50_000,)), training=True))
    assert set(np.unique(noisy)) == {0.0, 4.0}
    assert np.mean(noisy == 0.0) == pytest.approx(0.75, abs=0.01)


@pytest.mark.jax
@pytest.mark.parametrize("kind", KINDS)
def test_noise_is_drawn_afresh_for_every_element(kind) -> None:
    layer = NuisanceDropout(kind, 0.5, seed=0)
    ones = ops.ones((4, 5, 64))
    first, second = (np.asarray(layer(ones, training=True)) for _ in range(2))
    assert (first != second).any()
    # Neither groups nor instances share their noise.
    assert len(np.unique(first.reshape(20, 64), axis=0)) == 20
    again = NuisanceDropout(kind, 0.5, seed=0)
    np.testing.assert_array_equal(again(ones, training=True), first)


@pytest.mark.jax
@pytest.mark.parametrize("kind", KINDS)
def test_identity(kind, rng) -> None:
    """At inference, and at strength 0."""
    x = rng.normal(size=(2, 3, 4)).astype("float32")
    layer = NuisanceDropout(kind, 0.5)
    for output in (layer(x), layer(x, training=False)):
        np.testing.assert_array_equal(output, x)
    layer.set_strength(0.0)
    np.testing.assert_array_equal(layer(x, training=True), x)


@pytest.mark.jax
@pytest.mark.parametrize("policy", ["float16", "mixed_bfloat16"])
def test_heavy_bernoulli_is_finite_in_half_precision(policy) -> None:
    """0.9999 is 1 in bfloat16, and 1 / (1 - 1) is not a scale."""
    layer = NuisanceDropout("bernoulli", 0.9999, seed=0, dtype=policy)
    noisy = layer(ops.ones((100_000,), layer.compute_dtype), training=True)
    noisy = np.asarray(ops.cast(noisy, "float32"))
    assert np.isfinite(noisy).all()
    assert noisy.max() == pytest.approx(1e4, rel=0.01)


@pytest.mark.jax
@pytest.mark.parametrize(
    ("kind", "strength"),
    [(kind, bad) for kind in KINDS for bad in (-0.1, math.nan, math.inf)]
    + [("bernoulli", 1.0), ("bernoulli", 1.5)],
)
def test_invalid_strength(kind, strength) -> None:
    message = rf"`strength`.*0 <= strength < .* {kind} noise.*strength={strength}"
    with pytest.raises(ValueError, match=message):
        NuisanceDropout(kind, strength)
    layer = NuisanceDropout(kind, 0.25)
    with pytest.raises(ValueError, match=message):
        layer.set_strength(strength)
    assert float(layer.strength.value) == 0.25


@pytest.mark.jax
def test_unlike_keras_any_strength_is_allowed() -> None:
    """`keras.layers.GaussianNoise` refuses more than 1."""
    for kind in ("gaussian", "additive"):
        assert float(NuisanceDropout(kind, 4.0).strength.value) == 4.0


@pytest.mark.jax
def test_the_current_strength_is_saved(tmp_path) -> None:
    inputs = keras.Input((3,))
    model = keras.Model(inputs, NuisanceDropout("additive", 0.5, seed=3)(inputs))
    model.layers[-1].set_strength(0.125)
    model.save(tmp_path / "model.keras")
    layer = keras.saving.load_model(tmp_path / "model.keras").layers[-1]
    assert float(layer.strength.value) == 0.125
    assert (layer.kind, layer.initial_strength, layer.seed) == ("additive", 0.5, 3)


@pytest.mark.jax
def test_keeps_the_mask_of_its_input(rng) -> None:
    x = rng.normal(size=(2, 3, 4)).astype("float32")
    x[0, 1:] = 0.0
    noisy = NuisanceDropout()(keras.layers.Masking()(x))
    np.testing.assert_array_equal(noisy._keras_mask, x.any(axis=-1))


def test_strength_changes_without_retracing(tf) -> None:
    layer = NuisanceDropout("additive", 0.0, seed=0)
    traces = []

    @tf.function
    def step(x):
        traces.append(x)
        return layer(x, training=True)

    zeros = tf.zeros((20_000,))
    for strength in (0.0, 0.5, 2.0):
        layer.set_strength(strength)
        assert np.std(step(zeros)) == pytest.approx(strength, rel=0.03)
    assert len(traces) == 1


def test_no_gradient_to_the_strength(tf) -> None:
    """The optimiser must never learn to switch the noise off."""
    layer = NuisanceDropout("gaussian", 0.5, seed=0)
    assert layer.trainable_variables == []
    x = tf.ones((5,))
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = layer(x, training=True)
    # d(x (1 + s e)) / dx = 1 + s e, which is y at x = 1.
    np.testing.assert_allclose(tape.gradient(y, x), y, atol=1e-6)
