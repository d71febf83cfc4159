"""SymAE with the conditional nuisance encoder on bags of Fashion-MNIST.

Command: symae train symae_fashion
Cost:    4 minutes or less on 2 CPU cores
Expect:  reconstruction_error 0.18 to 0.28, class_from_coherent 0.95 to 1,
         class_from_nuisance 0.18 to 0.29
Data:    Fashion-MNIST (Xiao, Rasul & Vollgraf, arXiv 1708.07747, MIT licence), not
         shipped: bags of 20 images of one class
Use:     codes of the class and of the single garment; a baseline for grouped images
Limits:  only centred, upright images of 28 x 28 pixels from ten classes
Cite:    Bharadwaj, Li & Demanet, arXiv 2108.02537
"""

from __future__ import annotations

import keras
import numpy as np

from symae_keras.data import GroupedData, bag_by_label, load_images
from symae_keras.evaluation import leakage
from symae_keras.layers import DenseEncoder
from symae_keras.models import SymAE
from symae_keras.training import Recipe, normalization


def data(seed: int) -> GroupedData:
    """Return 2500 bags without common images."""
    images, labels = load_images("fashion_mnist")
    bags = bag_by_label(images, labels, bag_size=20, n_bags=2500, seed=seed)
    return bags.map_instances(lambda x: x[..., None] / np.float32(255))


def model(groups: GroupedData, seed: int) -> keras.Model:
    """Return dense networks with a small, variational nuisance code."""
    return SymAE(
        groups.instance_shape,
        coherent_dim=8,
        nuisance_dim=3,
        encoder=DenseEncoder(128, units=(256, 128)),
        nuisance_noise="variational",
        noise_strength=1e-3,
        conditional_nuisance=True,
        normalization=normalization(groups),
        seed=seed,
    )


def score(
    model: keras.Model, train: GroupedData, held_out: GroupedData
) -> dict[str, float]:
    """Return the accuracy of class probes on each code; chance level is 0.1."""
    if "label" not in held_out.state:
        return {}
    found = leakage(model, held_out, train=0.5)
    return {
        "class_from_coherent": found.state_from_coherent["label"],
        "class_from_nuisance": found.state_from_nuisance["label"],
    }


# The shipped weights were trained without annealing.
RECIPE = Recipe(
    model=model, data=data, epochs=24, instances=20, score=score, kl_annealing=0.0
)
