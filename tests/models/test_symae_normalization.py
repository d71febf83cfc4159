"""Scaling inside the model: outputs in data units."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import ops

from symae_keras.models import SymAE

pytestmark = pytest.mark.jax


def _known(mean, variance):
    return keras.layers.Normalization(mean=mean, variance=variance)


def _silence_decoder(model: SymAE) -> None:
    for weight in model.instance_decoder.weights:
        weight.assign(ops.zeros(weight.shape))


def test_outputs_are_in_data_units(tiny, x, rng) -> None:
    """A decoder that says nothing gives the mean; one that says 1, mean + deviation."""
    mean, variance = rng.normal(size=12) * 100.0, rng.uniform(1.0, 900.0, 12)
    model = tiny(normalization=_known(mean, variance))
    _silence_decoder(model)
    expected = np.broadcast_to(np.float32(mean), x.shape)
    np.testing.assert_allclose(model(x), expected, rtol=1e-6)
    np.testing.assert_allclose(model.redatum(x, x), expected, rtol=1e-6)
    bias = model.instance_decoder.layer.weights[-1]
    bias.assign(ops.ones(bias.shape))
    expected = np.broadcast_to(np.float32(mean + np.sqrt(variance)), x.shape)
    np.testing.assert_allclose(model(x), expected, rtol=1e-5)


def test_codes_do_not_depend_on_the_units(tiny, x, mask, rng) -> None:
    """Other units with their own normalisation give the same codes."""
    scale, offset = rng.uniform(0.1, 10.0, 12), rng.normal(size=12)
    plain = tiny(normalization=_known(np.zeros(12), np.ones(12)))
    scaled = tiny(normalization=_known(offset, scale**2))
    scaled.set_weights(plain.get_weights())
    y = np.float32(x * scale + offset)
    codes, others = plain.encode(x, mask), scaled.encode(y, mask)
    np.testing.assert_allclose(others.coherent, codes.coherent, atol=1e-4)
    nuisance = np.asarray(codes.nuisance)[mask]
    np.testing.assert_allclose(np.asarray(others.nuisance)[mask], nuisance, atol=1e-4)
    expected = np.asarray(plain.reconstruct(x, mask)) * scale + offset
    reconstruction = np.asarray(scaled.reconstruct(y, mask))
    np.testing.assert_allclose(reconstruction[mask], expected[mask], atol=1e-3)


@pytest.mark.parametrize("how", ["known", "one number", "adapted", "adapted to rows"])
def test_normalization_survives_saving(how, tiny, x, tmp_path) -> None:
    x = x * 30.0 + 500.0
    if how == "known":
        layer = _known(x.mean(axis=(0, 1)), x.var(axis=(0, 1)))
    elif how == "one number":
        layer = keras.layers.Normalization(axis=None, mean=500.0, variance=900.0)
    else:
        layer = keras.layers.Normalization()
        layer.adapt(x if how == "adapted" else x.reshape(-1, 12))
    model = tiny(normalization=layer)
    reconstruction = np.asarray(model(x))
    assert abs(reconstruction.mean() - 500.0) < 50.0
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(again(x), reconstruction)


def test_a_constant_pixel_is_harmless(tiny, x) -> None:
    x[..., 3] = 7.0
    model = tiny(normalization=_known(x.mean(axis=(0, 1)), x.var(axis=(0, 1))))
    reconstruction = np.asarray(model(x))
    assert np.isfinite(reconstruction).all()
    np.testing.assert_allclose(reconstruction[..., 3], 7.0, rtol=1e-4)
