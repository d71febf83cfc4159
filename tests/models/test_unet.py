"""The U-Net: any size and depth, what each head sees, and what it learns."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from symae_keras import layers
from symae_keras.models import UNet

CORRUPTIONS = {
    "gaussian": layers.GaussianCorruption,
    "masking": layers.MaskingCorruption,
    "salt_and_pepper": layers.SaltAndPepper,
    "block": layers.BlockCorruption,
}


def _small(shape=(13, 11, 1), head="denoising", **arguments) -> UNet:
    return UNet(shape, head, filters=(4, 6), **arguments)


# === Shapes ===


@pytest.mark.large
@given(st.data())
def test_any_size_and_depth(data) -> None:
    rank = data.draw(st.integers(1, 3), "rank")
    shape = tuple(data.draw(st.integers(1, 11)) for _ in range(rank))
    shape += (data.draw(st.integers(1, 2), "channels"),)
    depth = data.draw(st.integers(1, 4), "depth")
    upsampling = data.draw(st.sampled_from(["transposed", "nearest"]))
    x = np.ones((2, *shape), "float32")
    model = UNet(shape, filters=(2,) * depth, upsampling=upsampling)
    assert model.reconstruct(x).shape == x.shape
    model = UNet(shape, "segmentation", 3, filters=(2,) * depth, upsampling=upsampling)
    assert model.segment(x).shape == x.shape[:-1]
    assert [code[:-1] for code in model.code_shapes] == list(model.sizes)
    assert len(model.sizes) == depth


def test_two_axes_are_a_spectrum_unless_told() -> None:
    spectra, images = _small((9, 8)), _small((9, 8), spatial_axes=2)
    assert (spectra.sizes, spectra.channels) == (((9,), (5,)), 8)
    assert (images.sizes, images.channels) == (((9, 8), (5, 4)), 1)
    x = np.ones((2, 9, 8), "float32")
    assert spectra(x).shape == images(x).shape == x.shape
    labelled = _small((9, 8), "segmentation", n_classes=2, spatial_axes=2)
    assert labelled(x).shape == (2, 9, 8, 2)


# === What the heads see ===


@pytest.mark.jax
@pytest.mark.parametrize("name", CORRUPTIONS)
def test_corrupts_in_training_only(name, rng) -> None:
    x = rng.normal(size=(3, 13, 11, 1)).astype("float32")
    model = _small(corruption=name, seed=3)
    clean = np.asarray(model.reconstruct(x))
    np.testing.assert_array_equal(model(x), clean)
    corrupted = CORRUPTIONS[name](seed=3)(x, training=True)
    np.testing.assert_allclose(
        model(x, training=True), model.reconstruct(corrupted), rtol=1e-4, atol=1e-6
    )


@pytest.mark.jax
def test_inpainting_sees_nothing_of_what_is_blanked(rng) -> None:
    """In training what the corruption hides, in use what the mask does."""
    x = rng.normal(5.0, 1.0, size=(3, 12)).astype("float32")
    scaling = keras.layers.Normalization(axis=None, mean=5.0, variance=4.0)
    model = _small((12,), "inpainting", normalization=scaling, seed=3)
    hidden = np.asarray(layers.BlockCorruption(seed=3)(np.ones_like(x), training=True))
    assert (hidden == 0.0).sum() == 9
    in_training = np.asarray(model(x, training=True))
    in_use = model.reconstruct(np.where(hidden, x, np.nan), hidden)
    np.testing.assert_allclose(in_use, in_training, rtol=1e-4, atol=1e-5)
    seen, given_pixels = np.moveaxis(np.asarray(model.encode(x, hidden)[0]), -1, 0)
    np.testing.assert_array_equal(given_pixels, hidden)
    expected = np.where(hidden, (x - 5.0) / 2.0, 0.0)
    np.testing.assert_allclose(seen, expected, atol=1e-6)
    # Without a mask all is given.
    np.testing.assert_array_equal(np.asarray(model.encode(x)[0])[..., 1], 1.0)


@pytest.mark.jax
def test_inpainting_hides_what_a_layer_changes(rng) -> None:
    x = rng.normal(size=(3, 12)).astype("float32")
    everything = layers.MaskingCorruption(rate=1.0, value=7.0)
    model = _small((12,), "inpainting", corruption=everything)
    nothing = model.reconstruct(x, np.zeros(x.shape, bool))
    np.testing.assert_allclose(model(x, training=True), nothing, rtol=1e-5)


@pytest.mark.jax
def test_segmentation_is_the_most_probable_class(rng) -> None:
    x = rng.normal(size=(3, 13, 11, 1)).astype("float32")
    model = _small(head="segmentation", n_classes=5)
    probabilities = np.asarray(model(x))
    np.testing.assert_allclose(probabilities.sum(axis=-1), 1.0, rtol=1e-5)
    labels = np.asarray(model.segment(x))
    assert labels.dtype == "int32"
    np.testing.assert_array_equal(labels, probabilities.argmax(axis=-1))


def test_pixels_without_a_good_channel_leave_the_loss_alone(rng) -> None:
    """One good channel is enough to count."""
    x = rng.normal(size=(4, 12, 2)).astype("float32")
    y = rng.integers(0, 3, (4, 12))
    model = _small((12, 2), "segmentation", n_classes=3)
    model.compile("sgd", "sparse_categorical_crossentropy")
    good = rng.random(x.shape) < 0.5
    inputs = {"instances": x, "mask": good}
    loss = model.evaluate(inputs, y, verbose=0)
    chosen = np.take_along_axis(np.asarray(model(inputs)), y[..., None], -1)[..., 0]
    counts = good.any(axis=-1)
    assert 0 < counts.sum() < counts.size
    assert loss == pytest.approx(np.mean(-np.log(chosen) * counts), rel=1e-5)
    other = np.where(counts, y, (y + 1) % 3)
    assert model.evaluate(inputs, other, verbose=0) == loss


# === What they learn ===


def _waves(rng, n: int) -> np.ndarray:
    place = np.linspace(0.0, 1.0, 64)
    phase, amplitude, pitch = rng.uniform(size=(3, n, 1))
    wave = np.sin(2.0 * np.pi * ((1.0 + 2.0 * pitch) * place + phase))
    return ((0.5 + amplitude) * wave).astype("float32")


def _fit(model: UNet, x: np.ndarray, steps: int = 400) -> None:
    rate = keras.optimizers.schedules.CosineDecay(1e-2, steps)
    model.compile(keras.optimizers.Adam(rate), "mse", steps_per_execution=100)
    many = np.concatenate([x] * (steps * 32 // len(x)))
    model.fit(many, many, batch_size=32, verbose=0)


@pytest.mark.large
def test_noise_is_removed(rng) -> None:
    x, unseen = _waves(rng, 640), _waves(rng, 100)
    noise = layers.GaussianCorruption(0.4, seed=0)
    model = UNet((64,), filters=(8, 12, 16), corruption=noise)
    _fit(model, x)
    noisy = unseen + rng.normal(0.0, 0.4, unseen.shape).astype("float32")
    left = np.mean((np.asarray(model.reconstruct(noisy)) - unseen) ** 2)
    assert left < 0.2 * np.mean((noisy - unseen) ** 2)


@pytest.mark.large
def test_gaps_are_filled(rng) -> None:
    """Better than by a straight line."""
    x, unseen = _waves(rng, 640), _waves(rng, 100)
    model = UNet((64,), "inpainting", filters=(8, 12, 16), seed=0)
    _fit(model, x)
    mask = np.ones(unseen.shape, bool)
    mask[:, 20:36] = False
    broken = np.where(mask, unseen, np.nan)
    filled = np.asarray(model.reconstruct(broken, mask))[~mask]
    known = np.flatnonzero(mask[0])
    lines = [np.interp(np.arange(20, 36), known, row[known]) for row in unseen]
    of_line = np.mean((np.ravel(lines) - unseen[~mask]) ** 2)
    assert np.mean((filled - unseen[~mask]) ** 2) < 0.25 * of_line


# === Errors ===


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"head": "segmentation"}, "head 'segmentation'.*n_classes=None, head='seg"),
        ({"n_classes": 3}, "for the head 'segmentation'.*head='denoising'"),
        ({"head": "segmentation", "n_classes": 1}, "`n_classes`.*n_classes=1"),
        ({"corruption": "blur"}, "`corruption`.*'block'.*corruption='blur'"),
        (
            {"head": "inpainting", "corruption": "gaussian"},
            r"one of \('block', 'masking'\).*corruption='gaussian'",
        ),
        (
            {"head": "segmentation", "n_classes": 2, "corruption": "block"},
            "`corruption` is for the heads 'denoising' and 'inpainting'",
        ),
        ({"spatial_axes": 3}, r"axes of pixels.*\(8, 8\), spatial_axes=3"),
    ],
)
def test_bad_arguments(arguments, sentence) -> None:
    with pytest.raises(ValueError, match=sentence):
        UNet((8, 8), **arguments)


def test_other_codes_are_refused(rng) -> None:
    model = _small()
    codes = model.encode(rng.normal(size=(2, 13, 11, 1)))
    with pytest.raises(ValueError, match="what `encode` returns.*13, 11, 1.*7, 6, 6"):
        model.decode(codes[1:])
    with pytest.raises(ValueError, match="outputs instances, not classes"):
        model.segment(np.zeros((2, 13, 11, 1)))
