"""Transformations that the origin of a state is arbitrary up to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from symae_keras._utils.validation import invalid, positive
from symae_keras.data.groups import Array

#: Functions of instances `(..., *instance_shape)`, which keep the shape.
Gauge = Sequence[Callable[[Array], Array]]


def shifts(max_pixels: int, axes: Sequence[int] = (-1,)) -> Gauge:
    """All shifts by whole pixels along some axes, the identity among them.

    What is shifted out on one side is lost, and the edge is repeated on the other.

    Args:
        max_pixels: The largest shift, either way.
        axes: Axes of pixels, counted from the end. Defaults to the last one, that of
            `(..., pixels)`; images `(..., height, width, channels)` have (-3, -2).

    Returns:
        `(2 max_pixels + 1) ** len(axes)` functions, for `redatuming_error`.

    Example:
    >>> left, same, right = shifts(1)
    >>> right(np.array([1.0, 2.0, 4.0])).tolist()
    [1.0, 1.0, 2.0]
    """
    steps = range(-positive("max_pixels", max_pixels), max_pixels + 1)
    every = np.stack(np.meshgrid(*[steps] * len(axes), indexing="ij"), axis=-1)
    return [
        partial(_shift, pixels=tuple(each), axes=tuple(axes))
        for each in every.reshape(-1, len(axes)).tolist()
    ]


def _shift(x: Array, pixels: Sequence[int], axes: Sequence[int]) -> Array:
    for n, axis in zip(pixels, axes, strict=True):
        size = x.shape[axis]
        x = np.take(x, np.clip(np.arange(size) - n, 0, size - 1), axis=axis)
    return x


def rotations(n_angles: int, axes: tuple[int, int] = (-3, -2)) -> Gauge:
    """Rotations of images by multiples of a full turn over a number.

    Quarter turns of square images are exact; others are interpolated linearly, and
    corners take the value of the nearest pixel.

    Args:
        n_angles: How many, the identity among them.
        axes: Axes of height and width, counted from the end. Defaults to those of
            `(..., height, width, channels)`.

    Returns:
        The functions, for `redatuming_error`.

    Example:
    >>> same, quarter, half, _ = rotations(4, axes=(-2, -1))
    >>> half(np.array([[1.0, 2.0], [3.0, 4.0]])).tolist()
    [[4.0, 3.0], [2.0, 1.0]]
    """
    if len(axes) != 2 or axes[0] == axes[1]:
        raise invalid("axes", "two different axes", axes)
    turns = np.arange(positive("n_angles", n_angles)) / n_angles
    return [partial(_rotate, turn=float(each), axes=axes) for each in turns]


def _rotate(x: Array, turn: float, axes: tuple[int, int]) -> Array:
    quarters = 4.0 * turn
    if quarters.is_integer() and x.shape[axes[0]] == x.shape[axes[1]]:
        return np.rot90(x, int(quarters), axes)
    # Comes with scikit-learn.
    from scipy.ndimage import rotate

    return np.asarray(
        rotate(x, 360.0 * turn, axes[::-1], reshape=False, order=1, mode="nearest")
    )
