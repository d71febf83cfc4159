"""Codes that a discrepancy drives to the prior."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import ops

from symae_keras.layers import Conv1DEncoder, Conv2DEncoder, DenseEncoder
from symae_keras.models import Autoencoder, WassersteinAutoencoder


def _encoder():
    return DenseEncoder(8, units=(16,))


@pytest.mark.large
def test_codes_follow_the_prior(rng) -> None:
    """The data are not centred and wide, and so are the codes of an autoencoder."""
    x = rng.normal(size=(512, 2)) @ rng.normal(size=(2, 12)) + 1.0
    x = x.astype("float32")
    means, deviations = {}, {}
    for cls, arguments in ((Autoencoder, {}), (WassersteinAutoencoder, {"seed": 0})):
        keras.utils.set_random_seed(0)
        model = cls((12,), code_dim=2, encoder=_encoder(), **arguments)
        model.compile(optimizer=keras.optimizers.Adam(1e-2), loss="mse")
        history = model.fit(x, x, epochs=10, verbose=0).history
        codes = ops.convert_to_numpy(model.encode(x))
        means[cls] = np.abs(codes.mean(axis=0)).max()
        deviations[cls] = np.abs(codes.std(axis=0) - 1.0).max()
    assert means[WassersteinAutoencoder] < 0.3 * means[Autoencoder]
    assert deviations[WassersteinAutoencoder] < 0.3 * deviations[Autoencoder]
    assert history["reconstruction_loss"][-1] < 0.3 * x.var()
    assert history["mmd_loss"][-1] < 0.5 * history["mmd_loss"][0]


@pytest.mark.jax
def test_terms_add_up(rng) -> None:
    x = rng.normal(size=(20, 12)).astype("float32")
    model = WassersteinAutoencoder((12,), 2, _encoder(), seed=0)
    model.compile(optimizer="adam", loss="mse")
    history = model.fit(x, x, batch_size=8, verbose=0).history
    assert set(history) == {"loss", "mmd_loss", "reconstruction_loss"}
    total = history["mmd_loss"][0] + history["reconstruction_loss"][0]
    assert history["loss"][0] == pytest.approx(total, rel=1e-5)


@pytest.mark.jax
@pytest.mark.parametrize(
    ("encoder", "shape"),
    [
        (_encoder(), (12,)),
        (Conv1DEncoder(8, filters=(3, 4)), (13,)),
        (Conv2DEncoder(8, filters=(3, 4)), (7, 6, 2)),
    ],
)
def test_samples(encoder, shape) -> None:
    model = WassersteinAutoencoder(shape, 2, encoder, seed=0)
    first, second = (ops.convert_to_numpy(model.sample(3)) for _ in range(2))
    assert first.shape == (3, *shape)
    assert np.isfinite(first).all()
    assert (first != second).any()
