"""A vector-quantised autoencoder, 16 symbols out of 128, on simulated spectra of stars.

Command: symae train vqvae_exposures
Cost:    under a minute on 2 CPU cores
Expect:  reconstruction_error 0.007 to 0.011
Data:    simulated, `symae_keras.data.simulate_exposures`, entangled: 256 pixels, 16
         exposures per star, 1 % noise
Use:     a baseline for discrete codes; compression
Limits:  a code of few bits cannot represent continuous variation exactly
Cite:    van den Oord et al., arXiv 1711.00937
"""

from __future__ import annotations

import keras

from symae_keras.data import GroupedData, simulate_exposures
from symae_keras.layers import DenseEncoder
from symae_keras.models import VQVAE
from symae_keras.training import Recipe, normalization


def data(seed: int) -> GroupedData:
    """Return 2500 stars, of which 80 % are used for training."""
    return simulate_exposures(n_states=2500, n_instances=16, seed=seed)


def model(groups: GroupedData, seed: int) -> keras.Model:
    """Return a model with dense networks."""
    return VQVAE(
        groups.instance_shape,
        n_latents=16,
        embedding_dim=8,
        n_embeddings=128,
        encoder=DenseEncoder(64, units=(256, 128)),
        normalization=normalization(groups),
        seed=seed,
    )


RECIPE = Recipe(model=model, data=data, epochs=16, batch_size=128)
