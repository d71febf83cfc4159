"""RandomShift and RandomScale: what they change, how much, and when."""

from __future__ import annotations

import numpy as np
import pytest
from keras import ops

from symae_keras.layers import RandomScale, RandomShift

ALL = {
    "scale": lambda **k: RandomScale(0.5, seed=0, **k),
    "shift": lambda **k: RandomShift(2.5, seed=0, **k),
}


def _augment(layer, x) -> np.ndarray:
    return ops.convert_to_numpy(layer(x, training=True))


def _shifts(shifted) -> np.ndarray:
    """By how much a ramp of slope 1 has moved, seen away from its ends."""
    n = shifted.shape[-1]
    moved = np.arange(n) - shifted
    inner = moved[..., n // 4 : -n // 4]
    np.testing.assert_allclose(inner - inner[..., :1], 0.0, atol=1e-3)
    return inner[..., 0]


@pytest.mark.jax
@pytest.mark.parametrize("shape", [(40,), (6, 40), (3, 2, 40)])
def test_one_shift_for_each_instance(shape) -> None:
    ramp = np.broadcast_to(np.arange(40, dtype="float32"), shape)
    shifts = _shifts(_augment(ALL["shift"](), ramp))
    assert shifts.shape == shape[:-1]
    assert len(np.unique(shifts)) == shifts.size


@pytest.mark.jax
@pytest.mark.parametrize("shape", [(40, 3), (6, 40, 3), (3, 2, 40, 3)])
def test_channels_shift_together(shape) -> None:
    ramp = np.broadcast_to(np.arange(40, dtype="float32")[:, None], shape)
    shifted = _augment(ALL["shift"](pixel_axis=-2), ramp)
    assert shifted.shape == shape
    np.testing.assert_array_equal(shifted, np.broadcast_to(shifted[..., :1], shape))
    shifts = _shifts(shifted[..., 0])
    assert len(np.unique(shifts)) == shifts.size


@pytest.mark.jax
def test_shifts_are_uniform_and_centred() -> None:
    ramp = np.broadcast_to(np.arange(32, dtype="float32"), (4000, 32))
    shifts = _shifts(_augment(ALL["shift"](), ramp))
    assert np.abs(shifts).max() <= 2.5 + 1e-3
    deviation = 5.0 / np.sqrt(12)
    assert abs(shifts.mean()) < 5 * deviation / np.sqrt(4000)
    assert shifts.std() == pytest.approx(deviation, rel=0.05)


@pytest.mark.jax
@pytest.mark.parametrize("shift", [-3.0, -1.25, 0.0, 0.5, 2.0, 50.0])
def test_linear_interpolation_with_repeated_ends(shift, rng, monkeypatch) -> None:
    """Against NumPy's interpolation, which for whole pixels is a plain shift."""
    monkeypatch.setattr(
        "keras.random.uniform",
        lambda shape, *_, dtype, seed: ops.full(shape, shift, dtype),
    )
    x = rng.normal(size=(2, 12)).astype("float32")
    shifted = _augment(RandomShift(60.0), x)
    pixels = np.arange(12)
    expected = [np.interp(pixels - shift, pixels, row) for row in x]
    np.testing.assert_allclose(shifted, expected, rtol=1e-5, atol=1e-6)
    if shift == 2.0:
        np.testing.assert_array_equal(shifted[:, 2:], x[:, :-2])
        np.testing.assert_array_equal(shifted[:, :2], x[:, [0, 0]])


def test_gradient_of_a_shift(tf, rng) -> None:
    """A shift is linear: its gradient is the transposed operation."""
    x = tf.constant(rng.normal(size=(3, 12)), tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(x)
        shifted = ALL["shift"]()(x, training=True)
        total = tf.reduce_sum(shifted * shifted) / 2
    gradient = tape.gradient(total, x)
    dot = tf.reduce_sum(gradient * x), tf.reduce_sum(shifted * shifted)
    np.testing.assert_allclose(dot[0], dot[1], rtol=1e-5)


@pytest.mark.jax
def test_half_precision_knows_its_place() -> None:
    """bfloat16 does not count beyond 256."""
    x = np.zeros((20, 1000), "float32")
    x[:, 901] = 1.0
    layer = RandomShift(0.4, seed=0, dtype="mixed_bfloat16")
    shifted = ops.convert_to_numpy(ops.cast(layer(x, training=True), "float32"))
    assert np.all(shifted.argmax(axis=1) == 901)
    np.testing.assert_allclose(shifted.sum(axis=1), 1.0, atol=0.01)


@pytest.mark.jax
@pytest.mark.parametrize(
    ("leading", "pixel_axes"), [((), 1), ((6,), 1), ((3, 2), 1), ((3, 2), 2), ((), 2)]
)
def test_one_factor_for_each_instance(leading, pixel_axes) -> None:
    shape = (*leading, *(5, 4)[:pixel_axes])
    scaled = _augment(ALL["scale"](pixel_axes=pixel_axes), np.ones(shape, "float32"))
    factors = scaled.reshape(*leading, -1)[..., 0]
    expected = factors.reshape(*leading, *(1,) * pixel_axes)
    np.testing.assert_array_equal(scaled, np.broadcast_to(expected, shape))
    assert len(np.unique(factors)) == factors.size


@pytest.mark.jax
def test_factors_are_log_normal() -> None:
    scaled = _augment(ALL["scale"](), np.full((4000, 1), -3.0, "float32"))
    logarithm = np.log(scaled / -3.0)
    assert abs(logarithm.mean()) < 5 * 0.5 / np.sqrt(4000)
    assert logarithm.std() == pytest.approx(0.5, rel=0.05)


@pytest.mark.parametrize("jit", [False, True])
@pytest.mark.parametrize("name", ALL)
def test_unknown_lengths(name, jit, tf) -> None:
    layer = ALL[name]()

    @tf.function(input_signature=[tf.TensorSpec((None, None, None))], jit_compile=jit)
    def augment(x):
        return layer(x, training=True)

    for shape in ((2, 3, 7), (5, 1, 9)):
        x = tf.random.normal(shape)
        augmented = augment(x).numpy()
        assert augmented.shape == shape
        assert np.all(np.any(augmented != x.numpy(), axis=-1))


@pytest.mark.parametrize(
    "layer", [RandomScale(0.1, pixel_axes=2), RandomShift(1.0, pixel_axis=-2)]
)
def test_inputs_without_enough_axes(layer) -> None:
    with pytest.raises(ValueError, match=r"rank 2 or more.*shape \(3,\)"):
        layer(np.ones(3), training=True)
