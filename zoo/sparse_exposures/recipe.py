"""A sparse autoencoder, 16 numbers of 128 active, on simulated spectra of stars.

Command: symae train sparse_exposures
Cost:    under a minute on 2 CPU cores
Expect:  reconstruction_error 0.0048 to 0.0074
Data:    simulated, `symae_keras.data.simulate_exposures`, entangled: 256 pixels, 16
         exposures a star, 1 % noise
Use:     a baseline of overcomplete codes
Limits:  which numbers are active says little by itself
Cite:    Makhzani & Frey, k-sparse autoencoders, arXiv 1312.5663
"""

from __future__ import annotations

import keras

from symae_keras.data import GroupedData, simulate_exposures
from symae_keras.layers import DenseEncoder
from symae_keras.models import SparseAutoencoder
from symae_keras.training import Recipe, normalization


def data(seed: int) -> GroupedData:
    """2500 stars; four in five are trained on."""
    return simulate_exposures(n_states=2500, n_instances=16, seed=seed)


def model(groups: GroupedData, seed: int) -> keras.Model:
    """Dense networks."""
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
