"""Corruptions: what they change, how often, and when."""

from __future__ import annotations

import numpy as np
import pytest
from keras import ops

from symae_keras.layers import (
    BlockCorruption,
    GaussianCorruption,
    MaskingCorruption,
    SaltAndPepper,
)

ALL = {
    "gaussian": lambda **k: GaussianCorruption(0.5, seed=0, **k),
    "masking": lambda **k: MaskingCorruption(0.5, seed=0, **k),
    "salt_and_pepper": lambda **k: SaltAndPepper(0.5, seed=0, **k),
    "block": lambda **k: BlockCorruption(0.5, seed=0, **k),
}


def _corrupt(layer, x) -> np.ndarray:
    return ops.convert_to_numpy(layer(x, training=True))


@pytest.mark.parametrize("name", ALL)
def test_batches_of_unknown_size(name, tf) -> None:
    layer = ALL[name]()
    for jit in (False, True):

        @tf.function(input_signature=[tf.TensorSpec((None, 8, 6, 2))], jit_compile=jit)
        def corrupt(x):
            return layer(x, training=True)

        for n in (3, 5):
            corrupted = corrupt(tf.ones((n, 8, 6, 2))).numpy()
            assert corrupted.shape == (n, 8, 6, 2)
            assert np.any(corrupted != 1.0)


@pytest.mark.jax
def test_gaussian_noise_and_its_clipping() -> None:
    x = np.full((400, 100), 0.5, "float32")
    noise = _corrupt(GaussianCorruption(0.3, seed=0), x) - x
    assert abs(noise.mean()) < 5 * 0.3 / np.sqrt(x.size)
    assert noise.std() == pytest.approx(0.3, rel=0.02)
    clipped = _corrupt(GaussianCorruption(2.0, clip=(0.0, 1.0), seed=0), x)
    assert (clipped.min(), clipped.max()) == (0.0, 1.0)


@pytest.mark.jax
@pytest.mark.parametrize("rate", [0.0, 0.1, 0.7, 1.0])
def test_masking_rate(rate, rng) -> None:
    x = rng.normal(size=(400, 100)).astype("float32")
    corrupted = _corrupt(MaskingCorruption(rate, value=-9.0, seed=0), x)
    blank = corrupted == -9.0
    np.testing.assert_array_equal(corrupted[~blank], x[~blank])  # and not rescaled
    five_sigma = 5 * np.sqrt(rate * (1 - rate) / x.size)
    assert abs(blank.mean() - rate) <= five_sigma
    # Numbers are blanked one by one: rows do not share their luck.
    binomial = np.sqrt(rate * (1 - rate) / 100)
    assert blank.mean(axis=1).std() == pytest.approx(binomial, rel=0.2)


@pytest.mark.jax
@pytest.mark.parametrize("rate", [0.0, 0.2, 1.0])
def test_salt_and_pepper_are_equally_frequent(rate, rng) -> None:
    x = rng.uniform(size=(400, 100)).astype("float32")
    corrupted = _corrupt(SaltAndPepper(rate, low=-1.0, high=2.0, seed=0), x)
    pepper, salt = corrupted == -1.0, corrupted == 2.0
    kept = ~(pepper | salt)
    np.testing.assert_array_equal(corrupted[kept], x[kept])
    for share in (pepper.mean(), salt.mean()):
        five_sigma = 5 * np.sqrt(rate / 2 * (1 - rate / 2) / x.size)
        assert abs(share - rate / 2) <= five_sigma


@pytest.mark.jax
def test_small_rates_survive_half_precision() -> None:
    """A uniform draw in bfloat16 has steps of 1/256 or more."""
    layer = MaskingCorruption(0.001, seed=0, dtype="mixed_bfloat16")
    x = ops.ones((1000, 1000), "bfloat16")
    blank = 1.0 - float(ops.mean(ops.cast(layer(x, training=True), "float32")))
    assert blank == pytest.approx(0.001, rel=0.2)


@pytest.mark.jax
@pytest.mark.parametrize(
    ("shape", "spatial_axes", "sides"),
    [
        ((13,), None, (4,)),  # 0.25 * 13, rounded up
        ((13,), 1, (4,)),
        ((13, 3), None, (4,)),
        ((13, 9), 2, (4, 3)),
        ((13, 9, 2), None, (4, 3)),
        ((13, 9, 2), 1, (4,)),
    ],
)
def test_one_block_of_the_right_sides(shape, spatial_axes, sides) -> None:
    x = np.ones((300, *shape), "float32")
    layer = BlockCorruption(0.25, value=7.0, spatial_axes=spatial_axes, seed=0)
    corrupted = _corrupt(layer, x)
    assert set(np.unique(corrupted)) == {1.0, 7.0}
    blank = corrupted == 7.0
    n_axes = len(sides)
    # All channels alike, so that one of them tells the rest.
    flat = blank.reshape(300, *shape[:n_axes], -1)
    assert np.all(flat == flat[..., :1])
    flat = flat[..., 0]
    assert np.all(flat.reshape(300, -1).sum(axis=1) == np.prod(sides))
    for axis, side in enumerate(sides):
        others = tuple(i + 1 for i in range(n_axes) if i != axis)
        along = flat.any(axis=others)
        start = along.argmax(axis=1)
        ends = np.arange(shape[axis])
        inside = (ends >= start[:, None]) & (ends < start[:, None] + side)
        np.testing.assert_array_equal(along, inside)
        # Every place is taken, and none much more often than another.
        counts = np.bincount(start, minlength=shape[axis] - side + 1)
        expected = 300 / len(counts)
        assert len(counts) == shape[axis] - side + 1
        assert np.all(np.abs(counts - expected) < 5 * np.sqrt(expected))


@pytest.mark.parametrize(
    ("fraction", "length", "side"),
    [(1.0, 5, 5), (1e-6, 5, 1), (0.07, 100, 7), (0.5, 7, 4), (0.2, 15, 3)],
)
def test_side_of_a_block(fraction, length, side) -> None:
    layer = BlockCorruption(fraction, seed=0)
    blank = _corrupt(layer, np.ones((6, length), "float32")) == 0.0
    assert np.all(blank.sum(axis=1) == side)


def test_places_along_the_axes_are_independent() -> None:
    blank = 1.0 - _corrupt(ALL["block"](), np.ones((2000, 12, 12, 1), "float32"))
    blank = blank[..., 0]
    row, column = (blank.any(axis=a).argmax(axis=1) for a in (2, 1))
    assert abs(np.corrcoef(row, column)[0, 1]) < 5 / np.sqrt(2000)


def test_a_block_needs_to_know_the_numbers_of_pixels(tf) -> None:
    @tf.function(input_signature=[tf.TensorSpec((None, None))])
    def corrupt(x):
        return BlockCorruption()(x, training=True)

    with pytest.raises(ValueError, match=r"numbers of pixels.*\(None, None\)"):
        corrupt(tf.ones((2, 3)))


@pytest.mark.parametrize(
    ("axes", "shape", "message"),
    [
        (None, (2, 3, 3, 3, 3), "spatial_axes=None"),
        (2, (2, 3), r"shape \(2, 3\), spatial_axes=2"),
    ],
)
def test_inputs_with_other_axes(axes, shape, message) -> None:
    with pytest.raises(ValueError, match=message):
        BlockCorruption(spatial_axes=axes)(np.ones(shape), training=True)
