"""Global settings of Keras: axes of channels, float dtype, other precisions."""

from __future__ import annotations

import json

import keras
import numpy as np
import pytest
from conformance import CASES

from symae_keras.layers import TransposedConv2D

_FIRST = {case.model: name for name, case in reversed(CASES.items())}
each_model = pytest.mark.parametrize("name", _FIRST.values())

#: Cases with convolutions, pooling, upsampling, or an image that is flattened.
_MAPS = (
    "autoencoder-decay",
    "autoencoder-image",
    "denoising-block",
    "unet-inpainting",
    "unet-segmentation",
    "segnet",
    "segnet-spectra",
    "stellar",
    "segresnet_vae",
    "segresnet_vae-plain",
    "symae-original",
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
def test_channels_first_changes_nothing(name, tmp_path) -> None:
    """Models are channels last, whatever the setting says."""
    case = CASES[name]
    x, model = case.data(3), case.build()
    expected = np.asarray(model.reconstruct(x))
    model.save(tmp_path / "model.keras")
    keras.config.set_image_data_format("channels_first")
    try:
        fresh = case.build()
        shapes = [each.shape for each in fresh.weights]
        assert shapes == [each.shape for each in model.weights]
        fresh.set_weights(model.get_weights())
        again = keras.saving.load_model(tmp_path / "model.keras")
        for each in (fresh, again):
            np.testing.assert_allclose(each.reconstruct(x), expected, rtol=1e-6)
    finally:
        keras.config.set_image_data_format("channels_last")


def test_public_layers_are_channels_last(channels_first) -> None:
    layer = TransposedConv2D(2, kernel_size=3, strides=2, padding=1)
    assert layer(np.ones((1, 2, 5, 1), "float32")).shape == (1, 3, 9, 2)
    with pytest.raises(ValueError, match="`data_format`.*'channels_last'"):
        TransposedConv2D(2, 3, data_format="channels_first")


@pytest.mark.large
@pytest.mark.parametrize("masked", [False, True])
@each_model
def test_float64_trains(name, masked, float64) -> None:
    case = CASES[name]
    model, x = case.build(), case.data(4).astype("float64")
    y = case.targets(x)
    case.compile(model, run_eagerly=True)
    inputs = {"instances": x, "mask": np.ones(x.shape, bool)} if masked else x
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
