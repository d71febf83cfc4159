"""Class information in the codes of SymAE and ML-VAE on bags of images of one class.

The models are trained on bags of training images of an MNIST-format folder. Probes
predict the class from each code of bags of test images; half of these bags are used to
train the probes (scikit-learn's multilayer perceptron on standardised codes). The
chance level is 10 %. Published accuracies of the multi-level VAE on bagged digits
(arXiv 1705.08841): 99.71 % from the group code, 42.06 % from the instance code.

    python benchmarks/bagged_images.py --data FOLDER --trade-off --out results.json
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from pathlib import Path
from typing import Any

import keras
import numpy as np
from common import print_table, write_json

from symae_keras.data import GroupedData, bag_by_label, load_idx
from symae_keras.evaluation import in_batches, leakage, relative_error
from symae_keras.layers import DenseEncoder
from symae_keras.models import MLVAE, SymAE
from symae_keras.plotting import plot_redatuming_grid, plot_trade_off
from symae_keras.training import Training, normalization, train

BAG = 20
Model = SymAE | MLVAE


@dataclasses.dataclass(frozen=True)
class Setting:
    """Settings of one model; ML-VAE ignores the noise."""

    noise: str
    strength: float
    nuisance_dim: int
    conditional: bool = True

    @property
    def name(self) -> str:
        """Return a short name for table and figure."""
        form = "" if self.conditional else ", original"
        if self.noise == "ML-VAE":
            form = ""
        return f"{self.noise} {self.strength:g}, q {self.nuisance_dim}{form}"


CHOSEN = Setting("variational", 1e-3, 3)
SAME_SIZE = Setting("variational", 1e-3, 6)
MULTI_LEVEL = Setting("ML-VAE", 1e-2, 6, conditional=False)
TRADE_OFF = (
    *(Setting("variational", s, q) for q in (2, 3, 6) for s in (3e-4, 1e-3, 3e-3)),
    *(Setting("gaussian", s, q) for q in (3, 8) for s in (0.5, 1.0)),
    Setting("gaussian", 0.5, 8, conditional=False),
)


def fit(setting: Setting, bags: GroupedData, steps: int, seed: int) -> Model:
    """Train a dense model with a coherent code of eight numbers."""
    keras.utils.set_random_seed(seed)
    common: dict[str, Any] = {
        "instance_shape": bags.instance_shape,
        "coherent_dim": 8,
        "nuisance_dim": setting.nuisance_dim,
        "encoder": DenseEncoder(128, units=(256, 128)),
        "normalization": normalization(bags),
        "seed": seed,
    }
    if setting.noise == "ML-VAE":
        model: Model = MLVAE(**common, kl_weight=setting.strength)
    else:
        model = SymAE(
            **common,
            nuisance_noise=setting.noise,
            noise_strength=setting.strength,
            conditional_nuisance=setting.conditional,
        )
    epochs = max(1, steps // -(-len(bags) // 16))
    train(model, bags, Training(epochs=epochs, instances=BAG), seed)
    return model


def judge(model: Model, test: GroupedData) -> dict[str, float]:
    """Probe both codes, and compute both usual forms of the reconstruction error."""
    scores = leakage(model, test, train=0.5)
    images = in_batches(model.reconstruct, test.x).reshape(-1, *test.instance_shape)
    truth = test.x.reshape(images.shape)
    return {
        "class from coherent": scores.state_from_coherent["label"],
        "class from nuisance": scores.state_from_nuisance["label"],
        "chance": scores.chance["label"],
        "MSE": float(np.mean((images - truth) ** 2)),
        "relative error": relative_error(images, truth),
    }


def redatuming_grid(model: Model, test: GroupedData) -> Any:
    """Draw ten classes under the nuisances of eight images of other classes."""
    labels = np.asarray(test.state["label"])
    bags = np.array([np.flatnonzero(labels == label)[0] for label in np.unique(labels)])
    donors = bags[np.arange(8) % len(bags)]
    nuisances = test.x[donors, np.arange(8)]
    coherent = keras.ops.convert_to_numpy(model.encode(test.x[bags]).coherent)
    nuisance = keras.ops.convert_to_numpy(model.encode(test.x[donors]).nuisance)
    chosen = nuisance[np.arange(8), np.arange(8)]
    repeated = np.broadcast_to(chosen, (len(bags), *chosen.shape))
    virtual = keras.ops.convert_to_numpy(model.decode(coherent, repeated))
    return plot_redatuming_grid(
        test.x[bags, 0], nuisances, virtual, value_label="intensity"
    )


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data", type=Path, required=True, help="folder with the four idx files"
    )
    parser.add_argument("--steps", type=int, default=2500, help="default 2500")
    parser.add_argument(
        "--seeds", type=int, default=1, help="seeds of the chosen models"
    )
    parser.add_argument(
        "--trade-off", action="store_true", help="also the grid of noises and sizes"
    )
    parser.add_argument("--out", type=Path, help="write the results as JSON")
    parser.add_argument("--figures", type=Path, help="folder for the figures")
    options = parser.parse_args()

    bags = bag_by_label(*load_idx(options.data, "train"), bag_size=200, seed=0)
    test = bag_by_label(*load_idx(options.data, "test"), bag_size=BAG, seed=1)
    chosen = (CHOSEN, SAME_SIZE, MULTI_LEVEL)
    runs = [(setting, seed) for setting in chosen for seed in range(options.seeds)]
    if options.trade_off:
        runs += [(setting, 0) for setting in TRADE_OFF if setting not in chosen]
    table: list[dict[str, Any]] = []
    figure = None
    for setting, seed in runs:
        start = time.perf_counter()
        model = fit(setting, bags, options.steps, seed)
        minutes = (time.perf_counter() - start) / 60
        scores = judge(model, test)
        table.append(
            {"model": setting.name, "seed": seed, **scores, "minutes": minutes}
        )
        print(table[-1], flush=True)
        if figure is None:
            figure = redatuming_grid(model, test)
    print_table(table, list(table[0]))
    if options.out:
        write_json(options.out, table)
    if options.figures and figure is not None:
        options.figures.mkdir(parents=True, exist_ok=True)
        figure.savefig(options.figures / "bagged_images_redatuming.png", dpi=150)
        if options.trade_off:
            first = [row for row in table if row["seed"] == 0]
            plot_trade_off(
                [row["relative error"] for row in first],
                [100 * row["class from nuisance"] for row in first],
                [row["model"] for row in first],
                "reconstruction error / variance",
                "class from nuisance code (%)",
                groups=[row["model"].split()[0] for row in first],
            ).savefig(options.figures / "bagged_images_trade_off.png", dpi=150)


if __name__ == "__main__":
    main()
