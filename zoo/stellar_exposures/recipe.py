"""Deep autoencoder for stellar spectra, with a code of eight numbers for 2,048 pixels.

Command: symae train stellar_exposures
Cost:    6 minutes or less on 2 CPU cores
Expect:  reconstruction_error 0.016 to 0.025, temperature_r2 0.87 to 0.98,
         abundance_r2 0.78 to 0.89
Data:    simulated, `symae_keras.data.simulate_exposures` with 2,048 pixels,
         temperature-dependent lines, velocities, uncalibrated slopes and 1 % noise
Use:     dimensionality reduction of reduced spectra; a start for your own model
Limits:  trained only on lines of the simulator; one code for star and exposure
Cite:    Sedaghat, Romaniello, Carrick & Pineau, arXiv 2009.12872
"""

from __future__ import annotations

import keras
import numpy as np

from symae_keras.data import GroupedData, simulate_exposures
from symae_keras.evaluation import in_batches, probe_labels
from symae_keras.models import StellarAutoencoder
from symae_keras.training import Recipe


def data(seed: int) -> GroupedData:
    """Return two reduced spectra of each of 3000 stars; 80 % are for training."""
    return simulate_exposures(
        n_states=3000,
        n_instances=2,
        seed=seed,
        n_pixels=2048,
        excitation=1.0,
        nuisances=("slope", "velocity"),
    )


def model(groups: GroupedData, seed: int) -> keras.Model:
    """Return a model of eight convolutions that normalises spectra by their medians."""
    return StellarAutoencoder(groups.instance_shape, code_dim=8, seed=seed)


def score(
    model: keras.Model, train: GroupedData, held_out: GroupedData
) -> dict[str, float]:
    """Return R^2 of linear probes for temperature and abundance."""
    if "temperature" not in held_out.state:
        return {}
    parts = (train, held_out)
    codes = [in_batches(model.encode, part.x[:, 0]) for part in parts]
    labels = [
        {name: np.asarray(part.state[name]) for name in ("temperature", "abundance")}
        for part in parts
    ]
    found = probe_labels((codes[0], codes[1]), (labels[0], labels[1]), linear=True)
    return {f"{name}_r2": value for name, value in found.items()}


RECIPE = Recipe(
    model=model, data=data, epochs=5, batch_size=16, instances=2, score=score
)
