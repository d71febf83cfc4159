"""Coverage of the interval of the estimated redatuming error, with few groups.

Models and simulated sets: SymAE (the preset `symae_exposures`) and principal components
on stellar exposures, the linear mixed model and the mean swap on replicates of a
spectrometer. For each number of held-out groups, the estimate is computed from random
samples of 400 test groups. The table has the true redatuming error of all of them, the
median of estimate / truth, the share of samples whose interval of level 0.9 contains
the truth, and the median of its upper over its lower end.

    python benchmarks/interval.py --out interval.json
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
from common import print_table, write_json

import symae_keras as sk
from symae_keras.data import GroupedData, simulate_exposures
from symae_keras.data.simulators.replicates import simulate_replicates
from symae_keras.evaluation import estimate_redatuming_error, redatuming_error

TRAIN: Final = 60
TEST: Final = 400
SIZES: Final = (5, 9, 20, 40, 100)


def models() -> Iterator[tuple[str, Any, GroupedData]]:
    """Yield names, trained models and test groups."""
    stars = simulate_exposures(TRAIN + TEST, 8, 0)
    yield "symae_exposures", sk.zoo.load("symae_exposures"), stars[TRAIN:]
    yield "PCA, exposures", sk.classical.GroupedPCA().fit(stars[:TRAIN]), stars[TRAIN:]
    samples = simulate_replicates(TRAIN + TEST, 4, 0)
    fit, test = samples[:TRAIN], samples[TRAIN:]
    mixed = sk.classical.LinearMixedModel().fit(fit)
    yield "linear mixed model, replicates", mixed, test
    yield "mean swap, replicates", sk.classical.MeanSwap().fit(fit), test


def row(name: str, model: Any, test: GroupedData, n: int, draws: int) -> dict[str, Any]:
    """Return the coverage for samples of `n` groups."""
    truth = float(redatuming_error(model, test))
    rng = np.random.default_rng(n)
    found = [
        estimate_redatuming_error(
            model, test[np.sort(rng.choice(len(test), n, replace=False))], seed=seed
        )
        for seed in range(draws)
    ]
    low, high = np.array([each.interval for each in found]).T
    return {
        "model": name,
        "groups": n,
        "truth": truth,
        "estimate / truth": float(np.median(found) / truth),
        "covered": float(np.mean((low <= truth) & (truth <= high))),
        "above the truth": float(np.mean(truth < low)),
        "high / low": float(np.median(high / low)),
    }


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--draws", type=int, default=60, help="samples, default 60")
    parser.add_argument("--out", type=Path, help="write the results as JSON")
    options = parser.parse_args()
    rows = []
    for name, model, test in models():
        for n in SIZES:
            rows.append(row(name, model, test, n, options.draws))
            print(rows[-1], flush=True)
    print_table(rows, list(rows[0]))
    if options.out:
        write_json(options.out, rows)


if __name__ == "__main__":
    main()
