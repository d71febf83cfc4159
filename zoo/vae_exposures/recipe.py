"""A variational autoencoder on simulated spectra of stars.

Command: symae train vae_exposures
Cost:    under a minute on 2 CPU cores
Expect:  reconstruction_error 0.0048 to 0.0074
Data:    simulated, `symae_keras.data.simulate_exposures`, entangled: 256 pixels, 16
         exposures per star, 1 % noise
Use:     a baseline for codes with a prior; generation
Limits:  samples are smoother than the data; the single code mixes state and nuisance
Cite:    Kingma & Welling, arXiv 1312.6114
"""

from __future__ import annotations

import keras

from symae_keras.data import GroupedData, simulate_exposures
from symae_keras.layers import DenseEncoder
from symae_keras.models import VAE
from symae_keras.training import Recipe, normalization


def data(seed: int) -> GroupedData:
    """Return 2500 stars, of which 80 % are used for training."""
    return simulate_exposures(n_states=2500, n_instances=16, seed=seed)


def model(groups: GroupedData, seed: int) -> keras.Model:
    """Return a model with dense networks."""
    return VAE(
        groups.instance_shape,
        code_dim=16,
        kl_weight=1e-3,
        encoder=DenseEncoder(64, units=(256, 128)),
        normalization=normalization(groups),
        seed=seed,
    )


RECIPE = Recipe(model=model, data=data, epochs=16, batch_size=128)
