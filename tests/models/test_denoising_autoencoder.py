"""The denoising autoencoder: when it corrupts, and what that brings."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from symae_keras import layers
from symae_keras.models import Autoencoder, DenoisingAutoencoder

CORRUPTIONS = {
    "gaussian": layers.GaussianCorruption,
    "masking": layers.MaskingCorruption,
    "salt_and_pepper": layers.SaltAndPepper,
    "block": layers.BlockCorruption,
}


@pytest.mark.jax
@pytest.mark.parametrize("name", CORRUPTIONS)
def test_corrupts_in_training_only(name, rng) -> None:
    x = rng.normal(size=(5, 12)).astype("float32")
    model = DenoisingAutoencoder((12,), 4, corruption=name, seed=3)
    assert type(model.corrupt) is CORRUPTIONS[name]
    assert model.corrupt.seed == 3
    clean = np.asarray(model.reconstruct(x))
    np.testing.assert_array_equal(model(x), clean)
    np.testing.assert_array_equal(model(x, training=False), clean)
    corrupted = CORRUPTIONS[name](seed=3)(x, training=True)
    np.testing.assert_allclose(
        model(x, training=True), model.reconstruct(corrupted), rtol=1e-4, atol=1e-6
    )


@pytest.mark.jax
def test_corrupts_before_normalising(rng) -> None:
    x = rng.normal(50.0, 10.0, size=(5, 12)).astype("float32")
    normalization = keras.layers.Normalization(axis=None, mean=50.0, variance=100.0)
    corruption = layers.MaskingCorruption(rate=1.0, value=50.0)
    model = DenoisingAutoencoder(
        (12,), 4, corruption=corruption, normalization=normalization
    )
    means = np.full((5, 12), 50.0, "float32")
    np.testing.assert_allclose(model(x, training=True), model(means), rtol=1e-5)


@pytest.mark.parametrize("shape", [(8, 8), (8, 8, 1)])
def test_blocks_of_images_are_rectangles(shape) -> None:
    """The encoder tells that two axes are a height and a width."""
    encoders = [("conv2d", (2, 2)), (layers.Conv2DEncoder(8), (2, 2))]
    if len(shape) == 2:  # spectra with channels
        encoders.append(("conv1d", (2, 8)))
    for encoder, expected in encoders:
        model = DenoisingAutoencoder(shape, 4, encoder, corruption="block")
        blank = np.asarray(model.corrupt(np.ones((1, *shape)), training=True)) == 0.0
        blank = blank.reshape(8, 8)
        assert (blank.any(axis=1).sum(), blank.any(axis=0).sum()) == expected


@pytest.mark.large
def test_noise_is_removed(rng) -> None:
    """Better than by a plain autoencoder of the same size, which learns to copy."""
    phase, amplitude = rng.uniform(-1.0, 1.0, size=(2, 1000, 1))
    wave = np.sin(2 * np.pi * (np.linspace(0, 1, 20) + phase / 2))
    waves = (wave * (1 + amplitude / 2)).astype("float32")
    x, unseen = waves[:500], waves[500:]
    noisy = unseen + rng.normal(0.0, 0.4, unseen.shape).astype("float32")

    def error(model) -> float:
        rate = keras.optimizers.schedules.CosineDecay(1e-2, decay_steps=800)
        model.compile(keras.optimizers.Adam(rate), "mse", steps_per_execution=400)
        many = np.tile(x, (80, 1))
        model.fit(many, many, batch_size=100, epochs=2, verbose=0)
        return float(np.mean((np.asarray(model.reconstruct(noisy)) - unseen) ** 2))

    def encoder():
        return layers.DenseEncoder(20, units=(64,))

    corruption = layers.GaussianCorruption(0.4, seed=0)
    plain = error(Autoencoder((20,), 20, encoder()))
    denoising = error(DenoisingAutoencoder((20,), 20, encoder(), corruption=corruption))
    assert denoising < 0.6 * plain
    assert denoising < 0.15 * np.mean((noisy - unseen) ** 2)
