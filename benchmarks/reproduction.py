"""Reproduction of the autoencoders in the examples of the Keras documentation.

Architectures and settings are those of two examples of keras.io, built from our models
with the layers of the examples as encoder and decoder:

- "Convolutional autoencoder for image denoising": validation binary cross-entropy per
  pixel 0.0648 after 10 and 0.0622 after 50 epochs; 0.0839 for denoising after 100 more
  epochs with Gaussian noise of 0.4, clipped to [0, 1]. This benchmark draws new noise
  in every step and trains from scratch.
- "Variational AutoEncoder": a code of two numbers, all 70 000 digits; training loss
  152.2 nats after 10 epochs, reconstruction 145.8 and divergence 6.5. The row
  "variational_plain" is the same network and loss in Keras alone, without this package.
  It shows the result of the example on this machine and with these seeds.

The published values are for MNIST. `--data` is a folder with the four idx files of
MNIST, or of Fashion-MNIST, which has the same format. Each row takes tens of minutes on
two CPU cores.

    python benchmarks/reproduction.py --data FOLDER --rows convolutional --out r.json
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import keras
import numpy as np
from common import print_table, write_json
from keras import layers, ops

from symae_keras.data import load_idx
from symae_keras.data.groups import Array
from symae_keras.layers import GaussianCorruption
from symae_keras.models import VAE, Autoencoder, DenoisingAutoencoder

SHAPE = (28, 28, 1)
BATCH = 128
NOISE = 0.4
#: Epochs after which to report, and the published values at these epochs.
PUBLISHED = {
    "convolutional": {10: 0.0648, 50: 0.0622},
    "denoising": {100: 0.0839},
    "variational": {10: 152.2},
    "variational_plain": {10: 152.2},
}


def _convolution(filters: int, strides: int = 1, **kwargs: Any) -> keras.Layer:
    return layers.Conv2D(
        filters, 3, strides=strides, padding="same", activation="relu", **kwargs
    )


def _transposed(filters: int, activation: str | None = "relu") -> keras.Layer:
    strides = 1 if filters == 1 else 2
    return layers.Conv2DTranspose(
        filters, 3, strides=strides, padding="same", activation=activation
    )


def convolutional_networks() -> dict[str, keras.Layer]:
    """Return encoder and decoder of the convolutional model, with code (7, 7, 32)."""
    encoder = keras.Sequential(
        [
            layers.Input(SHAPE),
            _convolution(32),
            layers.MaxPooling2D(2, padding="same"),
            _convolution(32),
            layers.MaxPooling2D(2, padding="same"),
        ]
    )
    decoder = keras.Sequential(
        [
            layers.Input((7, 7, 32)),
            _transposed(32),
            _transposed(32),
            layers.Conv2D(1, 3, padding="same", activation="sigmoid"),
        ]
    )
    return {"encoder": encoder, "decoder": decoder}


def variational_networks() -> dict[str, keras.Layer]:
    """Return encoder and decoder of the variational model, with a code of two."""
    encoder = keras.Sequential(
        [
            layers.Input(SHAPE),
            _convolution(32, strides=2),
            _convolution(64, strides=2),
            layers.Flatten(),
            layers.Dense(16, activation="relu"),
        ]
    )
    decoder = keras.Sequential(
        [
            layers.Input((2,)),
            layers.Dense(7 * 7 * 64, activation="relu"),
            layers.Reshape((7, 7, 64)),
            _transposed(64),
            _transposed(32),
            _transposed(1, activation=None),  # logits: the model adds the sigmoid
        ]
    )
    return {"encoder": encoder, "decoder": decoder}


class _Sample(layers.Layer):
    """Layer that samples the posterior and adds its divergence from N(0, 1)."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.generator = keras.random.SeedGenerator(seed)

    def call(self, mean: Any, log_variance: Any) -> Any:
        square = ops.square(mean) + ops.exp(log_variance) - log_variance - 1.0
        self.add_loss(ops.mean(0.5 * ops.sum(square, axis=1)))
        noise = keras.random.normal(ops.shape(mean), seed=self.generator)
        return mean + ops.exp(0.5 * log_variance) * noise


def plain_vae(seed: int) -> keras.Model:
    """Return the compiled variational autoencoder without this package."""
    networks = variational_networks()
    inputs = layers.Input(SHAPE)
    features = networks["encoder"](inputs)
    code = _Sample(seed)(layers.Dense(2)(features), layers.Dense(2)(features))
    outputs = ops.sigmoid(networks["decoder"](code))

    def nats(truth: Any, decoded: Any) -> Any:
        return ops.sum(keras.losses.binary_crossentropy(truth, decoded), axis=(1, 2))

    model = keras.Model(inputs, outputs)
    model.compile(optimizer="adam", loss=nats)
    return model


def images(folder: Path, part: str) -> Array:
    """Return images in [0, 1], `(rows, 28, 28, 1)`."""
    pixels = load_idx(folder, part)[0]
    return (pixels[..., None] / 255.0).astype("float32")


def make_model(row: str, seed: int) -> keras.Model:
    """Return the compiled model of a row."""
    if row == "variational_plain":
        return plain_vae(seed)
    if row == "variational":
        model = VAE(
            SHAPE, 2, likelihood="bernoulli", seed=seed, **variational_networks()
        )
        model.compile(optimizer="adam", loss=model.likelihood_loss())
        return model
    networks = convolutional_networks()
    if row == "denoising":
        noise = GaussianCorruption(NOISE, clip=(0.0, 1.0), seed=seed)
        model = DenoisingAutoencoder(SHAPE, None, corruption=noise, **networks)
    else:
        model = Autoencoder(SHAPE, None, **networks)
    model.compile(optimizer="adam", loss="binary_crossentropy")
    return model


def run(row: str, train: Array, test: Array, epochs: int, seed: int) -> dict[str, Any]:
    """Train the model of a row and return its history."""
    keras.utils.set_random_seed(seed)
    model = make_model(row, seed)
    held_out: Any = (test, test)
    if row.startswith(
        "variational"
    ):  # the example trains on all images and reports this loss
        train, held_out = np.concatenate([train, test]), None
    if row == "denoising":
        noise = np.random.default_rng(seed).normal(scale=NOISE, size=test.shape)
        held_out = (np.clip(test + noise, 0.0, 1.0).astype("float32"), test)
    start = time.perf_counter()
    history = model.fit(
        train,
        train,
        batch_size=BATCH,
        epochs=epochs,
        validation_data=held_out,
        verbose=2,
    )
    minutes = (time.perf_counter() - start) / 60
    return {"row": row, "seed": seed, "minutes": minutes, "history": history.history}


def table_rows(result: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a row per epoch with a published value."""
    history = result["history"]
    rows = []
    for epoch, published in PUBLISHED[result["row"]].items():
        if epoch > len(history["loss"]):
            continue
        at = {name: values[epoch - 1] for name, values in history.items()}
        rows.append(
            {
                "row": result["row"],
                "epochs": epoch,
                "ours": at.get("val_loss", at["loss"]),
                "published on MNIST": published,
                "reconstruction": at.get("reconstruction_loss"),
                "divergence": at.get("kl_loss"),
                "minutes in all": result["minutes"],
            }
        )
    return rows


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data", type=Path, required=True, help="folder with the four idx files"
    )
    parser.add_argument(
        "--rows", nargs="*", default=list(PUBLISHED), choices=list(PUBLISHED)
    )
    parser.add_argument("--epochs", type=int, help="default: the last published epoch")
    parser.add_argument("--seed", type=int, default=0, help="default 0")
    parser.add_argument("--out", type=Path, help="write the results as JSON")
    options = parser.parse_args()

    train, test = (images(options.data, part) for part in ("train", "test"))
    results, table = [], []
    for row in options.rows:
        epochs = options.epochs or max(PUBLISHED[row])
        results.append(run(row, train, test, epochs, options.seed))
        table += table_rows(results[-1])
        if options.out:  # after every row, because each takes long
            write_json(options.out, {"table": table, "runs": results})
    if table:
        print_table(table, list(table[0]))


if __name__ == "__main__":
    main()
