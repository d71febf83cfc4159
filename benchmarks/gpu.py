"""Training on a GPU: steps per second, utilisation and error of every preset.

Each preset that simulates its data is trained with the settings of its recipe, once in
float32 and once in mixed bfloat16. The table has training steps per second without the
first epoch, which compiles; the median utilisation that `nvidia-smi` reports meanwhile;
and the redatuming error of new groups where the truth is known. It runs on the backend
of Keras: JAX or PyTorch, or TensorFlow where that is installed. Without a GPU it says
so and measures nothing.

    KERAS_BACKEND=jax python benchmarks/gpu.py --out gpu.json
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, Final

os.environ.setdefault("KERAS_BACKEND", "jax")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from common import print_table, write_json

from symae_keras._utils.presets import preset_names
from symae_keras.errors import InputError
from symae_keras.evaluation import redatuming_error
from symae_keras.training import train
from symae_keras.zoo.recipes import load_recipe

POLICIES: Final = ("float32", "mixed_bfloat16")
#: Seed of the new groups.
TEST_SEED: Final = 1


def gpu_name() -> str | None:
    """Return the name of the GPU that the backend of Keras uses, if there is one."""
    backend = keras.backend.backend()
    if backend == "jax":
        import jax

        device = jax.devices()[0]
        return None if device.platform == "cpu" else str(device.device_kind)
    if backend == "torch":
        import torch

        return torch.cuda.get_device_name(0) if torch.cuda.is_available() else None
    import tensorflow as tf

    found = tf.config.list_physical_devices("GPU")
    if not found:
        return None
    return str(tf.config.experimental.get_device_details(found[0])["device_name"])


class Utilisation(threading.Thread):
    """Thread that asks `nvidia-smi` twice a second how busy the GPU is."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.percent: list[float] = []
        self._done = threading.Event()

    def run(self) -> None:
        """Ask until `median` is called; a machine without the program has no values."""
        question = ["--query-gpu=utilization.gpu", "--format=csv,noheader,nounits"]
        while not self._done.wait(0.5):
            try:
                answer = subprocess.check_output(["nvidia-smi", *question], text=True)
            except (OSError, subprocess.CalledProcessError):
                return
            self.percent.append(float(answer.splitlines()[0]))

    def median(self) -> float | None:
        """Stop asking, and return the median of the answers."""
        self._done.set()
        self.join()
        return float(np.median(self.percent)) if self.percent else None


class EpochTimes(keras.callbacks.Callback):
    """Time at the end of each epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.ends: list[float] = []

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Note the time; the logs are numbers, so that the device has finished."""
        self.ends.append(time.perf_counter())


def measure(preset: str, policy: str, epochs: int | None) -> dict[str, Any] | None:
    """Train a preset; `None` if its data are not at hand, or it has no redatuming."""
    recipe = load_recipe(preset).recipe
    make = recipe.data
    if make is None:
        return None
    keras.config.set_dtype_policy(policy)
    keras.utils.set_random_seed(0)
    try:
        groups = make(0)
    except InputError as reason:
        print(f"{preset} is skipped: {reason}")
        return None
    model = recipe.model(groups, 0)
    if not hasattr(model, "redatum"):
        return None
    recipe = dataclasses.replace(recipe, epochs=epochs or recipe.epochs)
    times, busy = EpochTimes(), Utilisation()
    busy.start()
    train(model, groups, recipe, callbacks=[times])
    utilisation = busy.median()
    steps = int(keras.ops.convert_to_numpy(model.optimizer.iterations))
    seconds = (times.ends[-1] - times.ends[0]) / max(len(times.ends) - 1, 1)
    test = make(TEST_SEED)
    error = redatuming_error(model, test) if test.state else None
    return {
        "preset": preset,
        "policy": policy,
        "steps": steps,
        "steps / s": steps / len(times.ends) / seconds if seconds else None,
        "GPU busy (%)": utilisation,
        "redatuming error": None if error is None else float(error),
    }


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--presets", nargs="*", help="default: all with simulated data")
    parser.add_argument("--epochs", type=int, help="instead of those of the recipes")
    parser.add_argument("--on-cpu", action="store_true", help="measure without a GPU")
    parser.add_argument("--out", type=Path, help="write the results as JSON")
    options = parser.parse_args()
    device = gpu_name()
    if device is None and not options.on_cpu:
        backend = keras.backend.backend()
        print(f"Keras finds no GPU on its backend {backend}; nothing was measured.")
        sys.exit(0)
    rows = []
    for preset in options.presets or preset_names():
        for policy in POLICIES:
            row = measure(preset, policy, options.epochs)
            if row is not None:
                rows.append(row)
                print(row, flush=True)
    print(f"Device: {device or 'CPU'}")
    print_table(rows, list(rows[0]))
    if options.out:
        write_json(options.out, {"device": device or "CPU", "rows": rows})


if __name__ == "__main__":
    main()
