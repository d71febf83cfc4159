"""Codes that an adversary or a discrepancy matches to the prior."""

from __future__ import annotations

import math

import keras
import numpy as np
import pytest
from keras import ops

from symae_keras.layers import Conv1DEncoder, Conv2DEncoder, DenseEncoder
from symae_keras.models import (
    AdversarialAutoencoder,
    Autoencoder,
    WassersteinAutoencoder,
)


@pytest.mark.large
def test_codes_follow_the_prior(rng) -> None:
    """The data are wide and not centred, and so are the codes of an autoencoder."""
    x = rng.normal(size=(512, 2)) @ rng.normal(size=(2, 12)) + 1.0
    x = x.astype("float32")

    def fit(cls, **arguments):
        """Return the errors of mean and standard deviation, and the history."""
        keras.utils.set_random_seed(0)
        encoder = DenseEncoder(8, units=(16,))
        model = cls((12,), code_dim=2, encoder=encoder, **arguments)
        model.compile(optimizer=keras.optimizers.Adam(1e-2), loss="mse")
        history = model.fit(x, x, epochs=10, verbose=0).history
        codes = ops.convert_to_numpy(model.encode(x))
        errors = codes.mean(axis=0), codes.std(axis=0) - 1.0
        return np.abs(errors).max(axis=1), history

    plain, _ = fit(Autoencoder)
    adversarial, log = fit(AdversarialAutoencoder, adversary_weight=0.1, seed=0)
    assert (adversarial < 0.3 * plain).all()
    assert log["reconstruction_loss"][-1] < 0.3 * x.var()
    assert log["adversary_loss"][-1] == pytest.approx(math.log(2.0), abs=0.1)
    wasserstein, log = fit(WassersteinAutoencoder, seed=0)
    assert (wasserstein < 0.3 * plain).all()
    assert log["reconstruction_loss"][-1] < 0.3 * x.var()
    assert log["mmd_loss"][-1] < 0.5 * log["mmd_loss"][0]


@pytest.mark.jax
@pytest.mark.parametrize("cls", [AdversarialAutoencoder, WassersteinAutoencoder])
@pytest.mark.parametrize(
    ("encoder", "shape"),
    [
        (lambda: DenseEncoder(8, units=(16,)), (12,)),
        (lambda: Conv1DEncoder(8, filters=(3, 4)), (13,)),
        (lambda: Conv2DEncoder(8, filters=(3, 4)), (7, 6, 2)),
    ],
)
def test_samples(encoder, shape, cls) -> None:
    model = cls(shape, 2, encoder(), seed=0)
    first, second = (ops.convert_to_numpy(model.sample(3)) for _ in range(2))
    assert first.shape == (3, *shape)
    assert np.isfinite(first).all()
    assert (first != second).any()
