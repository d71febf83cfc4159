"""Cost of data input: batches compared with training steps, and large data sets.

There are two comparisons and a plan. In the comparisons, the variants are timed in turn
in one run; ratios are medians over the turns, with the lowest and the highest value.

- batches: time of one batch of 16 groups x 8 instances x 256 pixels, drawn from memory
  or from shards, relative to one training step of the default dense SymAE on a batch in
  memory. Eight epochs of 125 batches are timed, to include the start of epochs.
- streaming: instances of 512 pixels in groups of 16 are written into shards and read
  once through `batches`, in a separate process. The table shows bytes per second
  relative to `np.load` on the same files, and the peak memory of the process. It
  includes TensorFlow but not the pages of memory-mapped files, which the system frees
  when memory gets scarce. The default is 2 million instances, 4 GB; the files are
  removed at the end.
- 20 million such instances on paper, from the rates, the sizes and the time of a
  training step that were measured before: time of writing, of an epoch of reading and
  of an epoch of training, with one and more processes, and memory. Each process reads
  its own part of each batch, and batches are drawn while the previous step is computed,
  so an epoch takes as long as the slower of both. Time of sending gradients is not
  included; see `scaling.py`.

Files that were just written are in the cache of the operating system, so neither method
waits for a disk.

    python benchmarks/input.py --out input.json
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
from common import print_table, write_json

from symae_keras.data import GroupedData, Shards, ShardWriter, simulate_exposures

BATCH: Final = 16
INSTANCES: Final = 8
#: Sizes of the large data set.
PIXELS: Final = 512
GROUP: Final = 16
STEPS: Final = 250
#: Instances and numbers of processes of the plan.
PLANNED: Final = 20_000_000
PROCESSES: Final = (1, 4, 16)


def median_and_range(values: list[float]) -> dict[str, float]:
    """Return the table entries for several turns."""
    return {
        "ratio": float(np.median(values)),
        "lowest": min(values),
        "highest": max(values),
    }


# === Batches ===


def time_of_batches(dataset: Any) -> float:
    """Return seconds per batch, drawn and passed on within TensorFlow, as in `fit`."""
    epochs = 8
    start = time.perf_counter()
    steps = int(dataset.repeat(epochs).reduce(np.int64(0), lambda n, *_: n + 1))
    return (time.perf_counter() - start) / steps


def time_of_steps(model: Any, batch: Any) -> float:
    """Return seconds per training step on a batch in memory."""
    start = time.perf_counter()
    for _ in range(STEPS):
        model.train_on_batch(*batch)
    return (time.perf_counter() - start) / STEPS


def compare_batches(turns: int, folder: Path) -> list[dict[str, Any]]:
    """Compare the time of a batch with that of a training step."""
    import keras

    from symae_keras.data import batches
    from symae_keras.models import SymAE

    groups = simulate_exposures(2000, 16)
    with ShardWriter(folder / "exposures") as writer:
        writer.add(groups)
    datasets = {
        "memory": batches(groups, BATCH, INSTANCES),
        "shards": batches(Shards(folder / "exposures"), BATCH, INSTANCES),
    }
    model = SymAE((256,))
    model.compile(keras.optimizers.Adam(), "mse")
    x = keras.ops.convert_to_tensor(groups.x[:BATCH, :INSTANCES])
    model.train_on_batch(x, x)
    ratios: dict[str, list[float]] = {name: [] for name in datasets}
    seconds: dict[str, list[float]] = {name: [] for name in (*datasets, "step")}
    for _ in range(turns):
        step = time_of_steps(model, (x, x))
        seconds["step"].append(step)
        for name, dataset in datasets.items():
            seconds[name].append(time_of_batches(dataset))
            ratios[name].append(seconds[name][-1] / step)
    return [
        {
            "what": f"batch from {name} / training step",
            **median_and_range(values),
            "ms": 1e3 * float(np.median(seconds[name])),
            "ms of the other": 1e3 * float(np.median(seconds["step"])),
        }
        for name, values in ratios.items()
    ]


# === Streaming ===


def parts(n_instances: int) -> Iterator[GroupedData]:
    """Yield a large data set in parts."""
    rng = np.random.default_rng(0)
    groups, at_once = n_instances // GROUP, 2000
    for start in range(0, groups, at_once):
        shape = (min(at_once, groups - start), GROUP, PIXELS)
        yield GroupedData(rng.standard_normal(shape, dtype="float32"))


def stream(folder: Path) -> None:
    """Read everything once through `batches`; print seconds, bytes and memory."""
    from symae_keras.data import batches

    dataset = batches(Shards(folder), BATCH, None)
    size, peak, start = 0, 0, time.perf_counter()
    for step, (x, _) in enumerate(dataset):
        size += 4 * int(np.prod(x.shape))
        if step % 500 == 0:
            status = Path("/proc/self/status").read_text(encoding="utf-8")
            (own,) = re.findall(r"RssAnon:\s+(\d+) kB", status)
            peak = max(peak, 1024 * int(own))
    print(time.perf_counter() - start, size, peak)


def read_plainly(folder: Path) -> tuple[float, int]:
    """Read the same files with NumPy alone; return seconds and bytes."""
    size, start = 0, time.perf_counter()
    for file in sorted(folder.glob("*.x.npy")):
        size += np.load(file).nbytes
    return time.perf_counter() - start, size


def stream_elsewhere(folder: Path) -> list[float]:
    """Run `stream` in a new process, and return the numbers that it printed."""
    command = [sys.executable, __file__, "--stream", str(folder)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return [float(each) for each in done.stdout.split()]


def compare_streaming(turns: int, folder: Path, n: int) -> list[dict[str, Any]]:
    """Compare the streaming rate with that of NumPy, and measure the memory."""
    start = time.perf_counter()
    with ShardWriter(folder / "large") as writer:
        for part in parts(n):
            writer.add(part)
    writing = time.perf_counter() - start
    ratios, memories, rates = [], [], []
    for _ in range(turns):
        seconds, size = read_plainly(folder / "large")
        ours, ours_size, memory = stream_elsewhere(folder / "large")
        assert size == ours_size == n // GROUP * GROUP * PIXELS * 4
        ratios.append((ours_size / ours) / (size / seconds))
        rates.append(ours_size / ours / 1e9)
        memories.append(memory / 1e9)
    return [
        {
            "what": f"streaming {size / 1e9:.2f} GB / np.load",
            **median_and_range(ratios),
            "GB/s": float(np.median(rates)),
            "largest GB": max(memories),
            "GB/s of writing": size / writing / 1e9,
            "index, bytes per group": index_size(folder / "large") / (n // GROUP),
        }
    ]


def index_size(folder: Path) -> int:
    """Return the bytes of all index files."""
    return sum(each.stat().st_size for each in folder.glob("*.npz"))


# === On paper ===


def step_on_stream() -> float:
    """Return seconds of a training step on a batch of the large data set."""
    import keras

    from symae_keras.models import SymAE

    model = SymAE((PIXELS,))
    model.compile(keras.optimizers.Adam(), "mse")
    shape = BATCH, GROUP, PIXELS
    x = keras.ops.convert_to_tensor(
        np.random.default_rng(0).normal(size=shape).astype("float32")
    )
    model.train_on_batch(x, x)
    return time_of_steps(model, (x, x))


def on_paper(streamed: dict[str, Any], step: float) -> list[dict[str, Any]]:
    """Return the plan for many instances, from measured rates, for each process count.

    Args:
        streamed: The row of `compare_streaming`.
        step: Seconds per training step of `BATCH` groups.
    """
    size = PLANNED * PIXELS * 4
    groups = PLANNED // GROUP
    rows = []
    for n in PROCESSES:
        reading = size / n / (1e9 * streamed["GB/s"])
        computing = groups / BATCH / n * step
        rows.append(
            {
                "processes": n,
                "GB": size / 1e9,
                "writing, min": size / (1e9 * streamed["GB/s of writing"]) / 60.0,
                "epoch of reading, min": reading / 60.0,
                "epoch of training, min": max(reading, computing) / 60.0,
                "GB of memory each": streamed["largest GB"]
                + groups * streamed["index, bytes per group"] / 1e9,
            }
        )
    return rows


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--turns", type=int, default=3, help="default 3")
    parser.add_argument(
        "--instances", type=int, default=2_000_000, help="default 2000000"
    )
    parser.add_argument("--folder", type=Path, help="for the files; default: temporary")
    parser.add_argument("--out", type=Path, help="write the results as JSON")
    parser.add_argument("--stream", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.stream:
        stream(options.stream)
        return
    with tempfile.TemporaryDirectory(dir=options.folder) as temporary:
        folder = Path(temporary)
        rows = compare_batches(options.turns, folder)
        print_table(rows, list(rows[0]))
        more = compare_streaming(options.turns, folder, options.instances)
        print_table(more, list(more[0]))
        step = step_on_stream()
        planned = on_paper(more[0], step)
        print(f"{PLANNED:,} instances on paper, {1e3 * step:.0f} ms per training step:")
        print_table(planned, list(planned[0]))
    if options.out:
        write_json(options.out, rows + more + planned)


if __name__ == "__main__":
    main()
