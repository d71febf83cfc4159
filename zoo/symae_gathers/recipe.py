"""Gathers of waves from unknown sources: SymAE whose decoder knows rays.

Command: symae train symae_gathers
Cost:    5 minutes or less on 2 CPU cores
Expect:  reconstruction_error 0.003 to 0.006, redatuming_error 0.001 to 0.003
Data:    simulated, `symae_keras.data.simulate_gathers`: 24 receivers on a ring of
         radius 0.6 km, 96 samples of 0.01 s, 8 shots through each medium
Use:     time-lapse monitoring with sources that nobody controls; codes are pictures of
         the slowness of the medium
Limits:  for this ring of receivers and band of frequencies alone; sources outside of
         the ring, one wavelet for all directions, anomalies that delay waves by less
         than about a period
Cite:    Bharadwaj, Li & Demanet, arXiv 2108.02537
"""

from __future__ import annotations

import keras
import numpy as np

from symae_keras.data import GroupedData, simulate_gathers
from symae_keras.models import TomographicSymAE
from symae_keras.training import Recipe


def data(seed: int) -> GroupedData:
    """250 media; 80 % are used for training."""
    return simulate_gathers(n_states=250, n_instances=8, seed=seed)


def model(groups: GroupedData, seed: int) -> keras.Model:
    """Receivers stand on a ring, the first one in the east; sources are unknown."""
    n_receivers = groups.instance_shape[0]
    angle = 2.0 * np.pi * np.arange(n_receivers) / n_receivers
    receivers = 0.6 * np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    return TomographicSymAE(groups.instance_shape, receivers.tolist(), seed=seed)


RECIPE = Recipe(
    model=model, data=data, epochs=4, batch_size=8, learning_rate=0.02, min_updates=0
)
