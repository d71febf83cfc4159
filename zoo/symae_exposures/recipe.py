"""SymAE with the conditional nuisance encoder on the entangled exposures benchmark.

Command: symae train symae_exposures
Cost:    2 minutes on 2 CPU cores
Expect:  reconstruction_error 0.0031 to 0.0050, redatuming_error 0.021 to 0.034
Data:    simulated, `symae_keras.data.simulate_exposures`, entangled: 256 pixels, 16
         exposures per star, 1 % noise
Use:     redatuming of such spectra; a start for your own recipe
Limits:  trained only on stars, bands and the instrument of the simulator; a slope that
         all exposures of a star share is attributed to the star
Cite:    Bharadwaj, Li & Demanet, arXiv 2108.02537
"""

from __future__ import annotations

import keras

from symae_keras.data import GroupedData, simulate_exposures
from symae_keras.layers import DenseEncoder
from symae_keras.models import SymAE
from symae_keras.training import Recipe, normalization


def data(seed: int) -> GroupedData:
    """Return 2500 stars, of which 80 % are used for training."""
    return simulate_exposures(n_states=2500, n_instances=16, seed=seed)


def model(groups: GroupedData, seed: int) -> keras.Model:
    """Return a model with dense networks and two codes of eight numbers.

    From few groups of your own data, training starts at a linear mixed model.
    """
    return SymAE(
        groups.instance_shape,
        coherent_dim=8,
        nuisance_dim=8,
        encoder=DenseEncoder(128, units=(256, 128)),
        conditional_nuisance=True,
        normalization=normalization(groups),
        seed=seed,
        backbone="linear" if len(groups) < 128 else None,
    )


# Muon costs the same for any size of the batch. Noise that is strong at first keeps the
# state out of the nuisance code; weak noise at the end lets this code hold more detail.
# With your own data, `symae train` uses Adam and constant noise.
RECIPE = Recipe(
    model=model,
    data=data,
    epochs=40,
    batch_size=64,
    optimizer="muon",
    learning_rate=1e-2,
    final_noise=0.2,
)
