"""Segmentation networks learn to tell shapes apart."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from symae_keras.evaluation import mean_iou
from symae_keras.models import SegNet, UNet


def cubes(n: int, size: tuple[int, ...], rng) -> tuple[np.ndarray, np.ndarray]:
    """One cube, or square, each, brighter than the rest by 1, every other one hollow.

    The light of an image varies more than that from one to the next.
    """
    x, labels = 0.1 * rng.normal(size=(n, *size)), np.zeros((n, *size), int)
    for number, label in enumerate(labels):
        corner = [rng.integers(0, length - 6) for length in size]
        label[tuple(slice(c, c + 7) for c in corner)] = 1 + number % 2
        if number % 2:
            label[tuple(slice(c + 2, c + 5) for c in corner)] = 0
    x += (labels > 0) + 2.0 * rng.normal(size=(n, *(1 for _ in size)))
    return x[..., None].astype("float32"), labels


@pytest.mark.large
@pytest.mark.parametrize(
    ("cls", "arguments", "least"),
    [
        (UNet, {"head": "segmentation"}, 0.9),
        (SegNet, {}, 0.5),  # slower; all background would have 0.28
    ],
)
def test_solid_and_hollow_squares(cls, arguments, least, rng) -> None:
    model = cls((16, 17, 1), n_classes=3, filters=(8, 16), **arguments)
    model.compile(keras.optimizers.Adam(3e-3), "sparse_categorical_crossentropy")
    model.fit(*cubes(400, (16, 17), rng), batch_size=8, epochs=8, verbose=0)
    x, labels = cubes(40, (16, 17), rng)
    assert mean_iou(labels, np.asarray(model.segment(x)), 3) > least
