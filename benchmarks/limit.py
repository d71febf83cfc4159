"""The error predicted before training against what the linear mixed model reaches.

Six sets of simulated exposures differ in groups, instances, noise and form; they are
those of `tune.py`. `redatuming_limit` predicts, from the groups of each set alone, the
redatuming error at the set's own number of instances. `LinearMixedModel` is fitted to
the same groups, and its error is measured on 300 other groups, whose virtual instances
are known exactly. The prediction is good if the ratio lies between 0.8 and 1.2.

    python benchmarks/limit.py --out limit.json
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

from common import print_table, write_json
from tune import N_TEST, SETS, Simulation

from symae_keras.classical import LinearMixedModel
from symae_keras.evaluation import redatuming_error, redatuming_limit


def compared(simulation: Simulation, seed: int) -> dict[str, Any]:
    """Predicted and reached errors of a set."""
    groups = simulation.simulate(simulation.groups, seed)
    test = simulation.simulate(N_TEST, seed + 1)
    start = time.perf_counter()
    limit = redatuming_limit(groups, (simulation.instances,))
    seconds = time.perf_counter() - start
    reached = float(redatuming_error(LinearMixedModel().fit(groups), test))
    ((low, high),) = limit.intervals
    return {
        "T": simulation.instances,
        "predicted": limit.errors[0],
        "low": low,
        "high": high,
        "reached": reached,
        "ratio": limit.errors[0] / reached,
        "interaction": limit.interaction,
        "noise": limit.noise,
        "seconds": seconds,
        "warnings": len(limit.warnings),
    }


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sets", nargs="*", choices=SETS, default=list(SETS))
    parser.add_argument("--seed", type=int, default=0, help="seed of the groups")
    parser.add_argument("--out", type=Path, help="write the results as JSON")
    options = parser.parse_args()
    table = [
        {"set": name, **compared(SETS[name], options.seed)} for name in options.sets
    ]
    print_table(table, list(table[0]))
    if options.out:
        write_json(options.out, table)


if __name__ == "__main__":
    main()
