"""SymAE on the exposures benchmark: effects of noise and conditioning, and the limit.

Every row is a dense SymAE (p = q = 8) that is trained for the same number of steps of
16 groups x 8 instances and evaluated on 1000 new stars of 16 exposures. The row shows
the medians over seeds of the reconstruction error and of the redatuming error, which
are mean squared errors divided by the variance of the ground truth. The rows "longer"
train three times as long on twice the stars in groups of 12. For rows with `over_t`, a
figure shows the errors over the number of exposures T, with the limit, the law of 1 / T
and the slopes.

    python benchmarks/exposures.py --seeds 3 --out results.json --figure curve.png
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
from common import print_table, write_json

from symae_keras.callbacks import NoiseSchedule
from symae_keras.data import GroupedData, simulate_exposures
from symae_keras.evaluation import (
    RedatumingError,
    exposures_limit,
    redatuming_error,
)
from symae_keras.models import SymAE
from symae_keras.plotting import plot_one_over_t
from symae_keras.training import Training, normalization, train

TEST_SEED = 1
TEST_STATES = 1000
N_INSTANCES = (4, 8, 16, 32)


@dataclasses.dataclass(frozen=True)
class Row:
    """Settings of one row of the table."""

    name: str
    entangled: bool = True
    arguments: dict[str, Any] = dataclasses.field(default_factory=dict)
    states: int = 2000
    steps: int = 4000
    instances: int = 8
    callback: Callable[[int], keras.callbacks.Callback] | None = None
    over_t: bool = False


def _linear(first: float, last: float, steps: int) -> Any:
    return keras.optimizers.schedules.PolynomialDecay(first, steps, last)


ROWS = (
    Row("identifiable, original", False, {"conditional_nuisance": False}),
    Row("identifiable, conditional", False),
    Row("entangled, original", arguments={"conditional_nuisance": False}),
    Row("entangled, conditional", over_t=True),
    Row("entangled, no noise", arguments={"noise_strength": 0.0}),
    Row("entangled, Bernoulli 0.5", arguments={"nuisance_noise": "bernoulli"}),
    Row(
        "entangled, variational",
        arguments={"nuisance_noise": "variational"},
        over_t=True,
    ),
    Row(
        "entangled, longer variational",
        arguments={"nuisance_noise": "variational"},
        states=4000,
        steps=12000,
        instances=12,
        over_t=True,
    ),
    Row(
        "entangled, longer",
        states=4000,
        steps=12000,
        instances=12,
        callback=lambda steps: NoiseSchedule(_linear(0.5, 0.2, steps)),
        over_t=True,
    ),
)


def fit(row: Row, seed: int, scale: float) -> SymAE:
    """Train the model of a row; `scale` shortens the training for a quick test."""
    keras.utils.set_random_seed(seed)
    groups = simulate_exposures(row.states, 16, 100 + seed, row.entangled)
    model = SymAE(
        groups.instance_shape,
        normalization=normalization(groups),
        seed=seed,
        **row.arguments,
    )
    steps_an_epoch = -(-row.states // 16)
    epochs = max(1, round(row.steps * scale / steps_an_epoch))
    steps = epochs * steps_an_epoch
    callbacks = [row.callback(steps)] if row.callback else []
    training = Training(epochs=epochs, instances=row.instances)
    train(model, groups, training, seed, callbacks=callbacks)
    return model


def test_groups(entangled: bool, n_instances: int) -> GroupedData:
    """Return the stars on which every model is evaluated."""
    return simulate_exposures(TEST_STATES, n_instances, TEST_SEED, entangled)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=3, help="seeds per row, default 3")
    parser.add_argument("--quick", action="store_true", help="a tenth of the steps")
    parser.add_argument("--rows", nargs="*", help="rows whose names contain these")
    parser.add_argument("--out", type=Path, help="write the results as JSON")
    parser.add_argument("--figure", type=Path, help="draw the curve over T as PNG")
    options = parser.parse_args()
    names = options.rows or [""]
    rows = [row for row in ROWS if any(name in row.name for name in names)]

    table: list[dict[str, Any]] = []
    curves: dict[str, list[list[float]]] = {}
    for row in rows:
        errors: list[RedatumingError] = []
        seconds = []
        test = test_groups(row.entangled, 16)
        for seed in range(options.seeds):
            start = time.perf_counter()
            model = fit(row, seed, 0.1 if options.quick else 1.0)
            seconds.append(time.perf_counter() - start)
            errors.append(redatuming_error(model, test))
            print(f"{row.name}, seed {seed}: {errors[-1]!r}", flush=True)
            if row.over_t:
                curves.setdefault(row.name, []).append(
                    [redatuming_error(model, test_groups(True, t)) for t in N_INSTANCES]
                )
        table.append(
            {
                "row": row.name,
                "redatuming": float(np.median(errors)),
                "lowest": min(errors),
                "highest": max(errors),
                "reconstruction": float(np.median([e.reconstruction for e in errors])),
                "mean swap": errors[0].mean_swap,
                "minutes": float(np.median(seconds)) / 60,
                "seeds": options.seeds,
            }
        )
    limit = [exposures_limit(t, TEST_STATES, TEST_SEED) for t in N_INSTANCES]
    table.append(
        {"row": "entangled, limit", "redatuming": limit[N_INSTANCES.index(16)]}
    )

    print_table(table, list(table[0]))
    medians = {name: np.median(values, axis=0) for name, values in curves.items()}
    for name, each in {**medians, "limit": np.array(limit)}.items():
        slope = np.polyfit(np.log(N_INSTANCES), np.log(each), 1)[0]
        print(f"{name} at T = {N_INSTANCES}: {np.round(each, 4)}, slope {slope:.2f}")
    if options.out:
        over_t = {"T": N_INSTANCES, "limit": limit, "models": curves}
        write_json(options.out, {"table": table, "over_t": over_t})
    if options.figure and curves:
        figure = plot_one_over_t(
            N_INSTANCES, {k: np.transpose(v) for k, v in curves.items()}, limit
        )
        figure.savefig(options.figure, dpi=150)


if __name__ == "__main__":
    main()
