"""Comparison of the error predicted before training with the linear mixed model.

Six sets of simulated exposures differ in groups, instances, noise and form; they are
those of `tune.py`. From the groups of each set, `redatuming_limit` predicts the
redatuming error for the number of instances of the set. `LinearMixedModel` is fitted to
the same groups, and its error is measured on 300 other groups, whose virtual instances
are known exactly. The prediction is good if the ratio is between 0.8 and 1.2.

`--lines` reads the results of `tune.py`, which trains SymAE on the same groups as
`--seed 0`. "linear part" is the prediction without the interaction and the noise, which
a nonlinear method can avoid; the error of SymAE should not be lower than this value.

    python benchmarks/tune.py --lines tune.jsonl
    python benchmarks/limit.py --lines tune.jsonl --out limit.json
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

from common import print_table, write_json
from tune import N_TEST, SETS, Simulation

from symae_keras.classical import LinearMixedModel
from symae_keras.evaluation import redatuming_error, redatuming_limit


def compared(simulation: Simulation, seed: int) -> dict[str, Any]:
    """Return predicted and measured errors of a set."""
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
        "linear part": limit.errors[0] - limit.interaction - limit.noise,
        "seconds": seconds,
        "warnings": len(limit.warnings),
    }


def trained(lines: Path, name: str) -> float | None:
    """Return the lowest true error of the choices of `tune` on a set, or `None`."""
    rows = map(json.loads, lines.read_text(encoding="utf-8").splitlines())
    errors = [
        float(row["truth"])
        for row in rows
        if row["set"] == name and row["kind"] == "tune"
    ]
    return min(errors, default=None)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sets", nargs="*", choices=SETS, default=list(SETS))
    parser.add_argument("--seed", type=int, default=0, help="seed of the groups")
    parser.add_argument("--lines", type=Path, help="results of tune.py, seed 0 only")
    parser.add_argument("--out", type=Path, help="write the results as JSON")
    options = parser.parse_args()
    if options.lines and options.seed:
        parser.error("--lines needs the groups of --seed 0.")
    table = [
        {"set": name, **compared(SETS[name], options.seed)} for name in options.sets
    ]
    if options.lines:
        for row in table:
            row["SymAE"] = trained(options.lines, row["set"])
    print_table(table, list(table[0]))
    if options.out:
        write_json(options.out, table)


if __name__ == "__main__":
    main()
