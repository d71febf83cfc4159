"""Bed of nails and sub-pixel upsampling against loops, any number of axes."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import ops

from symae_keras import layers

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
@pytest.mark.parametrize("shape", SHAPES)
def test_sub_pixels_equal_a_loop(shape, rng) -> None:
    rank, size = len(shape) - 2, 2
    x = rng.normal(size=shape).astype("float32")
    y = np.asarray(layers.SubPixel(size)(x))
    channels = shape[-1] // size**rank
    assert y.shape == (len(x), *(n * size for n in shape[1:-1]), channels)
    for place in np.ndindex(y.shape[1:-1]):
        cell = np.ravel_multi_index([n % size for n in place], (size,) * rank)
        pixel = x[(slice(None), *(n // size for n in place))]
        expected = pixel[:, cell * channels : (cell + 1) * channels]
        np.testing.assert_array_equal(y[(slice(None), *place)], expected)


@pytest.mark.jax
@pytest.mark.parametrize("size", [2, 3])
def test_sub_pixels_of_images_are_those_of_keras(size, rng) -> None:
    x = rng.normal(size=(2, 3, 4, 2 * size**2)).astype("float32")
    expected = ops.depth_to_space(x, size, data_format="channels_last")
    np.testing.assert_array_equal(layers.SubPixel(size)(x), expected)


@pytest.mark.jax
def test_channels_that_fill_no_cell() -> None:
    with pytest.raises(
        ValueError, match=r"a multiple of 4 with size=2.*\(2, 3, 3, 6\)"
    ):
        layers.SubPixel(2)(ops.ones((2, 3, 3, 6)))


def test_sizes_that_are_only_known_when_called(tf, rng) -> None:
    """Fully convolutional networks take images of any size."""
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
