"""Nearest vectors, their gradients, loss and perplexity compared with closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from keras import ops

from symae_keras.layers import VectorQuantizer


def _made(rng, num_embeddings=7, embedding_dim=3, **arguments):
    """Make a layer with a codebook as wide as normal vectors."""
    layer = VectorQuantizer(num_embeddings, embedding_dim, **arguments)
    codebook = rng.normal(size=(num_embeddings, embedding_dim)).astype("float32")
    layer.codebook.assign(codebook)
    return layer, codebook


def _nearest(z, codebook):
    distances = np.square(z[..., None, :] - codebook).sum(axis=-1)
    return distances.argmin(axis=-1)


@pytest.mark.jax
@given(
    shape=st.sampled_from([(5,), (4, 3), (2, 3, 4)]),
    num_embeddings=st.sampled_from([1, 2, 33]),
    seed=st.integers(0, 1000),
)
def test_the_nearest_is_taken(shape, num_embeddings, seed) -> None:
    rng = np.random.default_rng(seed)
    layer, codebook = _made(rng, num_embeddings)
    z = rng.normal(size=(*shape, 3)).astype("float32")
    expected = _nearest(z, codebook)
    np.testing.assert_array_equal(layer.indices(z), expected)
    np.testing.assert_array_equal(layer(z), codebook[expected])
    np.testing.assert_array_equal(layer.vectors(expected), codebook[expected])


@pytest.mark.jax
@pytest.mark.parametrize("commitment_weight", [0.0, 0.25, 2.0])
def test_loss_equals_closed_form(commitment_weight, rng) -> None:
    layer, codebook = _made(rng, commitment_weight=commitment_weight)
    z = rng.normal(size=(4, 5, 3)).astype("float32")
    layer(z)
    norms = np.square(z - codebook[_nearest(z, codebook)]).sum(axis=-1)
    expected = (1.0 + commitment_weight) * norms.mean()
    assert ops.convert_to_numpy(layer.losses[0]) == pytest.approx(expected, rel=1e-5)


@pytest.mark.jax
@pytest.mark.parametrize(
    ("used", "expected"),
    [
        ([0] * 6, 1.0),
        ([0, 1, 2, 3], 4.0),
        ([0, 0, 0, 2], math.exp(-0.75 * math.log(0.75) - 0.25 * math.log(0.25))),
    ],
)
def test_perplexity_equals_closed_form(used, expected) -> None:
    layer = VectorQuantizer(num_embeddings=4, embedding_dim=4)
    layer.codebook.assign(np.eye(4))
    layer(np.eye(4, dtype="float32")[used])
    logged = layer.take_logged()
    assert list(logged) == ["quantization_loss", "perplexity"]
    assert float(logged["perplexity"]) == pytest.approx(expected, rel=1e-5)
    assert layer.take_logged() == {}


@pytest.mark.jax
@pytest.mark.parametrize("shape", [(7, 3), (7, 5, 3)])
def test_absent_instances_do_not_count(shape, check_absent, present, rng) -> None:
    layer, _ = _made(rng, num_embeddings=3)
    z = rng.normal(size=shape).astype("float32")
    check_absent(layer, z)
    layer(z[present])
    expected = layer.take_logged()["perplexity"]
    layer(z, mask=present)
    value = layer.take_logged()["perplexity"]
    assert float(value) == pytest.approx(float(expected), rel=1e-5)
    layer(z)
    assert float(layer.take_logged()["perplexity"]) != pytest.approx(float(expected))


def test_absent_vectors_do_not_draw_the_codebook(loss_gradients, present, rng) -> None:
    layer, _ = _made(rng)
    z = rng.normal(size=(7, 3)).astype("float32")
    codebook = [layer.codebook.value]
    _, expected = loss_gradients(layer, z[present], variables=codebook)
    _, found = loss_gradients(layer, z, variables=codebook, mask=present)
    assert np.abs(expected).max() > 0.0
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)


def test_gradient_passes_straight_through(gradients, rng) -> None:
    layer, _ = _made(rng)
    z, weights = rng.normal(size=(2, 5, 3)).astype("float32")
    codebook = layer.codebook.value
    of_z, of_codebook = gradients(lambda z: weights * layer(z), z, variables=[codebook])
    np.testing.assert_array_equal(of_z, weights)
    assert of_codebook is None


def test_gradient_of_the_loss(loss_gradients, rng) -> None:
    """The codebook is pulled to the vectors, and the vectors to the codebook."""
    layer, codebook = _made(rng, commitment_weight=0.5)
    z = rng.normal(size=(5, 3)).astype("float32")
    variables = [layer.codebook.value]
    of_z, of_codebook = loss_gradients(layer, z, variables=variables)
    nearest = _nearest(z, codebook)
    difference = 2.0 * (z - codebook[nearest]) / 5
    np.testing.assert_allclose(of_z, 0.5 * difference, rtol=1e-5, atol=1e-7)
    expected = np.zeros_like(codebook)
    np.add.at(expected, nearest, -difference)
    np.testing.assert_allclose(of_codebook, expected, rtol=1e-5, atol=1e-7)


@pytest.mark.jax
def test_distances_in_float32() -> None:
    """In bfloat16, both vectors would be equally near."""
    layer = VectorQuantizer(2, 1, dtype="mixed_bfloat16")
    layer.codebook.assign([[1.001], [1.0]])
    z = ops.ones((1, 1), "bfloat16")
    assert int(layer.indices(z)[0]) == 1
    layer(z + 0.5)
    assert ops.convert_to_numpy(layer.losses[0]) == pytest.approx(
        1.25 * 0.499**2, rel=1e-4
    )
