"""The segmentation benchmark: overlapping shapes in uneven light."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np

from symae_keras.data.groups import Array
from symae_keras.errors import InputError

#: Names of the labels, in their order.
CLASSES: Final = ("background", "ball", "shell", "bar")
BALL, SHELL, BAR = 1, 2, 3
#: Smallest and largest contrast of a shape, and the standard deviation of the noise.
CONTRAST: Final = (0.4, 0.8)
NOISE: Final = 0.05
MIN_SIZE: Final = 16
#: Scale of the logistic edge in pixels.
EDGE: Final = 0.25


class LabelledImages(NamedTuple):
    """Images and the class of each pixel."""

    x: Array
    """`(n, *size, 1)`, float32."""
    labels: Array
    """`(n, *size)`, int32, indices of `CLASSES`."""


def simulate_labelled_shapes(
    n_images: int, size: Sequence[int] = (32, 32), seed: int = 0
) -> LabelledImages:
    """Simulate images, or volumes, whose pixels belong to shapes of three classes.

    An image is `light + contrast of the topmost shape + noise`. It shows one shape of
    each class, and every other image shows one more shape. Lengths are in units of the
    shortest side. Balls have a radius from 0.12 to 0.18. Shells are hollow, with a mean
    radius from 0.14 to 0.19 and a thickness of 0.12. Bars are 0.12 to 0.15 thick and
    0.4 to 0.56 long. Positions and orientations are random; later shapes cover earlier
    shapes, and the frame can cut shapes.

    Balls and shells are brighter than the background by 0.4 to 0.8, and bars are darker
    by the same amounts. A threshold cannot find them, because `light` varies by more
    than that over the image. It is the sum of a plane and a paraboloid whose slopes are
    normally distributed with a standard deviation of 1. The noise is white, with a
    standard deviation of 0.05.

    Args:
        n_images: Number of images, at least 1.
        size: Numbers of pixels per axis, two for images or three for volumes; at least
            16.
        seed: Seed of shapes, light and noise.

    Returns:
        Images `x` and their `labels`: 0 for the background, 1 for balls, 2 for shells,
        3 for bars.

    Raises:
        InputError: `n_images` is below 1, or `size` is invalid.

    Example:
    >>> x, labels = simulate_labelled_shapes(2, size=(32, 40), seed=0)
    >>> x.shape, labels.shape, np.unique(labels).tolist()
    ((2, 32, 40, 1), (2, 32, 40), [0, 1, 2, 3])
    """
    if n_images < 1:
        raise InputError(f"n_images must be at least 1; received {n_images}.")
    size = tuple(int(n) for n in size)
    if len(size) not in (2, 3) or min(size) < MIN_SIZE:
        raise InputError(
            f"size must be two or three numbers of pixels, each at least {MIN_SIZE}; "
            f"received {size}."
        )
    x = np.empty((n_images, *size, 1), "float32")
    labels = np.empty((n_images, *size), "int32")
    # An image depends only on the seed and its own number.
    for n, source in enumerate(np.random.SeedSequence(seed).spawn(n_images)):
        x[n, ..., 0], labels[n] = _image(np.random.default_rng(source), size)
    return LabelledImages(x, labels)


def _image(rng: np.random.Generator, size: tuple[int, ...]) -> tuple[Array, Array]:
    shortest = min(size)
    pixels = [(np.arange(n) + 0.5) / shortest for n in size]
    places = np.stack(np.meshgrid(*pixels, indexing="ij"), axis=-1)
    frame = np.array(size) / shortest
    image, labels = np.zeros(size), np.zeros(size, "int32")
    kinds = [BALL, SHELL, BAR, *rng.integers(1, 4, rng.integers(0, 2))]
    for kind in rng.permutation(kinds):
        centre = frame * rng.uniform(0.15, 0.85, len(size))
        turn = np.linalg.qr(rng.normal(size=(len(size), len(size))))[0]
        inside = shortest * _depth(rng, int(kind), (places - centre) @ turn)
        coverage = 0.5 + 0.5 * np.tanh(inside / (2.0 * EDGE))
        contrast = rng.uniform(*CONTRAST) * (-1.0 if kind == BAR else 1.0)
        image += coverage * (contrast - image)
        labels[inside > 0.0] = kind
    centred = places / frame - rng.uniform(0.3, 0.7, len(size))
    light = centred @ rng.normal(size=len(size))
    light += centred**2 @ rng.normal(size=len(size))
    return light + image + NOISE * rng.standard_normal(size), labels


def _depth(rng: np.random.Generator, kind: int, offset: Array) -> Array:
    """Return the depth of each position inside a shape around 0; negative outside."""
    if kind == BAR:
        half = np.full(offset.shape[-1], rng.uniform(0.06, 0.075))
        half[0] = rng.uniform(0.2, 0.28)
        return np.asarray((half - np.abs(offset)).min(axis=-1))
    distance = np.linalg.norm(offset, axis=-1)
    if kind == BALL:
        return np.asarray(rng.uniform(0.12, 0.18) - distance)
    return np.asarray(0.06 - np.abs(distance - rng.uniform(0.14, 0.19)))
