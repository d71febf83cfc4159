"""A U-Net that denoises images of shapes.

Command: symae train unet_shapes
Cost:    3 minutes or less on 2 CPU cores
Expect:  reconstruction_error 0.041 to 0.067, snr_gain_db 12 to 16
Data:    simulated, `symae_keras.data.simulate_shapes`: 28 x 28 pixels, 16 views per
         shape, of which two are used in each epoch
Use:     a filter for white noise of about 0.15 in such images
Limits:  not trained for other kinds of noise or other images
Cite:    Ronneberger, Fischer & Brox, arXiv 1505.04597
"""

from __future__ import annotations

import keras
import numpy as np

from symae_keras.data import GroupedData, simulate_shapes
from symae_keras.evaluation import in_batches, snr_gain
from symae_keras.layers import GaussianCorruption
from symae_keras.models import UNet
from symae_keras.training import Recipe, normalization

#: Standard deviation of the noise.
NOISE = 0.15


def data(seed: int) -> GroupedData:
    """Return 1000 shapes, of which 80 % are used for training."""
    return simulate_shapes(n_states=1000, n_instances=16, seed=seed)


def model(groups: GroupedData, seed: int) -> keras.Model:
    """Return a model of three depths that adds noise only in training."""
    return UNet(
        groups.instance_shape,
        head="denoising",
        filters=(8, 16, 32),
        corruption=GaussianCorruption(NOISE),
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


RECIPE = Recipe(
    model=model, data=data, epochs=16, batch_size=32, instances=2, score=score
)
