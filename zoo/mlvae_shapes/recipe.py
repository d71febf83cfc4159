"""A multi-level variational autoencoder on simulated images of shapes.

Command: symae train mlvae_shapes
Cost:    6 minutes or less on 2 CPU cores
Expect:  reconstruction_error 0.12 to 0.19, redatuming_error 0.23 to 0.35
Data:    simulated, `symae_keras.data.simulate_shapes`: 28 x 28 pixels, 16 views per
         shape
Use:     a baseline for grouped models; the posterior of a group is the product of the
         posteriors of its instances
Limits:  its nuisance encoder does not use the group
Cite:    Bouchacourt et al., arXiv 1705.08841
"""

from __future__ import annotations

import keras

from symae_keras.data import GroupedData, simulate_shapes
from symae_keras.models import MLVAE
from symae_keras.training import Recipe, normalization


def data(seed: int) -> GroupedData:
    """Return 1000 shapes, of which 80 % are used for training."""
    return simulate_shapes(n_states=1000, n_instances=16, seed=seed)


def model(groups: GroupedData, seed: int) -> keras.Model:
    """Return a model with two strided convolutions per network."""
    return MLVAE(
        groups.instance_shape,
        coherent_dim=16,
        nuisance_dim=8,
        encoder="conv2d",
        normalization=normalization(groups),
        seed=seed,
    )


# The shipped weights were trained without annealing.
RECIPE = Recipe(model=model, data=data, epochs=12, kl_annealing=0.0)
