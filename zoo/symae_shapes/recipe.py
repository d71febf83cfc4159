"""SymAE with convolutions and the conditional nuisance encoder on images of shapes.

Command: symae train symae_shapes
Cost:    5 minutes or less on 2 CPU cores
Expect:  reconstruction_error 0.12 to 0.19, redatuming_error 0.16 to 0.26
Data:    simulated, `symae_keras.data.simulate_shapes`: 28 x 28 pixels, 16 views per
         shape
Use:     redatuming of such images
Limits:  trained only on shapes of the simulator; reconstructed edges are too smooth
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
        conditional_nuisance=True,
        normalization=normalization(groups),
        seed=seed,
    )


RECIPE = Recipe(model=model, data=data, epochs=20)
