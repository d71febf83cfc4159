"""What a second replica, or a second worker, is worth; and what it has to send.

Two tables:

- measured: steps a second of one model and one global batch without a strategy, under
  MirroredStrategy with one and two replicas, and with two worker processes on this
  machine. A ratio is steps a second over those without a strategy, timed in turn in the
  same process: the median over the turns, beside the lowest and the highest. With one
  replica it tells what the strategy itself costs, with two the speed-up, whose best is
  2. A replica is a GPU, or a core on a machine without any: each process then gets one
  thread for an operation.
- on paper, for every preset: the bytes that replicas sum in a step (4 for each
  parameter) beside the floating-point operations of the step, counted from the shapes
  that go through its layers. Two replicas that compute 1 TFLOP/s each spend as much
  time on sending as on computing in a network of as many GB/s as the last column says,
  and n replicas in one n - 1 times as fast, since a ring sends the bytes of each nearly
  twice and every replica computes an n-th.

    python benchmarks/scaling.py --out scaling.json
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any, Final

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")

import keras
import numpy as np
from common import print_table, worker_environments, write_json

from symae_keras._utils.presets import preset_names
from symae_keras.data import GroupedData
from symae_keras.distribute import is_chief, make_strategy, meet, running
from symae_keras.zoo.recipes import load_recipe

COLUMNS: Final = ["how", "replicas", "steps / s", "ratio", "lowest", "highest"]

Timed = Callable[[], float]


# === On paper ===


def forward_operations(model: keras.Model, x: Any) -> int:
    """Multiplications and additions of a call, counted from the shapes of layers.

    Dense and convolutional layers count, and so does nothing else: the rest is small.
    """
    counted = 0
    layers = keras.layers
    dense, forward = layers.Dense, (layers.Conv1D, layers.Conv2D)
    backward = layers.Conv1DTranspose, layers.Conv2DTranspose
    kept: list[tuple[Any, Callable[..., Any]]] = []

    def watch(layer: Any) -> None:
        call = layer.call

        def counting(inputs: Any, *args: Any, **kwargs: Any) -> Any:
            nonlocal counted
            output = call(inputs, *args, **kwargs)
            # Each place of the smaller image, or each row, meets the whole kernel.
            places = inputs if isinstance(layer, backward) else output
            rows = int(np.prod(places.shape[:-1]))
            counted += 2 * rows * int(np.prod(layer.kernel.shape))
            return output

        kept.append((layer, call))
        layer.call = counting

    for layer in model._flatten_layers():
        if isinstance(layer, (dense, *forward, *backward)):
            watch(layer)
    try:
        model(x)
    finally:
        for layer, call in kept:
            layer.call = call
    return counted


def on_paper(preset: str) -> dict[str, Any]:
    """What one step of a preset computes and sends, at its own batch size."""
    recipe = load_recipe(preset).recipe
    if recipe.data is None:
        raise ValueError(f"The preset {preset} brings no data.")
    groups = recipe.data(0)
    model = recipe.model(groups, 0)
    n_instances = min(recipe.instances or groups.n_instances, groups.n_instances)
    x = np.zeros((1, n_instances, *groups.instance_shape), "float32")
    # Forward once, and backward for inputs and for weights: three times.
    step = 3 * forward_operations(model, x) * recipe.batch_size
    parameters = sum(int(np.prod(each.shape)) for each in model.trainable_variables)
    return {
        "preset": preset,
        "parameters": parameters,
        "MB a step": 4 * parameters / 1e6,
        "GFLOP a step": step / 1e9,
        "GB/s a TFLOP/s": 4e3 * parameters / (step / 2),
    }


# === Measured ===


def model_and_batch(preset: str, batch_size: int) -> tuple[keras.Model, Any]:
    """The compiled model of a preset and a batch for it."""
    recipe = load_recipe(preset).recipe
    assert recipe.data is not None
    groups: GroupedData = recipe.data(0)
    x = groups.x[:batch_size, : recipe.instances]
    model = recipe.model(groups, 0)
    model.compile("adam", "mse")
    return model, np.ascontiguousarray(x, "float32")


def training(arguments: argparse.Namespace, strategy: Any) -> Timed:
    """A function that trains for some steps and tells the seconds of one."""
    import tensorflow as tf

    with running(strategy):
        model, x = model_and_batch(arguments.preset, arguments.batch)
    data = tf.data.Dataset.from_tensors((x, x)).repeat()
    steps: int = arguments.steps

    def take() -> float:
        with running(strategy):
            start = time.perf_counter()
            model.fit(data, steps_per_epoch=steps, shuffle=False, verbose=0)
        return (time.perf_counter() - start) / steps

    return take


def row(how: str, replicas: int, alone: list[float], own: list[float]) -> Any:
    """Seconds a step of each turn, as a row of the table."""
    ratios = np.array(alone) / np.array(own)
    return {
        "how": how,
        "replicas": replicas,
        "steps / s": float(1.0 / np.median(own)),
        "ratio": float(np.median(ratios)),
        "lowest": float(ratios.min()),
        "highest": float(ratios.max()),
    }


def measure_devices(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """No strategy, one replica, and two, in turn in this process."""
    import tensorflow as tf

    if not tf.config.list_physical_devices("GPU"):
        one = tf.config.LogicalDeviceConfiguration()
        cpu = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(cpu, [one, one])
    devices = tf.config.list_logical_devices("GPU")
    names = [each.name for each in devices or tf.config.list_logical_devices("CPU")]
    timed = [training(arguments, None)] + [
        training(arguments, tf.distribute.MirroredStrategy(names[:count]))
        for count in range(1, min(2, len(names)) + 1)
    ]
    for take in timed:
        take()  # traces
    turns = [[take() for take in timed] for _ in range(arguments.turns)]
    alone, *others = (list(each) for each in zip(*turns, strict=True))
    rows = [row("mirrored", n, alone, each) for n, each in enumerate(others, start=1)]
    return [row("no strategy", 1, alone, alone), *rows]


def measure_workers(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """The chief without a strategy while the other waits, and both, in turn."""
    strategy = make_strategy("multiworker")
    assert strategy is not None
    timed = [training(arguments, None), training(arguments, strategy)]
    if is_chief(strategy):
        timed[0]()
    timed[1]()
    alone, both = [], []
    for _ in range(arguments.turns):
        if is_chief(strategy):
            alone.append(timed[0]())
        with running(strategy):
            meet(strategy)
        both.append(timed[1]())
    if not is_chief(strategy):
        return []
    return [row("two workers", strategy.num_replicas_in_sync, alone, both)]


def run_child(kind: str, arguments: argparse.Namespace, count: int) -> list[Any]:
    """Run this file in processes of its own; the rows that the first one prints."""
    command = [sys.executable, __file__, "--child", kind]
    for name in ("preset", "batch", "steps", "turns"):
        command += [f"--{name}", str(getattr(arguments, name))]
    processes = []
    for index, environment in enumerate(worker_environments(count)):
        if count > 1:
            environment["CUDA_VISIBLE_DEVICES"] = str(index)  # one GPU each, if any
        process = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, text=True
        )
        processes.append(process)
    printed = [process.communicate()[0] for process in processes]
    if any(process.returncode for process in processes):
        raise RuntimeError(f"The measurement of {kind} failed.")
    rows: list[Any] = json.loads(printed[0].splitlines()[-1])
    return rows


def main() -> None:
    """Read the command line, run, print and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    help_preset = "preset to train (default symae_shapes)"
    parser.add_argument("--preset", default="symae_shapes", help=help_preset)
    for name, default, text in (
        ("batch", 16, "groups in a global batch"),
        ("steps", 10, "training steps in a timing; many on a GPU"),
        ("turns", 5, "timings of each"),
    ):
        text = f"{text} (default {default})"
        parser.add_argument(f"--{name}", type=int, default=default, help=text)
    parser.add_argument("--out", help="JSON file to write the results to")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        children = {"devices": measure_devices, "workers": measure_workers}
        print(json.dumps(children[arguments.child](arguments)))
        return

    paper = [on_paper(preset) for preset in preset_names()]
    print_table(paper, list(paper[0]))
    rows = run_child("devices", arguments, 1) + run_child("workers", arguments, 2)
    print_table(rows, COLUMNS)
    if arguments.out:
        kept = ("preset", "batch", "steps", "turns")
        settings = {name: getattr(arguments, name) for name in kept}
        results = {"settings": settings, "measured": rows, "on paper": paper}
        write_json(arguments.out, results)


if __name__ == "__main__":
    main()
