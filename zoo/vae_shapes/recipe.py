"""A variational autoencoder on simulated images of shapes.

Command: symae train vae_shapes
Cost:    5 minutes or less on 2 CPU cores
Expect:  reconstruction_error 0.061 to 0.093
Data:    simulated, `symae_keras.data.simulate_shapes`: 28 x 28 pixels, 16 views per
         shape
Use:     a baseline for codes with a prior; generation
Limits:  samples are smoother than the data; the single code mixes state and nuisance
Cite:    Kingma & Welling, arXiv 1312.6114
"""

from __future__ import annotations

import keras

from symae_keras.data import GroupedData, simulate_shapes
from symae_keras.models import VAE
from symae_keras.training import Recipe, normalization


def data(seed: int) -> GroupedData:
    """Return 1000 shapes, of which 80 % are used for training."""
    return simulate_shapes(n_states=1000, n_instances=16, seed=seed)


def model(groups: GroupedData, seed: int) -> keras.Model:
    """Return a model with two strided convolutions per network."""
    return VAE(
        groups.instance_shape,
        code_dim=16,
        kl_weight=1e-2,
        encoder="conv2d",
        normalization=normalization(groups),
        seed=seed,
    )


RECIPE = Recipe(model=model, data=data, epochs=20, batch_size=64)
