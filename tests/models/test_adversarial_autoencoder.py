"""Codes that an adversary drives to the prior."""

from __future__ import annotations

import math

import keras
import numpy as np
import pytest
from keras import ops

from symae_keras.layers import Conv1DEncoder, Conv2DEncoder, DenseEncoder
from symae_keras.models import AdversarialAutoencoder, Autoencoder


def _encoder():
    return DenseEncoder(8, units=(16,))


@pytest.mark.large
def test_codes_follow_the_prior(rng) -> None:
    """The data are not centred and wide, and so are the codes of an autoencoder."""
    x = rng.normal(size=(512, 2)) @ rng.normal(size=(2, 12)) + 1.0
    x = x.astype("float32")
    means, deviations = {}, {}
    for cls, arguments in (
        (Autoencoder, {}),
        (AdversarialAutoencoder, {"adversary_weight": 0.1, "seed": 0}),
    ):
        keras.utils.set_random_seed(0)
        model = cls((12,), code_dim=2, encoder=_encoder(), **arguments)
        model.compile(optimizer=keras.optimizers.Adam(1e-2), loss="mse")
        history = model.fit(x, x, epochs=10, verbose=0).history
        codes = ops.convert_to_numpy(model.encode(x))
        means[cls] = np.abs(codes.mean(axis=0)).max()
        deviations[cls] = np.abs(codes.std(axis=0) - 1.0).max()
    assert means[AdversarialAutoencoder] < 0.3 * means[Autoencoder]
    assert deviations[AdversarialAutoencoder] < 0.3 * deviations[Autoencoder]
    assert history["reconstruction_loss"][-1] < 0.3 * x.var()
    assert history["adversary_loss"][-1] == pytest.approx(math.log(2.0), abs=0.1)


@pytest.mark.jax
def test_terms_add_up(rng) -> None:
    x = rng.normal(size=(20, 12)).astype("float32")
    model = AdversarialAutoencoder((12,), 2, _encoder(), seed=0)
    model.compile(optimizer="adam", loss="mse")
    history = model.fit(x, x, batch_size=8, verbose=0).history
    assert set(history) == {"adversary_loss", "loss", "reconstruction_loss"}
    total = history["adversary_loss"][0] + history["reconstruction_loss"][0]
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
    model = AdversarialAutoencoder(shape, 2, encoder, seed=0)
    first, second = (ops.convert_to_numpy(model.sample(3)) for _ in range(2))
    assert first.shape == (3, *shape)
    assert np.isfinite(first).all()
    assert (first != second).any()
