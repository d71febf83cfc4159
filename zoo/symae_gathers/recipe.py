"""SymAE with a ray-based decoder on shot gathers from unknown sources.

Command: symae train symae_gathers
Cost:    5 minutes or less on 2 CPU cores
Expect:  reconstruction_error 0.003 to 0.006, redatuming_error 0.001 to 0.003
Data:    simulated, `symae_keras.data.simulate_gathers`: 24 receivers on a ring of
         radius 0.6 km, 96 samples of 0.01 s, 8 shots through each medium
Use:     time-lapse monitoring with uncontrolled sources; coherent codes are maps of
         the slowness of the medium
Limits:  only for this ring of receivers and this frequency band; sources must be
         outside the ring and have one wavelet for all directions, and anomalies must
         delay waves by less than about one period
Cite:    Bharadwaj, Li & Demanet, arXiv 2108.02537
"""

from __future__ import annotations

import keras
import numpy as np

from symae_keras.data import GroupedData, simulate_gathers
from symae_keras.models import TomographicSymAE
from symae_keras.training import Recipe


def data(seed: int) -> GroupedData:
    """Return 250 media, of which 80 % are used for training."""
    return simulate_gathers(n_states=250, n_instances=8, seed=seed)


def model(groups: GroupedData, seed: int) -> keras.Model:
    """Return a model with receivers on a ring, of which the first is in the east."""
    n_receivers = groups.instance_shape[0]
    angle = 2.0 * np.pi * np.arange(n_receivers) / n_receivers
    receivers = 0.6 * np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    return TomographicSymAE(groups.instance_shape, receivers.tolist(), seed=seed)


RECIPE = Recipe(
    model=model, data=data, epochs=4, batch_size=8, learning_rate=0.02, min_updates=0
)
