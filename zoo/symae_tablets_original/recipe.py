"""SymAE with the original nuisance encoder on tablets from two spectrometers.

Command: symae train symae_tablets_original --data tablets_nir.npz
Cost:    2 minutes or less on 2 CPU cores
Expect:  reconstruction_error 0.0048 to 0.0097, transfer_error 0.01 to 0.023,
         baseline_free_error 0.018 to 0.033
Data:    NIR spectra of 642 pharmaceutical tablets on two instruments, the shootout
         set of 2002, not shipped: `tablets_nir.npz` with `x` (642, 2, 597)
Use:     transfer of such spectra from the second instrument to the first
Limits:  the nuisance encoder uses only one instance, not the group: if an instance
         does not identify its nuisance, redatuming fails
Cite:    Bharadwaj, Li & Demanet, arXiv 2108.02537
"""

from __future__ import annotations

import keras
import numpy as np

from symae_keras.classical import DirectStandardization
from symae_keras.data import GroupedData
from symae_keras.evaluation import relative_error
from symae_keras.layers import DenseEncoder
from symae_keras.models import SymAE
from symae_keras.training import Recipe, normalization


def model(groups: GroupedData, seed: int) -> keras.Model:
    """Return dense networks that can encode the state from one instance."""
    return SymAE(
        groups.instance_shape,
        coherent_dim=16,
        nuisance_dim=2,
        encoder=DenseEncoder(64, units=(256, 128)),
        noise_strength=1.0,
        instance_dropout=0.5,
        conditional_nuisance=False,
        normalization=normalization(groups),
        seed=seed,
    )


def score(
    model: keras.Model, train: GroupedData, held_out: GroupedData
) -> dict[str, float]:
    """Return the errors of the transfer from instrument 2 to instrument 1.

    The nuisance is the mean code of the training tablets on instrument 1. The
    baseline-free error ignores the best quadratic of each spectrum, because the
    placement of a tablet adds a random one.
    """
    if held_out.n_instances != 2 or held_out.mask is not None:
        return {}
    seen, truth = held_out.x[:, 1:], held_out.x[:, 0]
    nuisance = keras.ops.mean(model.encode(train.x[:, :1]).nuisance, axis=0)
    coherent = model.encode(seen).coherent
    nuisance = keras.ops.broadcast_to(nuisance, (len(seen), *nuisance.shape))
    virtual = keras.ops.convert_to_numpy(model.decode(coherent, nuisance))[:, 0]
    linear = DirectStandardization(source=1, target=0).fit(train).transfer(seen[:, 0])
    powers = np.vander(np.linspace(-1.0, 1.0, truth.shape[-1]), 3)
    basis = np.linalg.qr(powers)[0]

    def free(x: np.ndarray) -> np.ndarray:
        return x - (x @ basis) @ basis.T

    return {
        "transfer_error": relative_error(virtual, truth),
        "baseline_free_error": relative_error(free(virtual), free(truth)),
        "direct_standardization_error": relative_error(linear, truth),
    }


RECIPE = Recipe(model=model, epochs=100, instances=2, learning_rate=1e-3, score=score)
