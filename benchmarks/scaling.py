"""Speed-up by more replicas or workers, and what to expect of 64 GPUs.

There are three tables:

- measured: steps per second of one model and one global batch without a strategy, under
  MirroredStrategy with one and two replicas, and with two and four worker processes on
  this machine. Ratios are relative to no strategy, timed in turn in the same process:
  the median over the turns, with the lowest and the highest. With one replica the ratio
  shows the overhead of the strategy, with two replicas the speed-up, which is at most
  2. A replica is a GPU, or a core on a machine without GPUs: each process then uses one
  thread per operation, and more workers than cores cannot be faster.
- on paper, for some presets: the bytes that replicas sum in a step (4 per parameter)
  and the floating-point operations of the step, computed from the shapes in its layers.
  The last column is the bandwidth in GB/s at which two replicas of 1 TFLOP/s each spend
  equal time on sending and on computing. For n replicas, the bandwidth must be n - 1
  times as high, since a ring sends the bytes of each replica nearly twice and every
  replica computes 1 / n of the batch.
- 64 GPUs on paper: time of computing and of sending for each step, and the efficiency,
  which is the speed-up over the number of GPUs. The same batch is split among all GPUs,
  or every GPU gets a whole batch; the last column is the number of batches each that
  makes it 0.9. A ring sends `2 (n - 1) / n` times the bytes over the
  slowest link, and waits `2 (n - 1)` times for its latency. Sending overlaps with the
  backward pass, two thirds of computing. The speed of a GPU and of the link are
  arguments; the defaults are 20 TFLOP/s, 25 GB/s (200 Gbit/s) and 5 microseconds.

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
from common import kernel_calls, print_table, worker_environments, write_json

from symae_keras.data import GroupedData
from symae_keras.distribute import is_chief, make_strategy, meet, running
from symae_keras.zoo.recipes import load_recipe

#: Number of GPUs of the table on paper.
MANY: Final = 64
COLUMNS: Final = ["how", "replicas", "steps / s", "ratio", "lowest", "highest"]

Timed = Callable[[], float]


# === On paper ===


def forward_operations(model: keras.Model, x: Any) -> int:
    """Return the multiplications and additions of a call, from the shapes of layers.

    Only dense and convolutional layers are counted; all other operations are few.
    """
    backward = keras.layers.Conv1DTranspose, keras.layers.Conv2DTranspose
    counted = 0
    for layer, shape, output in kernel_calls(model, x):
        # The whole kernel is applied at each pixel of the smaller image, or row.
        places = shape if isinstance(layer, backward) else output
        counted += 2 * int(np.prod(places[:-1])) * int(np.prod(layer.kernel.shape))
    return counted


def on_paper(preset: str) -> dict[str, Any] | None:
    """Return operations and transmitted bytes of a step, at the preset's batch size.

    `None` for presets whose data must come from the user.
    """
    recipe = load_recipe(preset).recipe
    if recipe.data is None:
        return None
    groups = recipe.data(0)
    model = recipe.model(groups, 0)
    n_instances = min(recipe.instances or groups.n_instances, groups.n_instances)
    of_groups = (n_instances,) if hasattr(model, "redatum") else ()
    x = np.zeros((1, *of_groups, *groups.instance_shape), "float32")
    # Three passes: forward, backward for inputs, and backward for weights.
    step = 3 * forward_operations(model, x) * recipe.batch_size
    parameters = sum(int(np.prod(each.shape)) for each in model.trainable_variables)
    return {
        "preset": preset,
        "parameters": parameters,
        "MB a step": 4 * parameters / 1e6,
        "GFLOP a step": step / 1e9,
        "GB/s a TFLOP/s": 4e3 * parameters / (step / 2),
    }


def many_gpus(paper: dict[str, Any], arguments: argparse.Namespace) -> dict[str, Any]:
    """Return times and efficiencies of many GPUs from a row on paper."""
    sent = 2 * (MANY - 1) / MANY * paper["MB a step"] / 1e3 / arguments.link
    sending = sent + 2 * (MANY - 1) * arguments.latency * 1e-6
    alone = paper["GFLOP a step"] / 1e3 / arguments.tflops
    found: dict[str, Any] = {"preset": paper["preset"], "sending (ms)": 1e3 * sending}
    for name, computing in (("one batch", alone / MANY), ("a batch each", alone)):
        waiting = max(0.0, sending - computing * 2 / 3)
        found[f"{name}: computing (ms)"] = 1e3 * computing
        found[f"{name}: efficiency"] = computing / (computing + waiting)
    # Waiting may take a ninth of the time of computing.
    found["batches each for 0.9"] = sending / (alone * (2 / 3 + 1 / 9))
    return found


# === Measured ===


def model_and_batch(preset: str, batch_size: int) -> tuple[keras.Model, Any]:
    """Return the compiled model of a preset and a batch for it."""
    recipe = load_recipe(preset).recipe
    assert recipe.data is not None
    groups: GroupedData = recipe.data(0)
    x = groups.x[:batch_size, : recipe.instances]
    model = recipe.model(groups, 0)
    model.compile("adam", "mse")
    return model, np.ascontiguousarray(x, "float32")


def training(arguments: argparse.Namespace, strategy: Any) -> Timed:
    """Return a function that trains for some steps and returns seconds per step."""
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
    """Return a table row from the seconds per step of each turn."""
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
    """Time no strategy, one replica and two replicas, in turn in this process."""
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
    """Time the chief alone without a strategy, and all workers, in turn."""
    strategy = make_strategy("multiworker")
    assert strategy is not None
    timed = [training(arguments, None), training(arguments, strategy)]
    if is_chief(strategy):
        timed[0]()
    timed[1]()
    alone, together = [], []
    for _ in range(arguments.turns):
        if is_chief(strategy):
            alone.append(timed[0]())
        with running(strategy):
            meet(strategy)
        together.append(timed[1]())
    if not is_chief(strategy):
        return []
    return [row("workers", strategy.num_replicas_in_sync, alone, together)]


def run_child(kind: str, arguments: argparse.Namespace, count: int) -> list[Any]:
    """Run this file in new processes; return the rows that the first one prints."""
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
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    help_preset = "preset to train (default symae_shapes)"
    parser.add_argument("--preset", default="symae_shapes", help=help_preset)
    options: tuple[tuple[str, int | float, str], ...] = (
        ("batch", 16, "groups in a global batch"),
        ("steps", 10, "training steps in a timing; many on a GPU"),
        ("turns", 5, "timings of each"),
        ("tflops", 20.0, "sustained TFLOP/s of a GPU on paper"),
        ("link", 25.0, "GB/s of the slowest link on paper"),
        ("latency", 5.0, "microseconds per message on paper"),
    )
    for name, default, text in options:
        text = f"{text} (default {default:g})"
        parser.add_argument(f"--{name}", type=type(default), default=default, help=text)
    parser.add_argument(
        "--on-paper",
        nargs="*",
        default=["symae_exposures", "symae_exposures_original", "symae_shapes"],
        metavar="PRESET",
        help="presets of the tables on paper",
    )
    parser.add_argument(
        "--paper", action="store_true", help="only the tables on paper, without timing"
    )
    parser.add_argument("--out", help="JSON file to write the results to")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        children = {"devices": measure_devices, "workers": measure_workers}
        print(json.dumps(children[arguments.child](arguments)))
        return

    found = (on_paper(preset) for preset in arguments.on_paper)
    paper = [each for each in found if each is not None]
    print_table(paper, list(paper[0]))
    many = [many_gpus(each, arguments) for each in paper]
    print_table(many, list(many[0]))
    rows = [] if arguments.paper else run_child("devices", arguments, 1)
    for count in () if arguments.paper else (2, 4):
        rows += run_child("workers", arguments, count)
    if rows:
        print_table(rows, COLUMNS)
    if arguments.out:
        kept = ("preset", "batch", "steps", "turns", "tflops", "link", "latency")
        settings = {name: getattr(arguments, name) for name in kept}
        results = {"settings": settings, "measured": rows, "on paper": paper}
        results["64 GPUs"] = many
        write_json(arguments.out, results)


if __name__ == "__main__":
    main()
