"""Variation over seeds, with and without annealing of the divergence.

Each model is trained on 1,000 simulated stars with 16 exposures for about 1,500
updates, once per seed. The seed sets only the model and the random draws, not the
stars. SymAE has Gaussian or variational noise and entangled exposures; ML-VAE and GVAE
need identifiable exposures. The table shows the median and the largest redatuming error
of 300 other stars, whose virtual instances are known exactly, and the number of seeds
with an error of at most 1.5 times the median.

Without annealing, the weight of the divergences is constant. The first `--plain` seeds
are also trained in this way. The time ratio is the median over seeds; the two trainings
of a seed run directly after each other.

    python benchmarks/seeds.py --seeds 20 --plain 4 --rows seeds.jsonl --out seeds.json

`--rows` stores one line per training, and resumes an interrupted run.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any, Final

import keras
import numpy as np
from common import print_table, write_json

from symae_keras.data import GroupedData, simulate_exposures
from symae_keras.evaluation import (
    CONTENDERS,
    Sizes,
    estimate_redatuming_error,
    redatuming_error,
)
from symae_keras.training import Training, train

N_TRAIN: Final = 1000
N_TEST: Final = 300
EPOCHS: Final = 24
#: Names of models, and whether their exposures are entangled.
MODELS: Final = {
    "symae_variational": True,
    "symae": True,
    "mlvae": False,
    "gvae": False,
}
#: Models without divergences, which have no annealing to compare.
NOT_ANNEALED: Final = ("symae",)


def trained(
    name: str, seed: int, annealing: float, groups: GroupedData, test: GroupedData
) -> dict[str, Any]:
    """Train once; return errors and seconds."""
    keras.utils.set_random_seed(seed)
    model = CONTENDERS[name].build(groups, Sizes(), seed)
    start = time.perf_counter()
    train(model, groups, Training(epochs=EPOCHS, kl_annealing=annealing), seed)
    seconds = time.perf_counter() - start
    error = redatuming_error(model, test)
    return {
        "model": name,
        "seed": seed,
        "annealing": annealing,
        "redatuming": float(error),
        "reconstruction": error.reconstruction,
        "estimate": float(estimate_redatuming_error(model, test)),
        "seconds": round(seconds, 2),
    }


def summary(rows: list[dict[str, Any]], name: str, annealing: float) -> dict[str, Any]:
    """Return the table row for a model with or without annealing."""
    own = [each for each in rows if each["model"] == name]
    seconds = {(row["seed"], row["annealing"]): row["seconds"] for row in own}
    errors = [row["redatuming"] for row in own if row["annealing"] == annealing]
    median = float(np.median(errors))
    line = {
        "model": CONTENDERS[name].title,
        "annealing": annealing,
        "seeds": len(errors),
        "median": median,
        "worst": max(errors),
        "within 1.5 x median": sum(each <= 1.5 * median for each in errors),
    }
    ratios = [
        value / seconds[seed, 0.0]
        for (seed, share), value in seconds.items()
        if share == annealing and (seed, 0.0) in seconds
    ]
    if annealing > 0.0 and ratios:
        line["time ratio"] = float(np.median(ratios))
    return line


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=20, help="default 20")
    parser.add_argument("--plain", type=int, default=20, help="default 20")
    parser.add_argument("--models", nargs="*", choices=MODELS, default=list(MODELS))
    parser.add_argument("--rows", type=Path, help="file with a JSON line per training")
    parser.add_argument("--out", type=Path, help="write the results as JSON")
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    if options.rows and options.rows.exists():
        lines = options.rows.read_text(encoding="utf-8").splitlines()
        rows = [json.loads(line) for line in lines]
    known = {(row["model"], row["seed"], row["annealing"]) for row in rows}
    default = Training().kl_annealing
    for seed in range(options.seeds):
        for name in options.models:
            shares = (0.0,) if name in NOT_ANNEALED else (0.0, default)
            for annealing in shares[:: 1 if seed % 2 else -1]:  # alternate the order
                plain = annealing == 0.0 and name not in NOT_ANNEALED
                if (name, seed, annealing) in known or (
                    plain and seed >= options.plain
                ):
                    continue
                groups = simulate_exposures(N_TRAIN, 16, 0, entangled=MODELS[name])
                test = simulate_exposures(N_TEST, 16, 1, entangled=MODELS[name])
                rows.append(trained(name, seed, annealing, groups, test))
                line = json.dumps(rows[-1])
                print(line, flush=True)
                if options.rows:
                    with options.rows.open("a", encoding="utf-8") as file:
                        file.write(line + "\n")
    pairs = dict.fromkeys((row["model"], row["annealing"]) for row in rows)
    table = [summary(rows, *pair) for pair in pairs]
    columns = dict.fromkeys(key for line in table for key in line)
    print_table(table, list(columns))
    if options.out:
        write_json(options.out, {"summary": table, "rows": rows})


if __name__ == "__main__":
    main()
