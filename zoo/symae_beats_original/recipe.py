"""SymAE with the original nuisance encoder on simulated heartbeats.

Command: symae train symae_beats_original
Cost:    3 minutes or less on 2 CPU cores
Expect:  reconstruction_error 0.02 to 0.04, redatuming_error 0.08 to 0.13
Data:    simulated, `symae_keras.data.simulate_beats`: 200 samples at 250 Hz in mV, 16
         beats per patient, no ectopic beats
Use:     comparison of the original form with the conditional one
Limits:  trained only on simulated beats; not suitable for measured electrocardiograms
         or medical use
Cite:    Bharadwaj, Li & Demanet, arXiv 2108.02537
"""

from __future__ import annotations

import keras

from symae_keras.data import GroupedData, simulate_beats
from symae_keras.layers import DenseEncoder
from symae_keras.models import SymAE
from symae_keras.training import Recipe, normalization


def data(seed: int) -> GroupedData:
    """Return 1000 patients, of which 80 % are used for training."""
    return simulate_beats(n_states=1000, n_instances=16, seed=seed)


def model(groups: GroupedData, seed: int) -> keras.Model:
    """Return small dense networks that can encode the state from one beat."""
    return SymAE(
        groups.instance_shape,
        coherent_dim=16,
        nuisance_dim=8,
        encoder=DenseEncoder(128, units=(256, 128)),
        conditional_nuisance=False,
        instance_dropout=0.5,
        normalization=normalization(groups),
        seed=seed,
    )


RECIPE = Recipe(model=model, data=data, epochs=24)
