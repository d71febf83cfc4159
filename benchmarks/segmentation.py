"""Segmentation of simulated labelled shapes: three networks, and few labelled images.

- All: U-Net, SegNet and the residual network with a variational branch are trained on
  6000 images and evaluated on 200 others, by the mean intersection over union (IoU) of
  the four classes.
- Few: the residual network is trained on 20 labelled images, with and without its
  branch, from the same initial weights. Each of the five seeds has different training
  images, and all are evaluated on the same 200 images.

    python benchmarks/segmentation.py --out results.json --figures docs/images

takes about 24 minutes of processor time; `--quick` only tests that everything runs.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
from common import print_table, write_json

from symae_keras.data import LabelledImages, simulate_labelled_shapes
from symae_keras.data.simulators.labelled_shapes import CLASSES
from symae_keras.evaluation import dice, in_batches, intersection_over_union, mean_iou
from symae_keras.layers import Standardization
from symae_keras.models import SegNet, SegResNetVAE, UNet
from symae_keras.models.instances import PixelwiseModel
from symae_keras.plotting import plot_segmentation

N_CLASSES = len(CLASSES)
FEW = 20
SHOWN = 8
Build = Callable[..., PixelwiseModel]

#: Arguments of each network, and a factor for the number of steps. SegNet learns more
#: slowly, because its decoder receives less information from the encoder.
NETWORKS: dict[str, tuple[Build, dict[str, Any], int]] = {
    "U-Net": (UNet, {"head": "segmentation"}, 1),
    "SegNet": (SegNet, {}, 3),
    "SegResNetVAE": (SegResNetVAE, {}, 1),
}


def fit(
    build: Build,
    arguments: dict[str, Any],
    images: LabelledImages,
    steps: int,
    batch_size: int,
    seed: int,
) -> tuple[PixelwiseModel, dict[str, float]]:
    """Train a network with Adam and a cosine schedule."""
    keras.utils.set_random_seed(seed)
    model = build(
        images.x.shape[1:],
        n_classes=N_CLASSES,
        normalization=Standardization.of(images.x, instance_axes=3),
        seed=seed,
        **arguments,
    )
    rate = keras.optimizers.schedules.CosineDecay(2e-3, steps, alpha=0.01)
    model.compile(keras.optimizers.Adam(rate), "sparse_categorical_crossentropy")
    start, processor = time.perf_counter(), time.process_time()
    epochs = max(1, steps * batch_size // len(images.x))
    model.fit(*images, batch_size=batch_size, epochs=epochs, verbose=0)
    return model, {
        "parameters": model.count_params(),
        "steps": epochs * -(-len(images.x) // batch_size),
        "wall minutes": (time.perf_counter() - start) / 60,
        "CPU minutes": (time.process_time() - processor) / 60,
    }


def predict(model: PixelwiseModel, images: LabelledImages) -> np.ndarray[Any, Any]:
    """Predict the labels of all images."""
    return np.asarray(in_batches(model.segment, images.x).astype("int32"))


def judge(images: LabelledImages, predicted: np.ndarray[Any, Any]) -> dict[str, float]:
    """Return mean scores, and the IoU of each class."""
    labels = images.labels
    of_each = intersection_over_union(labels, predicted, N_CLASSES)
    return {
        "mean IoU": mean_iou(labels, predicted, N_CLASSES),
        "mean Dice": float(np.nanmean(dice(labels, predicted, N_CLASSES))),
        **{f"IoU {name}": float(n) for name, n in zip(CLASSES, of_each, strict=True)},
    }


def all_images(
    networks: list[str], steps: int, n_train: int, test: LabelledImages
) -> tuple[Any, Any]:
    """Compare networks on many images; return the table and a figure of predictions."""
    images = simulate_labelled_shapes(n_train, seed=0)
    table: list[dict[str, Any]] = []
    found = {}
    for name in networks:
        build, arguments, longer = NETWORKS[name]
        model, cost = fit(build, arguments, images, longer * steps, 8, seed=0)
        predicted = predict(model, test)
        found[name] = predicted[:SHOWN]
        table.append({"network": name, **judge(test, predicted), **cost})
        print(table[-1], flush=True)
    x, labels = (each[:SHOWN] for each in test)
    return table, plot_segmentation(x, labels, found, CLASSES)


def few_images(
    steps: int, n_seeds: int, test: LabelledImages, weights: dict[str, float]
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Train the residual network on few images, with and without branch, per seed."""
    table: list[dict[str, Any]] = []
    for seed in range(n_seeds):
        images = simulate_labelled_shapes(FEW, seed=100 + seed)
        scores = {}
        for name, branch in (("without", False), ("with", True)):
            arguments = {"vae_branch": branch, **weights}
            model, cost = fit(SegResNetVAE, arguments, images, steps, 4, seed)
            scores[name] = mean_iou(test.labels, predict(model, test), N_CLASSES)
            scores[f"{name}, CPU minutes"] = cost["CPU minutes"]
        gain = scores["with"] - scores["without"]
        table.append({"seed": seed, **scores, "gain": gain})
        print(table[-1], flush=True)
    gains = np.array([row["gain"] for row in table])
    summary: dict[str, Any] = {
        name: {
            "mean": float(np.mean([row[name] for row in table])),
            "lowest": float(min(row[name] for row in table)),
            "highest": float(max(row[name] for row in table)),
        }
        for name in ("without", "with", "gain")
    }
    summary["seeds gained"] = int((gains > 0).sum())
    if n_seeds > 1:
        error = gains.std(ddof=1) / np.sqrt(n_seeds)
        summary["standard error of the gain"] = float(error)
    return table, summary


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", choices=("all", "few"), help="run only one part")
    parser.add_argument(
        "--networks", nargs="+", choices=NETWORKS, default=[*NETWORKS], help="these"
    )
    parser.add_argument("--images", type=int, default=6000, help="to train on")
    parser.add_argument("--steps", type=int, default=2000, help="on all images")
    parser.add_argument("--few-steps", type=int, default=400, help="on few images")
    parser.add_argument("--seeds", type=int, default=5, help="of the part on few")
    parser.add_argument("--reconstruction-weight", type=float, default=0.1)
    parser.add_argument("--kl-weight", type=float, default=0.2)
    parser.add_argument("--quick", action="store_true", help="only test that it runs")
    parser.add_argument("--out", type=Path, help="write the results as JSON")
    parser.add_argument("--figures", type=Path, help="folder for the figure")
    options = parser.parse_args()

    n_test = 16 if options.quick else 200
    if options.quick:
        options.images = 40
        options.steps, options.few_steps, options.seeds = 10, 10, 2
    test = simulate_labelled_shapes(n_test, seed=10_000)
    results: dict[str, Any] = {}
    if options.only != "few":
        results["all"], figure = all_images(
            options.networks, options.steps, options.images, test
        )
        print_table(results["all"], list(results["all"][0]))
        if options.figures:
            options.figures.mkdir(parents=True, exist_ok=True)
            figure.savefig(options.figures / "segmentation.png", dpi=150)
    if options.only != "all":
        weights = {
            "reconstruction_weight": options.reconstruction_weight,
            "kl_weight": options.kl_weight,
        }
        table, summary = few_images(options.few_steps, options.seeds, test, weights)
        results["few"] = {**weights, "seeds": table, "summary": summary}
        print_table(table, list(table[0]))
        print(summary)
    if options.out:
        write_json(options.out, results)


if __name__ == "__main__":
    main()
