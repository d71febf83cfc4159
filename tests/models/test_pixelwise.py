"""Networks from instances to maps: UNet, SegNet and SegResNetVAE."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from conformance import fit
from hypothesis import given, settings
from hypothesis import strategies as st

from symae_keras import layers
from symae_keras.evaluation import mean_iou
from symae_keras.models import SegNet, SegResNetVAE, UNet

SMALL = {"filters": (4, 6), "code_dim": 3}


def _small(shape=(13, 11, 1), head="denoising", **arguments) -> UNet:
    return UNet(shape, head, filters=(4, 6), **arguments)


# === Shapes ===


@pytest.mark.large
@pytest.mark.parametrize(("cls", "rank"), [(UNet, 3), (SegNet, 2), (SegResNetVAE, 3)])
@settings(max_examples=8)
@given(data=st.data())
def test_any_size_and_depth(cls, rank, data) -> None:
    rank = data.draw(st.integers(1, rank), "rank")
    shape = tuple(data.draw(st.integers(1, 11)) for _ in range(rank))
    shape += (data.draw(st.integers(1, 2), "channels"),)
    size: dict = {"filters": (2, 3, 2, 4)[: data.draw(st.integers(1, 4), "depth")]}
    if cls is UNet:
        size["upsampling"] = data.draw(st.sampled_from(["transposed", "nearest"]))
    x = np.ones((2, *shape), "float32")
    if cls is UNet:
        assert UNet(shape, **size).reconstruct(x).shape == x.shape
        size["head"] = "segmentation"
    if cls is SegResNetVAE:
        size["code_dim"] = 2
    model = cls(shape, n_classes=3, **size)
    assert model(x, training=True).shape == (2, *shape[:-1], 3)
    assert model.segment(x).shape == x.shape[:-1]
    assert len(model.sizes) == len(model.filters)
    if cls is SegNet:  # the smallest maps, then the positions in larger ones
        assert model.code_shapes[0] == (*model.sizes[-1], model.filters[-1])
    else:
        assert [code[:-1] for code in model.code_shapes] == list(model.sizes)
    if cls is SegResNetVAE:
        assert model.reconstruct_instances(x).shape == x.shape


def test_two_axes_are_a_spectrum_unless_told() -> None:
    spectra, images = _small((9, 8)), _small((9, 8), spatial_axes=2)
    assert (spectra.sizes, spectra.channels) == (((9,), (5,)), 8)
    assert (images.sizes, images.channels) == (((9, 8), (5, 4)), 1)
    x = np.ones((2, 9, 8), "float32")
    assert spectra(x).shape == images(x).shape == x.shape
    labelled = _small((9, 8), "segmentation", n_classes=2, spatial_axes=2)
    assert labelled(x).shape == (2, 9, 8, 2)


# === What the heads of a U-Net see ===


@pytest.mark.jax
def test_inpainting_sees_nothing_of_what_is_blanked(rng) -> None:
    """The network does not see pixels blanked by a corruption or masked by the user."""
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
    # Without a mask, all pixels are given.
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
    """A pixel counts if one channel is good."""
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


# === What the decoders of the others see ===


@pytest.mark.jax
def test_the_decoder_is_told_positions_and_nothing_else(rng) -> None:
    """Positions are in pooling windows of 2 x 2, as flat indices of the larger maps."""
    x = rng.normal(size=(2, 8, 6, 1)).astype("float32")
    model = SegNet((8, 6, 1), 3, filters=(4, 6, 8))
    smallest, *positions = map(np.asarray, model.encode(x))
    assert smallest.shape == (2, 2, 2, 8)
    assert [each.shape for each in positions] == [(2, 2, 2, 6), (2, 4, 3, 4)]
    for each, (height, width) in zip(positions, model.sizes[1::-1], strict=True):
        assert each.dtype == "int32"
        rows, columns = np.unravel_index(each, (height, width))
        windows = np.indices(each.shape)
        np.testing.assert_array_equal(rows // 2, windows[1])
        np.testing.assert_array_equal(columns // 2, windows[2])
    # Other positions give another output.
    moved = [np.zeros_like(each) for each in positions]
    other = np.asarray(model.decode([smallest, *moved]))
    assert np.abs(other - np.asarray(model(x))).max() > 1e-3


@pytest.mark.jax
def test_it_is_the_same_network_without_the_branch(rng) -> None:
    x = rng.normal(size=(2, 9, 7, 1)).astype("float32")
    models = []
    for branch in (True, False):
        keras.utils.set_random_seed(0)
        models.append(SegResNetVAE((9, 7, 1), 3, vae_branch=branch, **SMALL))
    with_branch, plain = models
    np.testing.assert_array_equal(with_branch(x), plain(x))
    in_branch = [v for v in with_branch.variables if "vae_branch" in v.path]
    seeds_and_weight = len(with_branch.non_trainable_variables)
    assert len(plain.variables) == (
        len(with_branch.variables) - len(in_branch) - seeds_and_weight
    )
    assert not plain.losses and len(with_branch.losses) == 2
    with pytest.raises(ValueError, match="no branch.*vae_branch=True"):
        plain.reconstruct_instances(x)


@pytest.mark.jax
def test_losses_of_the_branch(rng) -> None:
    """The losses are the mean squared error, normalised, and nats over all values."""
    x = rng.normal(5.0, 2.0, size=(3, 9, 7, 2)).astype("float32")
    scaling = layers.Standardization(5.0, 2.0)
    weights = {"reconstruction_weight": 0.3, "kl_weight": 0.7}
    model = SegResNetVAE((9, 7, 2), 3, normalization=scaling, **weights, **SMALL)
    model(x)
    kl, squared_error = map(np.asarray, model.losses)
    difference = (np.asarray(model.reconstruct_instances(x)) - x) / 2.0
    assert squared_error == pytest.approx(0.3 * np.mean(difference**2), rel=1e-4)
    mean, log_variance = map(np.asarray, model._posterior(model.encode(x)[-1]))
    nats = 0.5 * (mean**2 + np.exp(log_variance) - 1.0 - log_variance)
    assert kl == pytest.approx(0.7 * nats.sum(axis=-1).mean() / 126, rel=1e-4)


def test_only_the_smallest_maps_reach_the_branch(rng) -> None:
    x = rng.normal(size=(2, 8, 8, 1)).astype("float32")
    model = SegResNetVAE((8, 8, 1), 3, **SMALL)
    code = model.encode(x)
    mean, _ = model._posterior(code[-1])
    again = model._as_instances(model._regenerated(mean))
    np.testing.assert_allclose(again, model.reconstruct_instances(x), rtol=1e-6)
    # The other decoder also needs the maps of every depth.
    other = np.asarray(model.decode([0.0 * code[0], *code[1:]]))
    assert np.abs(other - np.asarray(model(x))).max() > 1e-3


# === What they learn ===


def _waves(rng, n: int) -> np.ndarray:
    place = np.linspace(0.0, 1.0, 64)
    phase, amplitude, pitch = rng.uniform(size=(3, n, 1))
    wave = np.sin(2.0 * np.pi * ((1.0 + 2.0 * pitch) * place + phase))
    return ((0.5 + amplitude) * wave).astype("float32")


@pytest.mark.large
def test_noise_is_removed(rng) -> None:
    x, unseen = _waves(rng, 640), _waves(rng, 100)
    noise = layers.GaussianCorruption(0.4, seed=0)
    model = UNet((64,), filters=(8, 12, 16), corruption=noise)
    fit(model, x, steps=400, batch_size=32)
    noisy = unseen + rng.normal(0.0, 0.4, unseen.shape).astype("float32")
    left = np.mean((np.asarray(model.reconstruct(noisy)) - unseen) ** 2)
    assert left < 0.2 * np.mean((noisy - unseen) ** 2)


@pytest.mark.large
def test_gaps_are_filled(rng) -> None:
    """The network fills gaps better than a straight line."""
    x, unseen = _waves(rng, 640), _waves(rng, 100)
    model = UNet((64,), "inpainting", filters=(8, 12, 16), seed=0)
    fit(model, x, steps=400, batch_size=32)
    mask = np.ones(unseen.shape, bool)
    mask[:, 20:36] = False
    broken = np.where(mask, unseen, np.nan)
    filled = np.asarray(model.reconstruct(broken, mask))[~mask]
    known = np.flatnonzero(mask[0])
    lines = [np.interp(np.arange(20, 36), known, row[known]) for row in unseen]
    of_line = np.mean((np.ravel(lines) - unseen[~mask]) ** 2)
    assert np.mean((filled - unseen[~mask]) ** 2) < 0.25 * of_line


def _squares(n: int, rng) -> tuple[np.ndarray, np.ndarray]:
    """Make images of one square each, brighter by 1; every other one is hollow.

    The brightness varies more within an image than between images.
    """
    x, labels = 0.1 * rng.normal(size=(n, 16, 17)), np.zeros((n, 16, 17), int)
    for number, label in enumerate(labels):
        row, column = rng.integers(0, 10), rng.integers(0, 11)
        label[row : row + 7, column : column + 7] = 1 + number % 2
        if number % 2:
            label[row + 2 : row + 5, column + 2 : column + 5] = 0
    x += (labels > 0) + 2.0 * rng.normal(size=(n, 1, 1))
    return x[..., None].astype("float32"), labels


@pytest.mark.large
@pytest.mark.parametrize(
    ("cls", "arguments", "least"),
    [
        (UNet, {"head": "segmentation"}, 0.9),
        (SegNet, {}, 0.5),  # slower; predicting only background would give 0.28
    ],
)
def test_solid_and_hollow_squares(cls, arguments, least, rng) -> None:
    model = cls((16, 17, 1), n_classes=3, filters=(8, 16), **arguments)
    model.compile(keras.optimizers.Adam(3e-3), "sparse_categorical_crossentropy")
    model.fit(*_squares(400, rng), batch_size=8, epochs=8, verbose=0)
    x, labels = _squares(40, rng)
    assert mean_iou(labels, np.asarray(model.segment(x)), 3) > least


# === Errors ===


def test_what_is_refused(rng) -> None:
    model, x = _small(), rng.normal(size=(2, 13, 11, 1))
    with pytest.raises(ValueError, match="what `encode` returns.*13, 11, 1.*7, 6, 6"):
        model.decode(model.encode(x)[1:])
    with pytest.raises(ValueError, match="outputs instances, not classes"):
        model.segment(x)
