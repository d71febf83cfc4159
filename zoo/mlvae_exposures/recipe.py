"""A multi-level variational autoencoder on simulated spectra of stars.

Command: symae train mlvae_exposures
Cost:    1 minute or less on 2 CPU cores
Expect:  reconstruction_error 0.0051 to 0.0077, redatuming_error 0.7 to 1.1
Data:    simulated, `symae_keras.data.simulate_exposures`, entangled: 256 pixels, 16
         exposures per star, 1 % noise
Use:     a baseline for grouped models; the posterior of a group is the product of the
         posteriors of its instances
Limits:  without the group, the slope of an exposure cannot be separated from that of
         the star, so redatuming fails on entangled exposures
Cite:    Bouchacourt et al., arXiv 1705.08841
"""

from __future__ import annotations

import keras

from symae_keras.data import GroupedData, simulate_exposures
from symae_keras.layers import DenseEncoder
from symae_keras.models import MLVAE
from symae_keras.training import Recipe, normalization


def data(seed: int) -> GroupedData:
    """Return 2500 stars, of which 80 % are used for training."""
    return simulate_exposures(n_states=2500, n_instances=16, seed=seed)


def model(groups: GroupedData, seed: int) -> keras.Model:
    """Return a model with dense networks."""
    return MLVAE(
        groups.instance_shape,
        coherent_dim=8,
        nuisance_dim=8,
        encoder=DenseEncoder(64, units=(256, 128)),
        normalization=normalization(groups),
        seed=seed,
    )


# The shipped weights were trained without annealing.
RECIPE = Recipe(model=model, data=data, epochs=16, kl_annealing=0.0)
