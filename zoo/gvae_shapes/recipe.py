"""A group variational autoencoder on simulated images of shapes.

Command: symae train gvae_shapes
Cost:    5 minutes or less on 2 CPU cores
Expect:  reconstruction_error 0.12 to 0.2, redatuming_error 0.28 to 0.43
Data:    simulated, `symae_keras.data.simulate_shapes`: 28 x 28 pixels, 16 views per
         shape
Use:     a baseline for grouped models; the posterior of a group is the average of the
         posteriors of its instances
Limits:  its nuisance encoder does not use the group
Cite:    Hosoya, arXiv 1809.02383
"""

from __future__ import annotations

import keras

from symae_keras.data import GroupedData, simulate_shapes
from symae_keras.models import GVAE
from symae_keras.training import Recipe, normalization


def data(seed: int) -> GroupedData:
    """Return 1000 shapes, of which 80 % are used for training."""
    return simulate_shapes(n_states=1000, n_instances=16, seed=seed)


def model(groups: GroupedData, seed: int) -> keras.Model:
    """Return a model with two strided convolutions per network."""
    return GVAE(
        groups.instance_shape,
        coherent_dim=16,
        nuisance_dim=8,
        encoder="conv2d",
        normalization=normalization(groups),
        seed=seed,
    )


# The shipped weights were trained without annealing.
RECIPE = Recipe(model=model, data=data, epochs=12, kl_annealing=0.0)
