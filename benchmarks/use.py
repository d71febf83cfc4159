"""CPU time of `redatum` and other methods, compiled and operation by operation.

Two models with the same weights redatum 100 batches each, whose number of instances
varies: one as users call it, one with `run_eagerly = True`. They take turns, batch by
batch, so that what else the machine does meets both alike. A ratio is the time of the
eager model over that of the compiled one, of the whole process: the median over
batches, with the lowest and the highest tenth. "From the start" is the ratio over all
batches, which include compilation.

    python benchmarks/use.py --out use.json
"""

from __future__ import annotations

import argparse
import os
import time
from typing import Any, Final

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import keras
import numpy as np
from common import print_table, write_json
from keras import ops

from symae_keras.models import SymAE

PIXELS: Final = 256
#: Groups and the largest number of instances.
SIZES: Final = ((8, 6), (64, 16))
CALLS: Final = 100
#: Calls after which everything is compiled.
WARM: Final = 10
METHODS: Final = ("encode", "reconstruct", "redatum")


def timed(model: SymAE, method: str, x: Any) -> float:
    """Return seconds of the process's CPU for one call."""
    arguments = (x, x) if method == "redatum" else (x,)
    start = time.process_time()
    result = getattr(model, method)(*arguments)
    keras.tree.map_structure(ops.convert_to_numpy, result)
    return time.process_time() - start


def compare(method: str, groups: int, instances: int) -> dict[str, Any]:
    """Time one method of both models in turn."""
    compiled, eager = (SymAE((PIXELS,), seed=0) for _ in range(2))
    eager.set_weights(compiled.get_weights())
    eager.run_eagerly = True
    rng = np.random.default_rng(0)
    timed(eager, method, rng.normal(size=(2, 2, PIXELS)))  # what starts once
    times = []
    for call in range(WARM + CALLS):
        x = rng.normal(size=(groups, instances - call % 4, PIXELS)).astype("float32")
        times.append([timed(model, method, x) for model in (eager, compiled)])
    ratios = [before / after for before, after in times[WARM:]]
    total = np.sum(times[:CALLS], axis=0)
    return {
        "method": method,
        "groups x instances": f"{groups} x {instances}",
        "eager (ms)": 1e3 * float(np.median([t[0] for t in times[WARM:]])),
        "compiled (ms)": 1e3 * float(np.median([t[1] for t in times[WARM:]])),
        "ratio": float(np.median(ratios)),
        "lowest": float(np.quantile(ratios, 0.1)),
        "highest": float(np.quantile(ratios, 0.9)),
        "from the start": float(total[0] / total[1]),
    }


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--out", help="JSON file for the results")
    arguments = parser.parse_args()
    rows = [compare(method, *size) for method in METHODS for size in SIZES]
    print_table(rows, list(rows[0]))
    if arguments.out:
        write_json(arguments.out, rows)


if __name__ == "__main__":
    main()
