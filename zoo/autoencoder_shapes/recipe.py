"""A plain autoencoder on simulated images of shapes.

Command: symae train autoencoder_shapes
Cost:    4 minutes or less on 2 CPU cores
Expect:  reconstruction_error 0.037 to 0.057
Data:    simulated, `symae_keras.data.simulate_shapes`: 28 x 28 pixels, 16 views per
         shape
Use:     a baseline for dimensionality reduction without regularisation
Limits:  its single code mixes state and nuisance
Cite:    Hinton & Salakhutdinov, 2006, doi:10.1126/science.1127647
"""

from __future__ import annotations

import keras

from symae_keras.data import GroupedData, simulate_shapes
from symae_keras.models import Autoencoder
from symae_keras.training import Recipe, normalization


def data(seed: int) -> GroupedData:
    """Return 1000 shapes, of which 80 % are used for training."""
    return simulate_shapes(n_states=1000, n_instances=16, seed=seed)


def model(groups: GroupedData, seed: int) -> keras.Model:
    """Return a model with two strided convolutions per network."""
    return Autoencoder(
        groups.instance_shape,
        code_dim=16,
        encoder="conv2d",
        normalization=normalization(groups),
        seed=seed,
    )


RECIPE = Recipe(model=model, data=data, epochs=20, batch_size=64)
