"""A multi-level variational autoencoder, on simulated images of shapes.

Command: symae train mlvae_shapes
Cost:    6 minutes or less on 2 CPU cores
Expect:  reconstruction_error 0.12 to 0.19, redatuming_error 0.23 to 0.35
Data:    simulated, `symae_keras.data.simulate_shapes`: 28 x 28 pixels, 16 views a
         shape
Use:     a baseline of grouped models; the posterior of a group is the product of those
         of its instances
Limits:  its nuisance code is found without knowledge of the group
Cite:    Bouchacourt et al., arXiv 1705.08841
"""

from __future__ import annotations

import keras

from symae_keras.data import GroupedData, simulate_shapes
from symae_keras.models import MLVAE
from symae_keras.training import Recipe, normalization


def data(seed: int) -> GroupedData:
    """1000 shapes; four in five are trained on."""
    return simulate_shapes(n_states=1000, n_instances=16, seed=seed)


def model(groups: GroupedData, seed: int) -> keras.Model:
    """Two strided convolutions each way."""
    return MLVAE(
        groups.instance_shape,
        coherent_dim=16,
        nuisance_dim=8,
        encoder="conv2d",
        normalization=normalization(groups),
        seed=seed,
    )


# The shipped weights are older than annealing.
RECIPE = Recipe(model=model, data=data, epochs=12, kl_annealing=0.0)
