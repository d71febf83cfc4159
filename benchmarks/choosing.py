"""Effects of code sizes and noise strength, on a small exposures benchmark.

Every row is a dense SymAE with the conditional nuisance encoder, trained on 1000 stars
of 16 exposures and evaluated on 500 new ones. The reference has two codes of 8 numbers
and Gaussian noise of strength 0.5; each row changes one setting. Errors are mean
squared errors divided by the variance of the ground truth. The last column is the R2 of
a perceptron that predicts the state from single nuisance codes, averaged over
temperature, abundances and line width; negative values count as 0, the chance level.

    python benchmarks/choosing.py
"""

from __future__ import annotations

import argparse
from typing import Any

import keras
import numpy as np
from common import print_table

from symae_keras.data import simulate_exposures
from symae_keras.evaluation import exposures_limit, leakage, redatuming_error
from symae_keras.models import SymAE
from symae_keras.training import Training, normalization, train

DEFAULT = {"coherent_dim": 8, "nuisance_dim": 8, "noise_strength": 0.5}
CHANGES: tuple[dict[str, Any], ...] = (
    {},
    {"coherent_dim": 4},
    {"coherent_dim": 16},
    {"nuisance_dim": 2},
    {"nuisance_dim": 4},
    {"nuisance_dim": 16},
    {"noise_strength": 0.0},
    {"noise_strength": 0.1},
    {"noise_strength": 0.25},
    {"noise_strength": 1.0},
    {"nuisance_noise": "variational", "noise_strength": 1e-3},
)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--epochs", type=int, default=32, help="passes of 63 steps (default 32)"
    )
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    groups = simulate_exposures(n_states=1000, n_instances=16, seed=100 + options.seed)
    test = simulate_exposures(n_states=500, n_instances=16, seed=1)

    table: list[dict[str, Any]] = []
    for change in CHANGES:
        keras.utils.set_random_seed(options.seed)
        arguments = {**DEFAULT, **change}
        model = SymAE(
            groups.instance_shape,
            normalization=normalization(groups),
            seed=options.seed,
            **arguments,
        )
        train(model, groups, Training(epochs=options.epochs), options.seed)
        error = redatuming_error(model, test)
        told = leakage(model, test).state_from_nuisance.values()
        table.append(
            {
                "coherent_dim": arguments["coherent_dim"],
                "nuisance_dim": arguments["nuisance_dim"],
                "noise": arguments.get("nuisance_noise", "gaussian"),
                "strength": arguments["noise_strength"],
                "reconstruction": error.reconstruction,
                "redatuming": float(error),
                "state from nuisance": float(np.mean([max(r, 0.0) for r in told])),
            }
        )
        print(table[-1], flush=True)
    print_table(table, list(table[0]))
    print(f"limit: {exposures_limit(16, 500, 1):.4f}")


if __name__ == "__main__":
    main()
