"""Global settings of Keras, and units that half precision cannot hold."""

from __future__ import annotations

import json

import keras
import numpy as np
import pytest
from conformance import CASES, FIRST, silence_decoder
from keras import ops

from symae_keras import layers
from symae_keras.losses import RelativeMeanSquaredError
from symae_keras.models import VAE, DenoisingAutoencoder, LatentMeanSwap, SymAE

#: Cases with convolutions, pooling, upsampling, or an image that is flattened.
_MAPS = (
    *("autoencoder-decay", "autoencoder-image", "denoising-block", "stellar"),
    *("unet-inpainting", "unet-segmentation", "segnet", "segnet-spectra"),
    *("segresnet_vae", "segresnet_vae-plain", "symae-original"),
)


@pytest.fixture
def channels_first():
    keras.config.set_image_data_format("channels_first")
    yield
    keras.config.set_image_data_format("channels_last")


@pytest.fixture
def float64():
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    yield
    keras.config.set_floatx("float32")


@pytest.mark.large
@pytest.mark.jax
@pytest.mark.parametrize("name", _MAPS)
def test_channels_first_changes_nothing(name, channels_first, tmp_path) -> None:
    """Models are channels last for every global setting."""
    case = CASES[name]
    keras.config.set_image_data_format("channels_last")
    x, model = case.data(3), case.build()
    expected = np.asarray(model.reconstruct(x))
    model.save(tmp_path / "model.keras")
    keras.config.set_image_data_format("channels_first")
    fresh = case.build()
    assert [w.shape for w in fresh.weights] == [w.shape for w in model.weights]
    fresh.set_weights(model.get_weights())
    again = keras.saving.load_model(tmp_path / "model.keras")
    for each in (fresh, again):
        np.testing.assert_allclose(each.reconstruct(x), expected, rtol=1e-6)


def test_public_layers_are_channels_last(channels_first) -> None:
    layer = layers.TransposedConv2D(2, kernel_size=3, strides=2, padding=1)
    assert layer(np.ones((1, 2, 5, 1), "float32")).shape == (1, 3, 9, 2)
    with pytest.raises(ValueError, match="`data_format`.*'channels_last'"):
        layers.TransposedConv2D(2, 3, data_format="channels_first")


@pytest.mark.large
@pytest.mark.parametrize("name", FIRST)
def test_float64_trains(name, float64) -> None:
    case = CASES[name]
    model, x = case.build(), case.data(4).astype("float64")
    y = case.targets(x)
    case.compile(model, run_eagerly=True)
    inputs = {"instances": x, "mask": np.ones(x.shape, bool)}
    logs = model.train_on_batch(inputs, y, return_dict=True)
    assert all(np.isfinite(value) for value in logs.values())
    floats = {each.dtype for each in model.trainable_variables}
    assert floats == {"float64"}
    assert model.predict(x, verbose=0).dtype == "float64"
    json.dumps(model.get_config())


@pytest.mark.parametrize("name", ["vae", "wasserstein", "linear", "sparse-l1"])
def test_float64_generates(name, float64) -> None:
    model = CASES[name].build()
    for method in ("sample", "components", "atoms"):
        if hasattr(model, method):
            made = getattr(model, method)(*[5] * (method == "sample"))
            assert np.isfinite(np.asarray(made)).all()


# === Half precision ===

HALF = "mixed_float16"


def _encoder() -> keras.Layer:
    return layers.DenseEncoder(8, units=(16,), dtype=HALF)


def _made(cls: type, scaling: keras.Layer, *arguments, **options):
    return cls((12,), *arguments, normalization=scaling, seed=0, dtype=HALF, **options)


def _symae(scaling: keras.Layer) -> SymAE:
    return _made(SymAE, scaling, 3, 2, _encoder())


def _mean_swap(scaling: keras.Layer) -> LatentMeanSwap:
    return LatentMeanSwap(_made(VAE, scaling, 4, _encoder()), dtype=HALF)


def _denoising(scaling: keras.Layer) -> DenoisingAutoencoder:
    options = {"corruption": "masking"}
    return _made(DenoisingAutoencoder, scaling, 4, _encoder(), **options)


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
    silence_decoder(half)
    expected = np.broadcast_to(mean, x.shape)
    np.testing.assert_allclose(half.reconstruct(x), expected, rtol=1e-5)


@pytest.mark.parametrize("sign", [-1.0, 1.0])
@pytest.mark.parametrize("policy", ["float32", HALF])
def test_wild_codes_come_back(policy, sign) -> None:
    """The prior has an extreme width, and codes are far from its mean."""
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
