"""Discrete codes: their values, their logs, and their training."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import ops

from symae_keras.layers import Conv1DEncoder, Conv2DEncoder, DenseEncoder
from symae_keras.models import VQVAE


def _model(instance_shape=(12,), **arguments):
    arguments.setdefault("encoder", DenseEncoder(8, units=(16,)))
    return VQVAE(instance_shape, 3, 2, n_embeddings=5, **arguments)


@pytest.fixture
def x(rng) -> np.ndarray:
    """Make ten instances of 12 pixels."""
    return rng.normal(size=(10, 12)).astype("float32")


@pytest.mark.jax
def test_codes_are_vectors_of_the_codebook(x) -> None:
    model = _model()
    indices = ops.convert_to_numpy(model.indices(x))
    assert indices.shape == (10, 3)
    assert np.issubdtype(indices.dtype, np.integer)
    codes = ops.convert_to_numpy(model.encode(x))
    codebook = ops.convert_to_numpy(model.quantizer.codebook.value)
    np.testing.assert_array_equal(codes, codebook[indices])
    decoded = model.decode(model.quantizer.vectors(indices))
    np.testing.assert_array_equal(decoded, model.reconstruct(x))
    np.testing.assert_array_equal(model(x, training=True), model.reconstruct(x))


@pytest.mark.jax
@pytest.mark.parametrize(
    ("encoder", "shape"),
    [
        (Conv1DEncoder(8, filters=(3, 4)), (13,)),
        (Conv2DEncoder(8, filters=(3, 4)), (7, 6, 2)),
    ],
)
def test_convolutions(encoder, shape, rng) -> None:
    model = _model(shape, encoder=encoder)
    x = rng.normal(size=(4, *shape)).astype("float32")
    assert tuple(model.encode(x).shape) == (4, 3, 2)
    assert tuple(model(x).shape) == x.shape


@pytest.mark.jax
def test_map_of_codes(rng) -> None:
    """A custom encoder returns a map of vectors, and a custom decoder accepts it."""
    conv = {"strides": 2, "padding": "same"}
    model = VQVAE(
        (6, 8, 1),
        n_latents=None,
        embedding_dim=4,
        n_embeddings=5,
        encoder=keras.layers.Conv2D(4, 3, **conv),
        decoder=keras.layers.Conv2DTranspose(1, 3, **conv),
    )
    x = rng.normal(size=(2, 6, 8, 1)).astype("float32")
    assert tuple(model.encode(x).shape) == (2, 3, 4, 4)
    assert tuple(model.indices(x).shape) == (2, 3, 4)
    model.compile(optimizer="adam", loss="mse")
    assert np.isfinite(model.fit(x, x, verbose=0).history["loss"][0])
    assert tuple(model.reconstruct(x).shape) == x.shape


@pytest.mark.jax
def test_perplexity_is_logged(x) -> None:
    """Batches are weighted by their size."""
    model = _model()
    model.quantizer.codebook.assign(np.random.default_rng(1).normal(size=(5, 2)))
    model.compile(loss="mse")
    logs = model.evaluate(x, x, batch_size=7, return_dict=True, verbose=0)
    indices = ops.convert_to_numpy(model.indices(x))
    perplexities = []
    for batch in (indices[:7], indices[7:]):
        share = np.bincount(batch.ravel(), minlength=5) / batch.size
        share = share[share > 0]
        perplexities.append(np.exp(-(share * np.log(share)).sum()))
    expected = 0.7 * perplexities[0] + 0.3 * perplexities[1]
    assert expected > 1.5
    assert logs["perplexity"] == pytest.approx(expected, rel=1e-5)


@pytest.mark.large
def test_training_finds_the_symbols() -> None:
    """Make four kinds of instances in two positions: two symbols, 16 combinations."""
    rng = np.random.default_rng(0)
    kinds = rng.normal(size=(2, 4, 12))
    labels = rng.integers(4, size=(512, 2))
    x = (kinds[0, labels[:, 0]] + kinds[1, labels[:, 1]]).astype("float32")
    keras.utils.set_random_seed(0)
    model = VQVAE((12,), 2, 4, 16, encoder=DenseEncoder(8, units=(32,)))
    model.compile(optimizer=keras.optimizers.Adam(3e-3), loss="mse")
    history = model.fit(x, x, epochs=30, verbose=0).history
    assert history["reconstruction_loss"][-1] < 0.1 * x.var()
    assert history["perplexity"][-1] > 4.0
