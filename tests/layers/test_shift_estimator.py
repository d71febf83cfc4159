"""Delays of traces: known delays, weak and dead traces, gradients, invalid inputs."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import ops

from symae_keras.layers import FourierShift, ShiftEstimator


def gathers(delay, noise=0.0, seed=0):
    """Make traces with the waveform of their gather, delayed from the middle."""
    rng = np.random.default_rng(seed)
    time = np.arange(96) - 47.5 - delay[..., None]
    phase = rng.uniform(0, 2 * np.pi, (*delay.shape[:-1], 1, 1))
    x = np.exp(-0.5 * (time / 5) ** 2) * np.cos(0.6 * time + phase)
    x = x * rng.uniform(0.5, 2.0, (*delay.shape, 1))
    return (x + noise * rng.normal(size=x.shape)).astype("float32")


def found(x):
    return ops.convert_to_numpy(ShiftEstimator()(x))


def relative(delay):
    return delay - delay.mean(axis=-1, keepdims=True)


@pytest.mark.jax
@pytest.mark.parametrize(("noise", "tolerance"), [(0.0, 0.01), (0.03, 0.15)])
def test_known_delays(rng, noise, tolerance) -> None:
    delay = rng.uniform(-20, 20, (4, 3, 12))
    x = gathers(delay, noise)
    np.testing.assert_allclose(relative(found(x)), relative(delay), atol=tolerance)
    assert np.abs(found(x).mean(-1) - delay.mean(-1)).max() < 1.0
    # Units have no effect, even very small ones.
    np.testing.assert_allclose(found(1e-17 * x), found(x), atol=1e-2)


@pytest.mark.jax
def test_shifts_back_and_forth(rng) -> None:
    x = gathers(rng.uniform(-15, 15, (5, 8)))
    delay = ShiftEstimator()(x)
    aligned = FourierShift()(x, -delay)
    scale = np.linalg.norm(aligned, axis=-1, keepdims=True)
    unit = ops.convert_to_numpy(aligned) / scale
    assert np.min(unit @ np.swapaxes(unit, -1, -2)) > 0.999
    np.testing.assert_allclose(FourierShift()(aligned, delay), x, atol=1e-3)


@pytest.mark.jax
def test_dead_traces_and_gathers(rng) -> None:
    x = gathers(rng.uniform(-9, 9, (2, 6)))
    x[0, 2] = 0.0
    x[1] = 0.0
    delay = found(x)
    assert np.isfinite(delay).all()
    assert np.abs(delay[0, 2]) < 48
    np.testing.assert_allclose(delay[1], 0.0, atol=1e-5)


def test_gradients(gradients, rng) -> None:
    """Gradients agree with finite differences and are finite for a dead trace."""
    x = gathers(rng.uniform(-5, 5, (1, 4)))
    weight = np.array([1.0, -2.0, 0.5, 0.5], "float32")
    layer = ShiftEstimator()

    def loss(x):
        return ops.sum(weight * layer(x))

    (slope,) = gradients(loss, x)
    later = np.gradient(x, axis=-1)
    numeric = (float(loss(x + 0.02 * later)) - float(loss(x - 0.02 * later))) / 0.04
    assert np.sum(slope * later) == pytest.approx(numeric, rel=0.05, abs=0.02)
    x[0, 1] = 0.0
    assert np.isfinite(gradients(loss, x)[0]).all()


@pytest.mark.jax
def test_in_a_saved_model(tmp_path, rng) -> None:
    signal = keras.Input((None, 96))
    model = keras.Model(signal, ShiftEstimator(name="delays")(signal))
    x = gathers(rng.uniform(-9, 9, (2, 6)))
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(again(x), found(x), atol=1e-4)
    half = ShiftEstimator(dtype="float16")(ops.cast(x, "float16"))
    assert keras.backend.standardize_dtype(half.dtype) == "float32"
    np.testing.assert_allclose(half, found(x), atol=0.05)


@pytest.mark.parametrize("shape", [(96,), (4, 15)])
def test_shapes_that_do_not_fit_are_refused(shape) -> None:
    with pytest.raises(ValueError, match="at least 16"):
        ShiftEstimator()(np.zeros(shape, "float32"))
