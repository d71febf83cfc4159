"""Comparison of the choice of `tune` with the best of a grid, by the true error.

Six sets of simulated exposures differ in groups, instances, noise and form. For each,
`tune` chooses settings within a budget, without ground truth. A grid of 30 settings is
trained on the same groups as its final model: three sizes of the coherent code, two of
the nuisance code, and five noises. The default settings are one of the 30. The true
redatuming error of all models is measured on 300 other groups.

The choice is good if its true error is at most 1.15 times the lowest error of the grid,
which is unknown without ground truth.

    python benchmarks/tune.py --lines tune.jsonl --out tune.json

`--lines` stores each result as a line of JSON, and resumes an interrupted run.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import time
from pathlib import Path
from typing import Any, Final

import keras
import numpy as np
from common import print_table, with_noise, write_json

from symae_keras.data import GroupedData, simulate_exposures
from symae_keras.evaluation import estimate_redatuming_error, redatuming_error
from symae_keras.training import SymAESettings, Training, train, tune

N_TEST: Final = 300
NOISES: Final = (
    ("gaussian", 0.25),
    ("gaussian", 0.5),
    ("gaussian", 1.0),
    ("variational", 3e-4),
    ("variational", 1e-3),
)


@dataclasses.dataclass(frozen=True)
class Simulation:
    """Size, noise and form of a set."""

    groups: int
    instances: int
    snr: float
    entangled: bool

    def simulate(self, groups: int, seed: int) -> GroupedData:
        """Return groups of these properties, with exact virtual instances."""
        made = simulate_exposures(groups, self.instances, seed, self.entangled)
        return with_noise(made, self.snr, seed)


SETS: Final = {
    "100x16": Simulation(100, 16, 100.0, True),
    "200x8": Simulation(200, 8, 50.0, False),
    "500x3": Simulation(500, 3, 20.0, False),
    "500x8": Simulation(500, 8, 100.0, True),
    "1000x16": Simulation(1000, 16, 200.0, True),
    "2000x4": Simulation(2000, 4, 200.0, True),
}


def grid() -> list[SymAESettings]:
    """Return the settings of the grid: first the default, then in random order."""
    default = SymAESettings()
    points = [
        SymAESettings(
            coherent_dim=p,
            nuisance_dim=q,
            nuisance_noise=noise,
            noise_strength=strength,
        )
        for p, q, (noise, strength) in itertools.product((4, 8, 16), (4, 8), NOISES)
    ]
    points.remove(default)
    order = np.random.default_rng(0).permutation(len(points))
    return [default, *(points[n] for n in order)]


def measured(model: Any, test: GroupedData, settings: SymAESettings) -> dict[str, Any]:
    """Return true and estimated errors of a model."""
    return {
        "settings": dataclasses.asdict(settings),
        "truth": float(redatuming_error(model, test)),
        "estimate": float(estimate_redatuming_error(model, test)),
    }


def trained(
    settings: SymAESettings, groups: GroupedData, test: GroupedData
) -> dict[str, Any]:
    """Return errors of given settings, trained like the final model of `tune`."""
    start = time.perf_counter()
    keras.utils.set_random_seed(0)
    model = settings.build(groups, 0)
    train(model, groups, Training(), 0)
    seconds = time.perf_counter() - start
    return {"seconds": seconds, **measured(model, test, settings)}


def tuned(groups: GroupedData, test: GroupedData, budget_s: float) -> dict[str, Any]:
    """Return errors of the choice of `tune`, and its trials."""
    start = time.perf_counter()
    result = tune(
        groups,
        budget_s,
        progress=lambda text, share: print(f"{share:4.0%} {text}", flush=True),
    )
    seconds = time.perf_counter() - start
    row = {"seconds": seconds, **measured(result.model, test, result.settings)}
    trials = [dataclasses.asdict(each) for each in result.trials]
    return {**row, "reported": float(result.estimate), "trials": trials}


def summary(name: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Compare the choice with the default settings and the best of the grid."""
    points = [row for row in rows if row["kind"] == "grid"]
    (choice,) = (row for row in rows if row["kind"] == "tune")
    best = min(points, key=lambda row: float(row["truth"]))
    default = dataclasses.asdict(SymAESettings())
    (usual,) = (row for row in points if row["settings"] == default)
    return {
        "set": name,
        **dataclasses.asdict(SETS[name]),
        "grid": len(points),
        "default": usual["truth"],
        "best of grid": best["truth"],
        "choice": choice["truth"],
        "choice / best": choice["truth"] / best["truth"],
        "choice / default": choice["truth"] / usual["truth"],
        "estimate": choice["reported"],
        "trials": len(choice["trials"]),
        "seconds": choice["seconds"],
        "chosen": str(SymAESettings(**choice["settings"])),
        "best settings": str(SymAESettings(**best["settings"])),
    }


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sets", nargs="*", choices=SETS, default=list(SETS))
    parser.add_argument("--budget", type=float, default=900.0, help="s for each set")
    parser.add_argument(
        "--points", type=int, default=30, help="points of the grid, for a quick test"
    )
    parser.add_argument("--lines", type=Path, help="JSON lines of the results so far")
    parser.add_argument("--out", type=Path, help="write the results as JSON")
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    if options.lines and options.lines.exists():
        lines = options.lines.read_text(encoding="utf-8").splitlines()
        rows = [json.loads(line) for line in lines]
    table = []
    for name in options.sets:
        simulation = SETS[name]
        groups = simulation.simulate(simulation.groups, 0)
        test = simulation.simulate(N_TEST, 1)
        fit, _ = groups.split(0.8, 0)
        for settings in (None, *grid()[: options.points]):
            key: dict[str, Any] = {"set": name, "kind": "grid"}
            if settings is None:
                key |= {"kind": "tune", "budget": options.budget}
            else:
                key["settings"] = dataclasses.asdict(settings)
            if any(key.items() <= row.items() for row in rows):
                continue
            if settings is None:
                result = tuned(groups, test, options.budget)
            else:
                result = trained(settings, fit, test)
            rows.append({**key, **result})
            if options.lines:
                with options.lines.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(rows[-1]) + "\n")
            print(
                name, key["kind"], settings or "", f"{result['truth']:.4f}", flush=True
            )
        others = {"budget": options.budget}
        of_set = [row for row in rows if row["set"] == name]
        of_set = [row for row in of_set if (others | row)["budget"] == options.budget]
        table.append(summary(name, of_set))
    print_table(table, ("set", *list(table[0])[6:-2]))
    for row in table:
        print(f"{row['set']}: {row['chosen']}; best of grid {row['best settings']}")
    if options.out:
        write_json(options.out, {"summary": table, "rows": rows})


if __name__ == "__main__":
    main()
