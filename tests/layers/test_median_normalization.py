"""MedianNormalization: NumPy's median, masks, gradients and tiny fluxes."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import ops

from symae_keras.layers import MedianNormalization


def _expected(x, good, pixel_axes):
    """Medians one instance at a time, and the data over them."""
    shape = x.shape[x.ndim - pixel_axes :]
    rows, kept = x.reshape(-1, *shape), good.reshape(-1, *shape)
    medians = [np.median(row[k]) for row, k in zip(rows, kept, strict=True)]
    leading = x.shape[: x.ndim - pixel_axes]
    medians = np.reshape(medians, (*leading, *(1,) * pixel_axes))
    return medians, np.where(good, x, 0.0) / medians


@pytest.mark.jax
@pytest.mark.parametrize("pixels", [6, 7])
@pytest.mark.parametrize(
    ("leading", "channels", "pixel_axes"),
    [((), (), 1), ((4,), (), 1), ((4, 3), (), 1), ((4, 3), (2,), 2), ((), (2,), 2)],
)
@pytest.mark.parametrize("masked", [False, True])
def test_against_numpy(leading, channels, pixel_axes, pixels, masked, rng) -> None:
    x = rng.normal(3.0, 1.0, (*leading, pixels, *channels)).astype("float32")
    good = rng.uniform(size=x.shape) < 0.7 if masked else np.ones(x.shape, bool)
    medians, expected = _expected(x, good, pixel_axes)
    layer = MedianNormalization(pixel_axes)
    mask = {"pixel_mask": good} if masked else {}
    np.testing.assert_allclose(layer.scale(x, **mask), medians, rtol=1e-6)
    np.testing.assert_allclose(layer(x, **mask), expected, rtol=1e-5)


@pytest.mark.jax
def test_a_mask_broadcasts_and_nothing_leaks_from_behind_it(rng) -> None:
    x = rng.normal(3.0, 1.0, (4, 5, 7)).astype("float32")
    gap = np.array([True, True, False, True, True, True, False])
    spoiled = x.copy()
    spoiled[..., ~gap] = np.array([np.nan, np.inf])
    layer = MedianNormalization()
    output = ops.convert_to_numpy(layer(spoiled, pixel_mask=gap))
    _, expected = _expected(x, np.broadcast_to(gap, x.shape), 1)
    np.testing.assert_allclose(output, expected, rtol=1e-5)
    assert np.all(output[..., ~gap] == 0.0)


@pytest.mark.jax
def test_instances_without_a_median_are_handed_on() -> None:
    x = np.array([[0.0, 0.0, 5.0], [1.0, 2.0, 3.0], [4e-31, 4e-31, 1.0]], "float32")
    good = np.array([[1, 1, 1], [0, 0, 0], [1, 1, 1]], bool)
    layer = MedianNormalization()
    np.testing.assert_array_equal(layer.scale(x, good), np.ones((3, 1)))
    np.testing.assert_array_equal(layer(x, pixel_mask=good), np.where(good, x, 0.0))


@pytest.mark.jax
def test_tiny_and_negative_fluxes(rng) -> None:
    x = rng.normal(3.0, 1.0, (4, 9)).astype("float32")
    layer = MedianNormalization()
    np.testing.assert_allclose(layer(x * 1e-17), layer(x), rtol=1e-5)
    np.testing.assert_allclose(layer(-x), layer(x), rtol=1e-5)


@pytest.mark.jax
def test_inputs_are_not_rounded_to_half_precision(rng) -> None:
    x = 1e-17 * rng.normal(3.0, 0.1, (4, 9))  # float64 from outside, too
    half = MedianNormalization(dtype="mixed_float16")(x)
    assert keras.backend.standardize_dtype(half.dtype) == "float16"
    np.testing.assert_allclose(half, MedianNormalization()(x), rtol=1e-3)


def test_gradient(tf) -> None:
    """Of the sum of x / median: 1 / median, minus sum / median^2 at the median."""
    x = tf.constant([[2.0, 8.0, 4.0, np.nan], [0.0, 0.0, 1.0, 1.0], [1.0] * 4])
    good = np.array([[1, 1, 1, 0], [1, 1, 1, 0], [0, 0, 0, 0]], bool)
    layer = MedianNormalization()

    def gradient(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            total = tf.reduce_sum(layer(x, pixel_mask=good))
        return tape.gradient(total, x)

    expected = [[0.25, 0.25, 0.25 - 14 / 16, 0.0], [1.0, 1.0, 1.0, 0.0], [0.0] * 4]
    np.testing.assert_allclose(gradient(x), expected, rtol=1e-6)


@pytest.mark.parametrize("jit", [False, True])
def test_unknown_lengths(jit, tf, rng) -> None:
    layer = MedianNormalization(pixel_axes=2)

    @tf.function(
        input_signature=[tf.TensorSpec((None, None, None, 2))], jit_compile=jit
    )
    def normalize(x):
        return layer(x)

    for shape in ((2, 3, 7, 2), (1, 4, 6, 2)):
        x = rng.normal(3.0, 1.0, shape).astype("float32")
        _, expected = _expected(x, np.ones(shape, bool), 2)
        np.testing.assert_allclose(normalize(x), expected, rtol=1e-5)


@pytest.mark.parametrize("pixel_axes", [1, 2])
def test_scale_of_symbols(pixel_axes) -> None:
    layer = MedianNormalization(pixel_axes)
    shape = (None, 7, 5, 3)
    expected = (*shape[:-pixel_axes], *(1,) * pixel_axes)
    assert layer.scale(keras.KerasTensor(shape)).shape == expected


def test_inputs_without_enough_axes() -> None:
    with pytest.raises(ValueError, match=r"rank 2 or more.*shape \(5,\)"):
        MedianNormalization(2)(np.ones(5))
