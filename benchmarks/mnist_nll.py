"""Marginal likelihoods of binarised MNIST, compared with published values.

Settings are those of the reproductions of pythae (github.com/clementchadebec/
benchmark_VAE, examples/scripts/reproducibility). Their table lists negative
log-likelihoods in nats per image, estimated by importance sampling (IS):

- VAE: 784-400-40 with rectified units, 500 epochs, 200 IS samples: 89.78 on statically
  binarised MNIST. Training uses 50 000 images and Adam, whose learning rate is
  multiplied by 10^(-1/5) at the epochs 200, 350 and 500. The other 10 000 images select
  the best epoch.
- IWAE 86.82 (static, 5000 IS samples); MIWAE 85.09, CIWAE 84.74, PIWAE 84.58 (dynamic,
  5000 IS samples). This package does not contain these models, so their rows show only
  the published value.

`--data` is a folder with the four idx files of MNIST. The published static images are
one random sample of each pixel; this benchmark uses another sample of the same kind,
with the seed `--seed`. `--dynamic` samples the training images again in every epoch.
The published batch size and initial learning rate of the VAE are not known: the batch
size is 100, and `--rate` is chosen by the bound of the validation images that each run
prints.

    python benchmarks/mnist_nll.py --data FOLDER --out nll.json
    python benchmarks/mnist_nll.py --data FOLDER --epochs 50 --test 1000
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any, Final

import keras
import numpy as np
from common import print_table, write_json
from keras import layers

from symae_keras.data import load_idx
from symae_keras.data.groups import Array
from symae_keras.evaluation import negative_log_likelihood
from symae_keras.models import VAE

#: Values published by pythae: nats per image, binarisation, IS samples.
PUBLISHED: Final = {
    "VAE": (89.78, "static", 200),
    "IWAE": (86.82, "static", 5000),
    "MIWAE": (85.09, "dynamic", 5000),
    "CIWAE": (84.74, "dynamic", 5000),
    "PIWAE": (84.58, "dynamic", 5000),
}
_HIDDEN, _CODE, _BATCH = 400, 40, 100
_MILESTONES = (200, 350, 500, 750, 1000)


def vae(pixels: int, hidden: int = _HIDDEN, code: int = _CODE, seed: int = 0) -> VAE:
    """Return the network of pythae: one hidden layer on each side."""
    return VAE(
        (pixels,),
        code,
        encoder=layers.Dense(hidden, activation="relu"),
        decoder=keras.Sequential(
            [
                layers.Input((code,)),
                layers.Dense(hidden, activation="relu"),
                layers.Dense(pixels),  # logits: the model adds the sigmoid
            ]
        ),
        likelihood="bernoulli",
        seed=seed,
    )


def shades(folder: Path, split: str) -> Array:
    """Return images as grey values from 0 to 1, `(rows, pixels)`."""
    images = load_idx(folder, split)[0]
    return (images.reshape(len(images), -1) / 255.0).astype("float32")


def binarised(shades: Array, rng: np.random.Generator) -> Array:
    """Sample each pixel; it is 1 with the probability of its grey value."""
    return (rng.random(shades.shape) < shades).astype("float32")


class _Draws(keras.utils.PyDataset):
    """Batches of binary images, which are sampled once or in every epoch."""

    def __init__(self, shades: Array, dynamic: bool, seed: int) -> None:
        super().__init__()
        self.shades, self.dynamic = shades, dynamic
        self.rng = np.random.default_rng(seed)
        self.images = binarised(shades, self.rng)
        self.order = self.rng.permutation(len(shades))

    def __len__(self) -> int:
        return -(-len(self.shades) // _BATCH)

    def __getitem__(self, index: int) -> tuple[Array, Array]:
        rows = self.order[index * _BATCH : (index + 1) * _BATCH]
        return self.images[rows], self.images[rows]

    def on_epoch_end(self) -> None:
        """Shuffle, and sample again."""
        self.order = self.rng.permutation(len(self.shades))
        if self.dynamic:
            self.images = binarised(self.shades, self.rng)


class _BestBound(keras.callbacks.Callback):
    """Callback that keeps the weights with the best bound on validation images.

    `val_loss` is not a bound, because `evaluate` decodes the means of the codes.
    """

    def __init__(self, images: Array) -> None:
        super().__init__()
        self.images = images
        self.bound, self.epoch = np.inf, 0
        self.weights: list[Array] = []

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Compare the bound with the best one so far."""
        bound = negative_log_likelihood(self.model, self.images, 1, seed=0).mean
        if bound < self.bound:
            self.bound, self.epoch = bound, epoch + 1
            self.weights = self.model.get_weights()


def _rate(epoch: int, first: float) -> float:
    return first * 10 ** (-sum(epoch >= each for each in _MILESTONES) / 5)


def run(
    train: Array,
    valid: Array,
    test: Array,
    epochs: int,
    n_samples: int,
    dynamic: bool,
    seed: int,
    rate: float = 1e-3,
) -> dict[str, Any]:
    """Train the VAE and estimate the likelihood of binary test images."""
    keras.utils.set_random_seed(seed)
    model = vae(train.shape[1], seed=seed)
    model.compile(keras.optimizers.Adam(rate), model.likelihood_loss())
    start = time.perf_counter()
    schedule = keras.callbacks.LearningRateScheduler(lambda n: _rate(n, rate))
    best = _BestBound(binarised(valid, np.random.default_rng([seed, 2])))
    history = model.fit(
        _Draws(train, dynamic, seed),
        epochs=epochs,
        callbacks=[schedule, best],
        verbose=2,
    )
    model.set_weights(best.weights)
    minutes = (time.perf_counter() - start) / 60
    images = binarised(test, np.random.default_rng([seed, 1]))
    found = negative_log_likelihood(model, images, n_samples, seed=seed)
    bound = negative_log_likelihood(model, images, 1, seed=seed)
    return {
        "model": "VAE",
        "binarisation": "dynamic" if dynamic else "static",
        "epochs": epochs,
        "best epoch": best.epoch,
        "validation bound": best.bound,
        "rate": rate,
        "seed": seed,
        "test images": len(images),
        "IS samples": n_samples,
        "NLL": found.mean,
        "standard error": found.standard_error,
        "bound": bound.mean,
        "training loss": history.history["loss"][-1],
        "effective samples": float(np.median(found.effective)),
        "minutes": minutes,
    }


def table(result: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a row per published model, with our value if there is one."""
    rows = []
    for name, (published, binarisation, n_samples) in PUBLISHED.items():
        row = {"model": name, "binarisation": binarisation, "IS samples": n_samples}
        if name == result["model"]:
            row |= {
                key: result[key]
                for key in ("NLL", "standard error", "epochs", "best epoch")
            }
            row |= {key: result[key] for key in ("binarisation", "IS samples")}
        # Only values for the same data are comparable.
        same = row["binarisation"] == binarisation
        rows.append({**row, "published": published if same else None})
    return rows


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data", type=Path, required=True, help="folder with the four idx files"
    )
    parser.add_argument("--epochs", type=int, default=500, help="default 500")
    parser.add_argument("--samples", type=int, default=200, help="default 200")
    parser.add_argument("--test", type=int, help="test images; default all")
    parser.add_argument("--dynamic", action="store_true", help="draw in every epoch")
    parser.add_argument(
        "--rate", type=float, default=1e-3, help="first learning rate; default 0.001"
    )
    parser.add_argument("--seed", type=int, default=0, help="default 0")
    parser.add_argument("--out", type=Path, help="write the results as JSON")
    options = parser.parse_args()
    images = shades(options.data, "train")
    n_train = len(images) * 5 // 6  # 50 000 of 60 000
    train, valid = images[:n_train], images[n_train:]
    test = shades(options.data, "test")[: options.test]
    result = run(
        train,
        valid,
        test,
        options.epochs,
        options.samples,
        options.dynamic,
        options.seed,
        options.rate,
    )
    rows = table(result)
    if options.out:
        write_json(options.out, {"table": rows, "run": result})
    print(f"validation bound {result['validation bound']:.2f}, rate {result['rate']}")
    columns = ("model", "binarisation", "IS samples", "epochs", "best epoch", "NLL")
    print_table(rows, (*columns, "standard error", "published"))


if __name__ == "__main__":
    main()
