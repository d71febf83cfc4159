"""SymAE with convolutions and the original nuisance encoder on images of shapes.

Command: symae train symae_shapes_original
Cost:    10 minutes or less on 2 CPU cores
Expect:  reconstruction_error 0.11 to 0.18, redatuming_error 0.16 to 0.26
Data:    simulated, `symae_keras.data.simulate_shapes`: 28 x 28 pixels, 16 views per
         shape
Use:     redatuming of such images
Limits:  the nuisance encoder uses only one instance, not the group: if an instance
         does not identify its nuisance, redatuming fails
Cite:    Bharadwaj, Li & Demanet, arXiv 2108.02537
"""

from __future__ import annotations

import keras

from symae_keras.data import GroupedData, simulate_shapes
from symae_keras.models import SymAE
from symae_keras.training import Recipe, normalization


def data(seed: int) -> GroupedData:
    """Return 1000 shapes, of which 80 % are used for training."""
    return simulate_shapes(n_states=1000, n_instances=16, seed=seed)


def model(groups: GroupedData, seed: int) -> keras.Model:
    """Return a model with two strided convolutions per network."""
    return SymAE(
        groups.instance_shape,
        coherent_dim=16,
        nuisance_dim=8,
        encoder="conv2d",
        conditional_nuisance=False,
        normalization=normalization(groups),
        seed=seed,
    )


RECIPE = Recipe(model=model, data=data, epochs=20)
