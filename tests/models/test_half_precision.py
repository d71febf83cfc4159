"""Data in units that half precision cannot hold."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import ops

from symae_keras import layers
from symae_keras.losses import RelativeMeanSquaredError
from symae_keras.models import (
    VAE,
    DenoisingAutoencoder,
    LatentMeanSwap,
    SymAE,
)

HALF = "mixed_float16"


def _encoder() -> keras.Layer:
    return layers.DenseEncoder(8, units=(16,), dtype=HALF)


def _symae(scaling: keras.Layer) -> SymAE:
    return SymAE((12,), 3, 2, _encoder(), normalization=scaling, seed=0, dtype=HALF)


def _mean_swap(scaling: keras.Layer) -> LatentMeanSwap:
    arguments = {"normalization": scaling, "seed": 0, "dtype": HALF}
    return LatentMeanSwap(VAE((12,), 4, _encoder(), **arguments), dtype=HALF)


def _denoising(scaling: keras.Layer) -> DenoisingAutoencoder:
    arguments = {"normalization": scaling, "seed": 0, "dtype": HALF}
    return DenoisingAutoencoder((12,), 4, _encoder(), corruption="masking", **arguments)


def _dtype(tensor) -> str:
    return keras.backend.standardize_dtype(tensor.dtype)


@pytest.mark.parametrize("unit", [1e-17, 1e6])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("make", [_symae, _mean_swap, _denoising])
def test_units_beyond_half_precision(make, masked, unit, rng) -> None:
    x = np.float32(unit * rng.normal(3.0, 1.0, size=(6, 4, 12)))
    if make is _denoising:
        x = x.reshape(-1, 12)
    scaling = layers.Standardization.of(x, dtype=HALF)
    model = make(scaling)
    variance = float(np.var(np.float64(x)))
    model.compile("sgd", RelativeMeanSquaredError(variance), run_eagerly=True)
    mask, inputs = None, x
    if masked:
        mask = np.ones(x.shape, bool)
        mask[0, ..., 1] = False
        inputs = {"instances": np.where(mask, x, np.float32(np.nan)), "mask": mask}
    logs = model.train_on_batch(inputs, x, return_dict=True)
    # Data that had become 0 or infinite would have an error of 10, or none at all.
    name = "reconstruction_loss" if make is _mean_swap else "loss"
    assert 0.1 < logs[name] < 4.0
    output = model.reconstruct(x, mask)
    assert _dtype(output) == _dtype(model(inputs)) == "float32"
    error = np.mean((np.asarray(output) - x) ** 2) / variance
    assert 0.1 < error < 4.0
    if make is not _denoising:
        assert _dtype(model.redatum(x, x)) == "float32"


@pytest.mark.jax
def test_a_normalization_of_keras_does_not_overflow(rng) -> None:
    x = np.float32(1e6 * rng.normal(3.0, 1.0, size=(6, 4, 12)))
    # In half precision, the layer would hold an infinite mean.
    layer = keras.layers.Normalization(dtype="float32")
    layer.adapt(x)
    half = _symae(layer)
    mean, scale = x.mean(axis=(0, 1)), x.std(axis=(0, 1))
    seen = half._clean(x, None)[0]
    assert _dtype(seen) == "float16"
    np.testing.assert_allclose(np.asarray(seen), (x - mean) / scale, atol=2e-3)
    # A decoder that says nothing.
    for weight in half.instance_decoder.weights:
        weight.assign(ops.zeros(weight.shape))
    expected = np.broadcast_to(mean, x.shape)
    np.testing.assert_allclose(half.reconstruct(x), expected, rtol=1e-5)


@pytest.mark.parametrize("sign", [-1.0, 1.0])
@pytest.mark.parametrize("policy", ["float32", HALF])
def test_wild_codes_come_back(policy, sign) -> None:
    """A prior as narrow or wide as it may be, and codes far from its mean."""
    encoder = layers.DenseEncoder(8, units=(16,), dtype=policy)
    model = SymAE(
        (12,), 3, 2, encoder, nuisance_noise="variational", seed=0, dtype=policy
    )
    model.prior_head[-1].bias.assign([100.0, 100.0, sign * 1e4, sign * 1e4])
    latent = np.float32([[[-100.0, 50.0]]])
    coherent = np.zeros((1, 3), model.compute_dtype)
    nuisance = model._code_of(ops.convert_to_tensor(latent), coherent)
    assert np.isfinite(np.asarray(nuisance)).all()
    again = model._latent_of(nuisance, coherent)
    np.testing.assert_allclose(np.asarray(again), latent, atol=0.1)
