"""Training step of convolutional models compared with their convolutions alone.

The lower limit of a training step is the time of its convolutions and dense layers:
forward, and backward for kernels and inputs. The benchmark records the shapes that each
of these layers gets in a model. It then runs the same layers on random values of these
shapes, without anything else. The ratio is the time of a training step over this limit.
It contains normalisation, activations, losses, optimizer and input.

Both are timed in turn, in processor time, so that other jobs hardly matter. The table
has medians over the turns, with the lowest and the highest ratio.

    python benchmarks/convolutions.py --out convolutions.json
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
os.environ.setdefault("TF_NUM_INTEROP_THREADS", "1")

import keras
import numpy as np
import tensorflow as tf
from common import KernelCall, kernel_calls, print_table, write_json

from symae_keras.layers import Conv1DEncoder, Conv2DEncoder
from symae_keras.models import StellarAutoencoder, SymAE, UNet

Steps = Callable[[int], None]


def models() -> dict[str, tuple[keras.Model, tuple[int, ...]]]:
    """Return models with the shape of a batch, by name."""
    spectra, images = Conv1DEncoder(128), Conv2DEncoder(128)
    return {
        "SymAE, 256 pixels": (SymAE((256,), encoder=spectra, seed=0), (16, 8, 256)),
        "SymAE, 28 x 28": (SymAE((28, 28), encoder=images, seed=0), (16, 8, 28, 28)),
        "StellarAutoencoder, 4096": (StellarAutoencoder((4096,), seed=0), (32, 4096)),
        "UNet, 64 x 64": (UNet((64, 64, 1), seed=0), (16, 64, 64, 1)),
    }


def layers_alone(calls: list[KernelCall], pixels: int) -> Steps:
    """Return a function that runs layers forward and backward on random values.

    Layers that read the data, which have `pixels` numbers, need no gradient of them.
    """
    parts = []
    for layer, shape, _ in calls:
        copy = type(layer).from_config(layer.get_config() | {"activation": None})
        x = tf.random.normal(shape)
        reads_data = int(np.prod(shape[1:])) == pixels
        parts.append((copy, x, tf.random.normal(copy(x).shape), reads_data))

    @tf.function
    def step() -> Any:
        gradients = []
        for layer, x, upstream, reads_data in parts:
            with tf.GradientTape() as tape:
                tape.watch(x)
                y = layer(x)
            wanted = [layer.kernel.value] + [x] * (not reads_data)
            gradients += tape.gradient(y, wanted, output_gradients=upstream)
        # One value of each, so that none is left out: their sum would be another pass.
        return tf.add_n([tf.reshape(each, [-1])[0] for each in gradients])

    def take(steps: int) -> None:
        for _ in range(steps):
            step()

    return take


def training(model: keras.Model, x: Any) -> Steps:
    """Return a function that runs training steps on one batch."""
    # Losses on the unnormalised output need targets of its shape.
    y = tf.random.normal(model(x).shape)
    model.compile("adam", "mse")
    data = tf.data.Dataset.from_tensors((x, y)).repeat()

    def take(steps: int) -> None:
        model.fit(data, steps_per_epoch=steps, shuffle=False, verbose=0)

    return take


def seconds(function: Steps, steps: int) -> float:
    """Return processor time per step."""
    start = time.process_time()
    function(steps)
    return (time.process_time() - start) / steps


def measure(
    name: str, model: keras.Model, shape: tuple[int, ...], turns: int, steps: int
) -> dict[str, Any]:
    """Return a row of the table."""
    x = tf.random.normal(shape)
    model(x)
    calls = kernel_calls(model, x)
    pixels = int(np.prod(model.instance_shape))
    functions = training(model, x), layers_alone(calls, pixels)
    for function in functions:
        function(2)  # traces
    times = np.array(
        [[seconds(each, steps) for each in functions] for _ in range(turns)]
    )
    ratios = times[:, 0] / times[:, 1]
    return {
        "model": name,
        "step (ms)": 1e3 * float(np.median(times[:, 0])),
        "limit (ms)": 1e3 * float(np.median(times[:, 1])),
        "ratio": float(np.median(ratios)),
        "lowest": float(ratios.min()),
        "highest": float(ratios.max()),
    }


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--turns", type=int, default=5, help="default 5")
    parser.add_argument("--steps", type=int, default=30, help="per timing, default 30")
    parser.add_argument("--out", type=Path, help="write the results as JSON")
    options = parser.parse_args()
    keras.utils.set_random_seed(0)
    rows = [
        measure(name, *each, options.turns, options.steps)
        for name, each in models().items()
    ]
    print_table(rows, list(rows[0]))
    if options.out:
        write_json(options.out, rows)


if __name__ == "__main__":
    main()
