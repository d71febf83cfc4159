"""A sparse autoencoder, 16 numbers of 128 active, on simulated images of shapes.

Command: symae train sparse_shapes
Cost:    7 minutes or less on 2 CPU cores
Expect:  reconstruction_error 0.04 to 0.061
Data:    simulated, `symae_keras.data.simulate_shapes`: 28 x 28 pixels, 16 views per
         shape
Use:     a baseline for overcomplete codes
Limits:  the set of active numbers alone is not informative
Cite:    Makhzani & Frey, k-sparse autoencoders, arXiv 1312.5663
"""

from __future__ import annotations

import keras

from symae_keras.data import GroupedData, simulate_shapes
from symae_keras.models import SparseAutoencoder
from symae_keras.training import Recipe, normalization


def data(seed: int) -> GroupedData:
    """Return 1000 shapes, of which 80 % are used for training."""
    return simulate_shapes(n_states=1000, n_instances=16, seed=seed)


def model(groups: GroupedData, seed: int) -> keras.Model:
    """Return a model with two strided convolutions per network."""
    return SparseAutoencoder(
        groups.instance_shape,
        code_dim=128,
        sparsity="top_k",
        n_active=16,
        encoder="conv2d",
        normalization=normalization(groups),
        seed=seed,
    )


RECIPE = Recipe(model=model, data=data, epochs=20, batch_size=64)
