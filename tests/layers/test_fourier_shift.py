"""Shifts by whole samples and fractions, their gradients, and invalid arguments."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import ops

from symae_keras.layers import FourierShift


def smooth(*leading, samples=96, seed=0):
    """Make band-limited signals that fade at both ends."""
    rng = np.random.default_rng(seed)
    time = np.arange(samples) - samples / 2
    pulse = np.exp(-0.5 * (time / (samples / 16)) ** 2)
    phase = rng.uniform(0, 2 * np.pi, (*leading, 1))
    signal = pulse * np.cos(0.5 * time + phase)
    return signal.astype("float32")


def shifted(x, shift, **arguments):
    return ops.convert_to_numpy(FourierShift(**arguments)(x, shift))


def pushed(x, shift):
    """Shift by whole samples and fill with zeros."""
    out = np.zeros_like(x)
    if shift >= 0:
        out[..., shift:] = x[..., : x.shape[-1] - shift]
    else:
        out[..., :shift] = x[..., -shift:]
    return out


@pytest.mark.jax
@pytest.mark.parametrize("samples", [16, 17])
def test_whole_samples(rng, samples) -> None:
    """Any signal is shifted without wrap-around, except beyond the padding."""
    x = rng.normal(size=(3, samples)).astype("float32")
    moved = shifted(x, np.array([0, 5, -samples + 1], "float32"))
    for row, shift in enumerate((0, 5, 1 - samples)):
        np.testing.assert_allclose(moved[row], pushed(x, shift)[row], atol=1e-5)
    wrapped = shifted(x[:, :16], np.full(3, 3.0, "float32"), padding=0)
    np.testing.assert_allclose(wrapped, np.roll(x[:, :16], 3, axis=-1), atol=1e-5)


@pytest.mark.jax
def test_fractions_and_back(rng) -> None:
    x = smooth(4, 5)
    shift = rng.uniform(-6, 6, (4, 5)).astype("float32")
    there = shifted(x, shift)
    assert np.abs(there - x).max() > 0.5
    np.testing.assert_allclose(shifted(there, -shift), x, atol=1e-5)
    # The signals are also known between samples.
    time = np.arange(96) - 48 - 2.3
    exact = np.exp(-0.5 * (time / 6) ** 2) * np.cos(0.5 * time)
    zero = np.exp(-0.5 * ((time + 2.3) / 6) ** 2) * np.cos(0.5 * (time + 2.3))
    found = shifted(zero[None].astype("float32"), np.full(1, 2.3, "float32"))
    np.testing.assert_allclose(found[0], exact, atol=1e-5)


@pytest.mark.jax
def test_one_shift_per_group_instance_or_trace(rng) -> None:
    x = smooth(2, 3, 4)
    every = rng.uniform(-3, 3, (2, 3, 4)).astype("float32")
    traces = shifted(x, every)
    one = shifted(x[1, 2, 3][None], every[1, 2, 3][None])
    np.testing.assert_allclose(traces[1, 2, 3], one[0], atol=1e-6)
    instances = shifted(x, every[..., 0])
    repeated = np.repeat(every[..., :1], 4, axis=-1)
    np.testing.assert_allclose(instances, shifted(x, repeated), atol=1e-6)
    groups = shifted(x, every[:, 0, 0])
    repeated = np.broadcast_to(every[:, :1, :1], every.shape)
    np.testing.assert_allclose(groups, shifted(x, repeated), atol=1e-6)
    # An axis of length 1 shifts all instances by the same value.
    np.testing.assert_allclose(
        shifted(x, every[:, :1, 0]), shifted(x, every[:, 0, 0]), atol=1e-6
    )


@pytest.mark.jax
def test_channels_move_together(rng) -> None:
    x = smooth(2, 5).transpose(0, 2, 1)
    shift = np.array([1.3, -2.6], "float32")
    moved = shifted(x, shift, axis=-2)
    assert moved.shape == (2, 96, 5)
    expected = shifted(x.transpose(0, 2, 1), shift)
    np.testing.assert_allclose(moved.transpose(0, 2, 1), expected, atol=1e-6)


@pytest.mark.jax
def test_far_shifts_keep_their_digits() -> None:
    """Signals of 8,000 samples are shifted without wrap-around."""
    x = np.zeros((1, 8192), "float32")
    x[0, 20:116] = smooth(1)[0]
    moved = shifted(x, np.full(1, 8000.0, "float32"))
    np.testing.assert_allclose(moved, pushed(x, 8000), atol=2e-4)


def test_gradients(gradients) -> None:
    """Gradients by shift and signal agree with finite differences."""
    x, target = smooth(3), smooth(3, seed=1)
    layer = FourierShift()

    def loss(x, shift):
        return ops.sum(ops.square(layer(x, shift) - target))

    shift = np.array([0.0, 1.7, -3.2], "float32")
    of_x, of_shift = gradients(loss, x, shift)
    step = np.float32(1e-2)
    for row in range(3):
        move = np.zeros(3, "float32")
        move[row] = step
        numeric = (float(loss(x, shift + move)) - float(loss(x, shift - move))) / 2e-2
        assert of_shift[row] == pytest.approx(numeric, rel=2e-3, abs=2e-3)
    direction = smooth(3, seed=2)
    ends = [float(loss(x + s * step * direction, shift)) for s in (1, -1)]
    numeric = (ends[0] - ends[1]) / 2e-2
    assert np.sum(of_x * direction) == pytest.approx(numeric, rel=2e-3, abs=1e-2)


@pytest.mark.jax
def test_fit_finds_a_shift(tmp_path) -> None:
    """Gradients reach the shift on every backend, and the model can be saved."""
    signal = keras.Input((96,))
    delay = keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros")
    ones = keras.Input((1,))
    shift = keras.layers.Reshape(())(delay(ones))
    model = keras.Model([signal, ones], FourierShift()(signal, shift))
    model.compile(keras.optimizers.Adam(0.1), "mse")
    x = smooth(8)
    late = shifted(x, np.full(8, 2.5, "float32"))
    data = [x, np.ones((8, 1), "float32")]
    model.fit(data, late, epochs=80, batch_size=8, verbose=0)
    assert float(ops.convert_to_numpy(delay.kernel)[0, 0]) == pytest.approx(
        2.5, abs=0.1
    )
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(again(data), model(data))


@pytest.mark.jax
@pytest.mark.parametrize("policy", ["float16", "mixed_bfloat16"])
def test_precision(policy) -> None:
    layer = FourierShift(dtype=policy)
    x = ops.cast(smooth(2), layer.compute_dtype)
    shift = np.array([2.0, -3.0], "float32")
    moved = layer(x, shift)
    assert keras.backend.standardize_dtype(moved.dtype) == layer.compute_dtype
    found = ops.convert_to_numpy(ops.cast(moved, "float32"))
    x = ops.convert_to_numpy(ops.cast(x, "float32"))
    np.testing.assert_allclose(found[0], pushed(x, 2)[0], atol=2e-2)


@pytest.mark.jax
def test_masks_and_unknown_axes() -> None:
    layer = FourierShift()
    signal, shift = keras.Input((None, 96)), keras.Input((None,))
    assert layer(signal, shift).shape == (None, None, 96)
    assert layer.compute_output_shape((2, None, 96), (2, None)) == (2, None, 96)
    masked = ops.convert_to_tensor(smooth(1, 2))
    mask = ops.convert_to_tensor([[True, False]])
    assert layer.compute_mask(masked, mask) is mask


@pytest.mark.parametrize(
    ("x", "shift", "sentence"),
    [
        ((2, 5, 8), (2, 5, 8), r"1 to 2 axes.*shift.shape=\(2, 5, 8\)"),
        ((2, 8), (), r"1 to 1 axes.*shift.shape=\(\)"),
        ((8,), (1,), r"at least 2 axes.*inputs.shape=\(8,\)"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(x, shift, sentence) -> None:
    with pytest.raises(ValueError, match=sentence):
        FourierShift()(np.zeros(x, "float32"), np.zeros(shift, "float32"))


def test_an_unknown_number_of_samples_is_refused() -> None:
    with pytest.raises(ValueError, match="known number of samples"):
        FourierShift()(keras.Input((None,)), keras.Input(()))
