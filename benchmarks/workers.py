"""Comparison of training in one process with training by several workers and kills.

`symae train PRESET` runs in one process, then in two and in three on this machine, each
with its part of the same batches; all workers must end with the same metrics. Workers
draw different noise than a single process, so errors are compared over several seeds.
Each seed sets the stars, the initial weights and the noise. Then one of two workers,
chosen at random, is killed at a random moment (SIGKILL). The other must stop within a
minute with an error message of one sentence, and both, restarted with `--resume`, must
reach the same quality.

    python benchmarks/workers.py --epochs 6 --seeds 5
"""

from __future__ import annotations

import argparse
import itertools
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from common import print_table, worker_environments, write_json

_NUMBER = re.compile(r"(reconstruction|redatuming) error\s+([0-9.]+)")


def start(count: int, arguments: list[str]) -> list[subprocess.Popen[str]]:
    """Start one process, or the given number of workers."""
    command = [sys.executable, "-m", "symae_keras.cli", "train", *arguments]
    pipe = subprocess.PIPE
    return [
        subprocess.Popen(command, env=each, stdout=pipe, stderr=pipe, text=True)
        for each in worker_environments(count)
    ]


def finish(processes: list[subprocess.Popen[str]]) -> list[dict[str, float]]:
    """Wait for processes that must succeed; return the errors that each printed."""
    found = []
    for process in processes:
        out, error = process.communicate()
        if process.returncode:
            raise RuntimeError(error)
        found.append({name: float(value) for name, value in _NUMBER.findall(out)})
    return found


def kill_one(processes: list[subprocess.Popen[str]], after: float, which: int) -> Any:
    """Kill a worker; return the time until the other stops, and its message."""
    time.sleep(after)
    processes[which].kill()
    killed = time.perf_counter()
    _, error = processes[1 - which].communicate(timeout=300)
    seconds = time.perf_counter() - killed
    processes[which].communicate()
    sentences = [line for line in error.splitlines() if line.startswith("symae:")]
    return seconds, processes[1 - which].returncode, sentences


def over_one_process(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return redatuming errors of workers relative to one process of the same seed."""
    errors = {(row["processes"], row["seed"]): row["redatuming"] for row in rows}
    found = []
    for count in dict.fromkeys(count for count, _ in errors if count > 1):
        ratios = [
            error / errors[1, seed]
            for (workers, seed), error in errors.items()
            if workers == count and (1, seed) in errors
        ]
        if ratios:
            found.append(
                {
                    "processes": count,
                    "seeds": len(ratios),
                    "error over one process": statistics.median(ratios),
                    "lowest": min(ratios),
                    "highest": max(ratios),
                }
            )
    return found


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--preset", default="symae_exposures", help="or a recipe")
    parser.add_argument("--epochs", type=int, default=16, help="default 16")
    parser.add_argument(
        "--workers", type=int, nargs="*", default=[1, 2, 3], help="default 1 2 3"
    )
    parser.add_argument("--seeds", type=int, default=1, help="trainings, default 1")
    parser.add_argument("--first-seed", type=int, default=0, help="default 0")
    parser.add_argument("--kills", type=int, default=2, help="default 2")
    parser.add_argument("--seed", type=int, default=0, help="of the times, default 0")
    parser.add_argument("--out", type=Path, help="write the results as JSON")
    options = parser.parse_args()
    draw = random.Random(options.seed)
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)

        def arguments(name: str, *more: str) -> list[str]:
            epochs = ["--epochs", str(options.epochs)]
            return [options.preset, "--out", str(folder / name), *epochs, *more]

        length = 0.0
        seeds = range(options.first_seed, options.first_seed + options.seeds)
        for seed, count in itertools.product(seeds, options.workers):
            begin = time.perf_counter()
            more = arguments(f"of{count}-seed{seed}", "--seed", str(seed))
            metrics = finish(start(count, more))
            length = time.perf_counter() - begin
            rows.append(
                {
                    "processes": count,
                    "seed": seed,
                    **metrics[0],
                    "all the same": all(each == metrics[0] for each in metrics),
                    "seconds": length,
                }
            )
            print(rows[-1], flush=True)
        ratios = over_one_process(rows)
        for n in range(options.kills):
            which, after = draw.randrange(2), draw.uniform(0.2, 0.7) * length
            killed = start(2, arguments(f"killed{n}"))
            seconds, code, sentences = kill_one(killed, after, which)
            metrics = finish(start(2, arguments(f"killed{n}", "--resume")))
            rows.append(
                {
                    "processes": f"2, worker {which} killed after {after:.0f} s",
                    **metrics[0],
                    "all the same": metrics[0] == metrics[1],
                    "other ended after s": seconds,
                    "exit code": code,
                }
            )
            print(rows[-1], sentences, flush=True)
    columns = [*rows[0], "other ended after s", "exit code"]
    print_table(rows, columns)
    if ratios:
        print_table(ratios, list(ratios[0]))
    if options.out:
        write_json(options.out, {"runs": rows, "over one process": ratios})


if __name__ == "__main__":
    main()
