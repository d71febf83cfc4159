"""SymAE with the original nuisance encoder on the entangled exposures benchmark.

Command: symae train symae_exposures_original
Cost:    about 1 minute on 2 CPU cores (4000 steps of 16 groups x 8 instances)
Expect:  redatuming error 0.6 to 0.8 on new stars, which is failure: one exposure does
         not tell the star's slope from the instrument's
"""

from __future__ import annotations

import keras

from symae_keras.data import GroupedData, simulate_exposures
from symae_keras.models import SymAE
from symae_keras.training import Recipe, normalization


def data(seed: int) -> GroupedData:
    """2500 stars; four in five are trained on."""
    return simulate_exposures(n_states=2500, n_instances=16, seed=seed)


def model(groups: GroupedData, seed: int) -> keras.Model:
    """Dense networks with codes of eight numbers each."""
    return SymAE(
        groups.instance_shape,
        coherent_dim=8,
        nuisance_dim=8,
        conditional_nuisance=False,
        normalization=normalization(groups),
        seed=seed,
    )


RECIPE = Recipe(model=model, data=data, epochs=32)
