"""The linear autoencoder compared with principal component analysis."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from conformance import fit
from scipy.linalg import subspace_angles
from sklearn.decomposition import PCA

from symae_keras.layers import Standardization
from symae_keras.models import LinearAutoencoder

PIXELS, COMPONENTS = 30, 4


def _data(rng, mean) -> np.ndarray:
    """Make data with a gap in the spectrum and a mean of `mean` standard deviations."""
    spread = np.concatenate([[3.0, 2.5, 2.0, 1.5], 0.5 * 0.9 ** np.arange(26)])
    rotation = np.linalg.qr(rng.normal(size=(PIXELS, PIXELS)))[0]
    x = rng.normal(size=(500, PIXELS)) * spread @ rotation
    return (x + mean * rng.normal(size=PIXELS)).astype("float32")


@pytest.mark.large
@pytest.mark.parametrize(
    ("tied", "mean", "normalized"),
    [(True, 0.3, False), (False, 0.3, False), (True, 30.0, True)],
)
def test_finds_the_principal_components(rng, tied, mean, normalized) -> None:
    x = _data(rng, mean)
    normalization = Standardization.of(x) if normalized else None
    model = LinearAutoencoder((PIXELS,), COMPONENTS, tied, normalization)
    fit(model, x, steps=2000, batch_size=50, rate=3e-2)
    pca = PCA(COMPONENTS).fit(x)
    found = model.components()
    assert np.degrees(subspace_angles(found.T, pca.components_.T).max()) < 1.0
    np.testing.assert_allclose(found @ found.T, np.eye(COMPONENTS), atol=1e-5)
    least = np.mean((pca.inverse_transform(pca.transform(x)) - x) ** 2)
    error = np.mean((np.asarray(model.reconstruct(x)) - x) ** 2)
    assert least * 0.9999 < error < least * 1.001
    # The mean is learned, not reconstructed by one of the components.
    middle = np.asarray(model.reconstruct(x.mean(axis=0, keepdims=True)))
    np.testing.assert_allclose(middle[0], x.mean(axis=0), atol=0.02)


@pytest.mark.jax
@pytest.mark.parametrize("tied", [True, False])
def test_components_span_what_decoding_adds(rng, tied) -> None:
    shape = (3, 4, 2)
    normalization = keras.layers.Normalization(
        axis=(1, 2, 3),
        mean=rng.normal(size=shape),
        variance=rng.uniform(1.0, 9.0, size=shape),
    )
    model = LinearAutoencoder(shape, 5, tied, normalization)
    basis = model.components()
    assert basis.shape == (5, *shape)
    basis = basis.reshape(5, -1)
    np.testing.assert_allclose(basis @ basis.T, np.eye(5), atol=1e-5)
    codes = np.concatenate([np.zeros((1, 5)), rng.normal(size=(20, 5))])
    decoded = np.asarray(model.decode(codes.astype("float32"))).reshape(21, -1)
    added = decoded[1:] - decoded[0]
    assert np.linalg.matrix_rank(added, tol=1e-3) == 5
    np.testing.assert_allclose(added @ basis.T @ basis, added, atol=1e-4)


@pytest.mark.jax
def test_tied_weights_are_one_kernel() -> None:
    shapes = {True: [(6, 2), (2,), (6,)], False: [(6, 2), (2,), (2, 6), (6,)]}
    for tied, expected in shapes.items():
        weights = LinearAutoencoder((6,), 2, tied).trainable_weights
        assert [tuple(w.shape) for w in weights] == expected
