"""Upsampling compared with loops: bed of nails, sub-pixels, transposed convolutions."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from keras import ops

from symae_keras import layers

# === Nails and sub-pixels ===

SHAPES = [(2, 5, 12), (2, 3, 4, 12), (1, 2, 3, 2, 8)]


@pytest.mark.jax
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("size", [1, 2, 3])
def test_nails_stand_at_the_corners(shape, size, rng) -> None:
    x = rng.normal(size=shape).astype("float32")
    y = np.asarray(layers.BedOfNails(size)(x))
    expected = np.zeros((len(x), *(n * size for n in shape[1:-1]), shape[-1]))
    corners = (slice(None, None, size),) * (len(shape) - 2)
    expected[(slice(None), *corners)] = x
    np.testing.assert_array_equal(y, expected)


@pytest.mark.jax
@pytest.mark.parametrize(
    ("shape", "size"), [*((each, 2) for each in SHAPES), ((2, 3, 4, 18), 3)]
)
def test_sub_pixels_equal_a_loop(shape, size, rng) -> None:
    rank = len(shape) - 2
    x = rng.normal(size=shape).astype("float32")
    y = np.asarray(layers.SubPixel(size)(x))
    channels = shape[-1] // size**rank
    assert y.shape == (len(x), *(n * size for n in shape[1:-1]), channels)
    for place in np.ndindex(y.shape[1:-1]):
        cell = np.ravel_multi_index([n % size for n in place], (size,) * rank)
        pixel = x[(slice(None), *(n // size for n in place))]
        expected = pixel[:, cell * channels : (cell + 1) * channels]
        np.testing.assert_array_equal(y[(slice(None), *place)], expected)


def test_sizes_that_are_only_known_when_called(tf, rng) -> None:
    """Fully convolutional networks accept images of any size."""
    x = keras.Input((None, None, 4))
    shuffled = layers.SubPixel(2)(x)
    assert shuffled.shape == (None, None, None, 1)
    model = keras.Model(x, layers.BedOfNails(2)(shuffled))
    for shape in ((2, 3, 5, 4), (1, 4, 2, 4)):
        images = rng.normal(size=shape).astype("float32")
        y = model.predict(images, verbose=0)
        expected = ops.depth_to_space(images, 2, data_format="channels_last")
        np.testing.assert_array_equal(y[:, ::2, ::2], expected)
        assert y.shape == (shape[0], 4 * shape[1], 4 * shape[2], 1)


# === Transposed convolutions ===

LAYERS = {1: layers.TransposedConv1D, 2: layers.TransposedConv2D}


def _scatter(x, kernel, strides, padding, output_padding):
    """Add the kernel at every pixel, then crop."""
    rank, n_out = len(strides), kernel.shape[-2]
    sizes, kernel_size = x.shape[1:-1], kernel.shape[:rank]
    each = list(zip(sizes, strides, kernel_size, output_padding, strict=True))
    full = [(n - 1) * s + k + more for n, s, k, more in each]
    y = np.zeros((len(x), *full, n_out))
    for pixel in np.ndindex(*sizes):
        for offset in np.ndindex(*kernel_size):
            starts = zip(pixel, strides, offset, strict=True)
            place = tuple(p * s + o for p, s, o in starts)
            y[(slice(None), *place)] += x[(slice(None), *pixel)] @ kernel[offset].T
    cut = zip(padding, full, strict=True)
    return y[(slice(None), *(slice(p, n - p) for p, n in cut))]


@pytest.mark.jax
def test_worked_example() -> None:
    """Stride 2 and padding 1 map a 2 x 2 image and a 3 x 3 kernel to 3 x 3.

    The four kernels start at rows and columns 0 and 2 of a 5 x 5 image, whose border is
    cropped. A quarter of each kernel remains, and they add up in the middle.
    """
    image = np.array([[1.0, 2.0], [3.0, 4.0]], "float32")
    kernel = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, 9.0]], "float32")
    layer = layers.TransposedConv2D(1, 3, strides=2, padding=1, use_bias=False)
    layer.build((None, 2, 2, 1))
    layer.kernel.assign(kernel[:, :, None, None])
    y = layer(image[None, :, :, None])
    expected = [
        [1 * 5, 1 * 6 + 2 * 4, 2 * 5],
        [1 * 8 + 3 * 2, 1 * 9 + 2 * 7 + 3 * 3 + 4 * 1, 2 * 8 + 4 * 2],
        [3 * 5, 3 * 6 + 4 * 4, 4 * 5],
    ]
    np.testing.assert_allclose(np.asarray(y)[0, :, :, 0], expected)
    assert np.array_equal(expected, [[5, 14, 10], [14, 36, 24], [15, 34, 20]])


CASES = [
    # sizes, kernel, strides, padding, output padding
    ((5,), (3,), (2,), (1,), (0,)),
    ((5,), (4,), (3,), (2,), (2,)),
    ((4,), (2,), (3,), (0,), (0,)),  # a kernel shorter than the stride leaves gaps
    ((4,), (1,), (3,), (0,), (2,)),
    ((1,), (5,), (1,), (2,), (0,)),
    ((2, 2), (3, 3), (2, 2), (1, 1), (0, 0)),
    ((2, 2), (3, 3), (2, 2), (1, 1), (1, 1)),
    ((3, 4), (2, 5), (3, 2), (0, 3), (1, 0)),
    ((3, 2), (4, 4), (2, 2), (1, 1), (0, 0)),
]


@pytest.mark.jax
@pytest.mark.parametrize(
    ("sizes", "kernel_size", "strides", "padding", "output_padding"), CASES
)
def test_numbers(sizes, kernel_size, strides, padding, output_padding, rng) -> None:
    options = {"padding": padding, "output_padding": output_padding}
    layer = LAYERS[len(sizes)](3, kernel_size, strides=strides, **options)
    x = rng.normal(size=(2, *sizes, 4)).astype("float32")
    layer.build(x.shape)
    kernel = rng.normal(size=(*kernel_size, 3, 4)).astype("float32")
    bias = np.array([1.0, -2.0, 3.0], "float32")
    layer.set_weights([kernel, bias])
    expected = _scatter(x, kernel, strides, padding, output_padding) + bias
    np.testing.assert_allclose(layer(x), expected, rtol=1e-4, atol=1e-5)


@given(
    size=st.integers(1, 6),
    kernel=st.integers(1, 5),
    stride=st.integers(1, 4),
    padding=st.integers(0, 3),
    output_padding=st.integers(0, 3),
)
def test_size_is_what_pytorch_documents(
    size, kernel, stride, padding, output_padding
) -> None:
    output_padding = min(output_padding, stride - 1)
    expected = (size - 1) * stride - 2 * padding + (kernel - 1) + output_padding + 1
    options = {"padding": padding, "output_padding": output_padding}
    layer = layers.TransposedConv1D(1, kernel, strides=stride, **options)
    if expected < 1:
        with pytest.raises(ValueError, match=rf"padding=\({padding},\) leaves nothing"):
            layer(np.ones((2, size, 1)))
        return
    assert tuple(layer.compute_output_shape((2, size, 1))) == (2, expected, 1)
    assert tuple(layer(np.ones((2, size, 1))).shape) == (2, expected, 1)


@pytest.mark.jax
@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize("output_padding", [None, 1])
@pytest.mark.parametrize("rank", LAYERS)
def test_names_of_paddings_are_those_of_keras(rank, padding, output_padding, rng):
    options = {"strides": 3, "padding": padding, "output_padding": output_padding}
    theirs = getattr(keras.layers, f"Conv{rank}DTranspose")(2, 2, **options)
    ours = LAYERS[rank](2, 2, **options)
    x = rng.normal(size=(2, *(5, 4)[:rank], 3)).astype("float32")
    expected = ops.convert_to_numpy(theirs(x))
    ours.build(x.shape)
    ours.set_weights(theirs.get_weights())
    np.testing.assert_array_equal(ops.convert_to_numpy(ours(x)), expected)
    assert tuple(ours.compute_output_shape(x.shape)) == expected.shape
    config = ours.get_config()
    assert config["padding"] == padding
    assert LAYERS[rank].from_config(config).get_config() == config
