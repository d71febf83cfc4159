"""A denoising autoencoder on simulated images of shapes.

Command: symae train denoising_shapes
Cost:    4 minutes or less on 2 CPU cores
Expect:  reconstruction_error 0.071 to 0.11, snr_gain_db 13 to 16
Data:    simulated, `symae_keras.data.simulate_shapes`: 28 x 28 pixels, 16 views per
         shape
Use:     a filter for white noise of about 0.15, and a baseline
Limits:  its single code mixes state and nuisance; it was not trained for other
         kinds of noise
Cite:    Vincent et al., 2010, Journal of Machine Learning Research 11
"""

from __future__ import annotations

import keras
import numpy as np

from symae_keras.data import GroupedData, simulate_shapes
from symae_keras.evaluation import in_batches, snr_gain
from symae_keras.layers import GaussianCorruption
from symae_keras.models import DenoisingAutoencoder
from symae_keras.training import Recipe, normalization

#: Standard deviation of the noise.
NOISE = 0.15


def data(seed: int) -> GroupedData:
    """Return 1000 shapes, of which 80 % are used for training."""
    return simulate_shapes(n_states=1000, n_instances=16, seed=seed)


def model(groups: GroupedData, seed: int) -> keras.Model:
    """Return a model with two strided convolutions per network."""
    return DenoisingAutoencoder(
        groups.instance_shape,
        code_dim=16,
        corruption=GaussianCorruption(NOISE),
        encoder="conv2d",
        normalization=normalization(groups),
        seed=seed,
    )


def score(
    model: keras.Model, train: GroupedData, held_out: GroupedData
) -> dict[str, float]:
    """Return the gain on new noise, with respect to the noise-free ground truth."""
    if held_out.render is None:
        return {}
    group, instance = np.indices(held_out.x.shape[:2])
    clean = held_out.virtual(group, group, instance)
    clean = clean.reshape(-1, *held_out.instance_shape)
    noise = np.random.default_rng(0).normal(0.0, NOISE, clean.shape)
    noisy = (clean + noise).astype("float32")
    return {"snr_gain_db": snr_gain(clean, noisy, in_batches(model.reconstruct, noisy))}


RECIPE = Recipe(model=model, data=data, epochs=20, batch_size=64, score=score)
