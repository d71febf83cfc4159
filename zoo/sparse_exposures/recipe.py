"""A sparse autoencoder, 16 numbers of 128 active, on simulated spectra of stars.

Command: symae train sparse_exposures
Cost:    under a minute on 2 CPU cores
Expect:  reconstruction_error 0.0048 to 0.0074
Data:    simulated, `symae_keras.data.simulate_exposures`, entangled: 256 pixels, 16
         exposures per star, 1 % noise
Use:     a baseline for overcomplete codes
Limits:  the set of active numbers alone is not informative
Cite:    Makhzani & Frey, k-sparse autoencoders, arXiv 1312.5663
"""

from __future__ import annotations

import keras

from symae_keras.data import GroupedData, simulate_exposures
from symae_keras.layers import DenseEncoder
from symae_keras.models import SparseAutoencoder
from symae_keras.training import Recipe, normalization


def data(seed: int) -> GroupedData:
    """Return 2500 stars, of which 80 % are used for training."""
    return simulate_exposures(n_states=2500, n_instances=16, seed=seed)


def model(groups: GroupedData, seed: int) -> keras.Model:
    """Return a model with dense networks."""
    return SparseAutoencoder(
        groups.instance_shape,
        code_dim=128,
        sparsity="top_k",
        n_active=16,
        encoder=DenseEncoder(64, units=(256, 128)),
        normalization=normalization(groups),
        seed=seed,
    )


RECIPE = Recipe(model=model, data=data, epochs=16, batch_size=128)
