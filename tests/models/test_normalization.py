"""Normalisation in models: outputs in data units, and weights that fit or do not."""

from __future__ import annotations

from itertools import product

import h5py
import keras
import numpy as np
import pytest
from conformance import silence_decoder
from keras import ops

from symae_keras.layers import MedianNormalization, Standardization
from symae_keras.models import VAE, LatentMeanSwap, StellarAutoencoder, SymAE


def _adapted(x: np.ndarray) -> keras.Layer:
    layer = keras.layers.Normalization()
    layer.adapt(x)
    return layer


def _known(x: np.ndarray) -> keras.Layer:
    axes = tuple(range(x.ndim - 1))
    return keras.layers.Normalization(mean=x.mean(axes), variance=x.var(axes))


@pytest.mark.jax
def test_outputs_are_in_data_units(tiny, x, rng) -> None:
    """A decoder output of 0 gives the mean; an output of 1 gives mean + deviation."""
    mean, variance = rng.normal(size=12) * 100.0, rng.uniform(1.0, 900.0, 12)
    model = tiny(normalization=keras.layers.Normalization(mean=mean, variance=variance))
    silence_decoder(model)
    expected = np.broadcast_to(np.float32(mean), x.shape)
    np.testing.assert_allclose(model(x), expected, rtol=1e-6)
    np.testing.assert_allclose(model.redatum(x, x), expected, rtol=1e-6)
    bias = model.instance_decoder.layer.weights[-1]
    bias.assign(ops.ones(bias.shape))
    expected = np.broadcast_to(np.float32(mean + np.sqrt(variance)), x.shape)
    np.testing.assert_allclose(model(x), expected, rtol=1e-5)


@pytest.mark.jax
def test_codes_do_not_depend_on_the_units(tiny, x, mask, rng) -> None:
    """Other units with a matching normalisation give the same codes."""
    scale, offset = rng.uniform(0.1, 10.0, 12), rng.normal(size=12)
    plain, scaled = (
        tiny(normalization=keras.layers.Normalization(mean=mean, variance=variance))
        for mean, variance in ((np.zeros(12), np.ones(12)), (offset, scale**2))
    )
    scaled.set_weights(plain.get_weights())
    y = np.float32(x * scale + offset)
    codes, others = plain.encode(x, mask), scaled.encode(y, mask)
    np.testing.assert_allclose(others.coherent, codes.coherent, atol=1e-4)
    nuisance = np.asarray(codes.nuisance)[mask]
    np.testing.assert_allclose(np.asarray(others.nuisance)[mask], nuisance, atol=1e-4)
    expected = np.asarray(plain.reconstruct(x, mask)) * scale + offset
    reconstruction = np.asarray(scaled.reconstruct(y, mask))
    np.testing.assert_allclose(reconstruction[mask], expected[mask], atol=1e-3)


@pytest.mark.jax
def test_a_constant_pixel_is_harmless(tiny, x) -> None:
    x[..., 3] = 7.0
    model = tiny(normalization=_known(x))
    reconstruction = np.asarray(model(x))
    assert np.isfinite(reconstruction).all()
    np.testing.assert_allclose(reconstruction[..., 3], 7.0, rtol=1e-4)


# === Weights of a model with another normalisation ===

#: Normalisations, each as a function of data.
KINDS = {
    "none": lambda x: None,
    "standard": Standardization.of,
    "one number": lambda x: Standardization(x.mean(), x.std()),
    "adapted": _adapted,
    "known": _known,
}
#: Normalisations whose constants are weights.
CARRIED = ("standard", "one number", "adapted")


@pytest.mark.large
@pytest.mark.jax
@pytest.mark.parametrize(("saved", "loaded"), [*product(KINDS, KINDS)])
def test_same_outputs_or_an_error(saved, loaded, tiny, x, tmp_path) -> None:
    x = x * 50.0 + 1000.0
    path = tmp_path / "model.weights.h5"
    model = tiny(normalization=KINDS[saved](x))
    model.save_weights(path)
    for data in (x, x / 100.0):
        other = tiny(normalization=KINDS[loaded](data))
        same = saved == loaded and (data is x or saved in ("none", *CARRIED))
        if same:
            other.predict(data, verbose=0)  # compiled with its earlier constants
            other.load_weights(path)
            expected = np.asarray(model.reconstruct(x))
            np.testing.assert_array_equal(other.reconstruct(x), expected)
            np.testing.assert_allclose(other.predict(x, verbose=0), expected, rtol=1e-6)
            continue
        with pytest.raises(ValueError, match="another `normalization`"):
            other.load_weights(path)


def test_models_inside_and_other_kinds(rng, tmp_path) -> None:
    x = rng.uniform(1.0, 2.0, (4, 3, 12)).astype("float32")
    path = tmp_path / "model.weights.h5"
    swap, other = (
        LatentMeanSwap(VAE((12,), 2, normalization=Standardization.of(each)))
        for each in (x, 100.0 * x)
    )
    swap.save_weights(path)
    other.load_weights(path)
    np.testing.assert_array_equal(other.reconstruct(x), swap.reconstruct(x))
    median = StellarAutoencoder((12, 1), 2, normalization=MedianNormalization(2))
    median.save_weights(path)
    plain = StellarAutoencoder((12, 1), 2, normalization=None)
    with pytest.raises(ValueError, match="MedianNormalization.*normalization=None"):
        plain.load_weights(path)


def test_files_of_version_0_1(tiny, x, tmp_path) -> None:
    """These weights contain neither the constants nor a description of them."""
    x = x * 50.0 + 1000.0
    path = tmp_path / "model.weights.h5"
    model = tiny(normalization=Standardization.of(x))
    model.save_weights(path)
    with h5py.File(path, "r+") as file:
        del file["vars"], file["layers/standardization"]
    config = model.get_config()
    layer = config["normalization"]["config"]
    for name in ("mean", "scale"):
        del layer[f"{name}_shape"]
        layer[name] = getattr(model.normalization, name).tolist()
    again = SymAE.from_config(config)
    again.load_weights(path)
    np.testing.assert_array_equal(again.reconstruct(x), model.reconstruct(x))
