"""A vector-quantised autoencoder, 16 symbols out of 128, on simulated images of shapes.

Command: symae train vqvae_shapes
Cost:    5 minutes or less on 2 CPU cores
Expect:  reconstruction_error 0.051 to 0.077
Data:    simulated, `symae_keras.data.simulate_shapes`: 28 x 28 pixels, 16 views per
         shape
Use:     a baseline for discrete codes; compression
Limits:  a code of few bits cannot represent continuous variation exactly
Cite:    van den Oord et al., arXiv 1711.00937
"""

from __future__ import annotations

import keras

from symae_keras.data import GroupedData, simulate_shapes
from symae_keras.models import VQVAE
from symae_keras.training import Recipe, normalization


def data(seed: int) -> GroupedData:
    """Return 1000 shapes, of which 80 % are used for training."""
    return simulate_shapes(n_states=1000, n_instances=16, seed=seed)


def model(groups: GroupedData, seed: int) -> keras.Model:
    """Return a model with two strided convolutions per network."""
    return VQVAE(
        groups.instance_shape,
        n_latents=16,
        embedding_dim=8,
        n_embeddings=128,
        encoder="conv2d",
        normalization=normalization(groups),
        seed=seed,
    )


RECIPE = Recipe(model=model, data=data, epochs=20, batch_size=64)
