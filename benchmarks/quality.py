"""Redatuming error against time: SymAE on entangled exposures, several optimizers.

Dense SymAE with codes of 8 and 8 numbers, 2,000 stars of 16 exposures; the error is
measured on 1,000 new stars. Time is that of the processor in training alone, without
evaluation, so that it does not depend on what else the machine does. Every row of the
table trains in another way; "as now" is what `symae_keras.training.train` does. Narrow
networks have hidden layers of 256 and 128 instead of 512 and 256. The learning rate
falls along a cosine to 1 %. The table has medians over seeds with the lowest and the
highest, and the factor above the limit of this test.

    python benchmarks/quality.py --seeds 5 --out quality.json --figure quality.png
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import os
import time
from pathlib import Path
from typing import Any, Final

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from common import print_table, write_json

from symae_keras.callbacks import NoiseSchedule
from symae_keras.data import batches, simulate_exposures
from symae_keras.evaluation import exposures_limit, redatuming_error
from symae_keras.layers import DenseEncoder
from symae_keras.losses import RelativeMeanSquaredError
from symae_keras.models import SymAE
from symae_keras.training import normalization
from symae_keras.training.fit import data_variance

STATES: Final = 2000
TEST: Final = (1000, 16, 1)  # stars, exposures, seed
#: Times at which the error is measured, as shares of the updates.
PARTS: Final = 4


@dataclasses.dataclass(frozen=True)
class Row:
    """One way to train."""

    name: str
    optimizer: str = "Adam"
    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    rate: float = 2e-3
    groups: int = 16
    updates: int = 4000
    units: tuple[int, ...] = (512, 256)
    #: Strength of the noise at the start and at the end.
    noise: tuple[float, float] = (0.5, 0.5)


#: Muon orthogonalises the updates of matrices; K. Jordan et al., 2024, and J. Liu et
#: al., arXiv 2502.16982. Its cost grows with the cube of the width of a layer, and not
#: with the batch, so that it gets narrow networks and larger batches.
_MUON: Final = {"adam_beta_2": 0.95, "adam_weight_decay": 0.0, "weight_decay": 0.0}
_NARROW: Final = (256, 128)
#: Noise at the start keeps the state out of the nuisance code; at the end it costs
#: detail.
_FALLING: Final = (0.5, 0.1)
ROWS: Final = (
    Row("Adam, as now"),
    Row("Adam, falling noise", noise=_FALLING),
    Row("Muon", "Muon", _MUON, 7e-3, 64, 2000, _NARROW),
    Row("Muon, falling noise", "Muon", _MUON, 7e-3, 64, 2000, _NARROW, _FALLING),
)


def fit(row: Row, seed: int, scale: float) -> list[tuple[float, float]]:
    """Train a model and return pairs of seconds and redatuming errors."""
    keras.utils.set_random_seed(seed)
    groups = simulate_exposures(STATES, 16, 100 + seed)
    test = simulate_exposures(*TEST)
    scaling = normalization(groups)
    encoder = DenseEncoder(128, units=row.units)
    shape = groups.instance_shape
    model = SymAE(shape, encoder=encoder, normalization=scaling, seed=seed)
    data = batches(groups, row.groups, 8, seed)
    steps = math.ceil(STATES / row.groups)
    epochs = max(PARTS, round(scale * row.updates / steps))
    schedule = keras.optimizers.schedules.CosineDecay(row.rate, epochs * steps, 0.01)
    optimizer = getattr(keras.optimizers, row.optimizer)(schedule, **row.options)
    model.compile(optimizer, RelativeMeanSquaredError(data_variance(groups)))
    noise = keras.optimizers.schedules.PolynomialDecay(
        row.noise[0], epochs * steps, row.noise[1]
    )
    curve, seconds, done = [], 0.0, 0
    for part in range(PARTS):
        last = round(epochs * (part + 1) / PARTS)
        start = time.process_time()
        model.fit(
            data,
            initial_epoch=done,
            epochs=last,
            callbacks=[NoiseSchedule(noise)],
            shuffle=False,  # the dataset shuffles
            verbose=0,
        )
        seconds += time.process_time() - start
        done = last
        curve.append((seconds, float(redatuming_error(model, test))))
    return curve


def draw(curves: dict[str, list[Any]], limit: float, path: Path) -> None:
    """Draw medians over seeds of errors over seconds."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.0), layout="constrained")
    axes = figure.subplots()
    for (name, found), marker in zip(curves.items(), "osD^", strict=False):
        seconds, errors = np.median(found, axis=0).T
        axes.plot(seconds, errors, marker=marker, label=name)
    axes.axhline(limit, color="black", linestyle=":", label="limit")
    axes.set(yscale="log", xlabel="processor time of training (s)")
    axes.set(ylabel="redatuming error")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter("{x:g}")
    axes.legend(frameon=False)
    figure.savefig(path, dpi=150)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--seeds", type=int, default=5, help="seeds per row")
    parser.add_argument("--rows", nargs="*", help="only rows whose name contains one")
    parser.add_argument("--quick", action="store_true", help="a tenth of the updates")
    parser.add_argument("--out", type=Path, help="JSON file for the results")
    parser.add_argument("--figure", type=Path, help="PNG of error against time")
    options = parser.parse_args()
    names = options.rows or [""]
    limit = exposures_limit(TEST[1], TEST[0], TEST[2])
    curves: dict[str, list[Any]] = {}
    table = []
    for row in (each for each in ROWS if any(name in each.name for name in names)):
        found = []
        for seed in range(options.seeds):
            found.append(fit(row, seed, 0.1 if options.quick else 1.0))
            print(f"{row.name}, seed {seed}: {found[-1]}", flush=True)
        curves[row.name] = found
        seconds, errors = np.array(found)[:, -1].T
        table.append(
            {
                "training": row.name,
                "CPU (s)": float(np.median(seconds)),
                "error": float(np.median(errors)),
                "lowest": float(errors.min()),
                "highest": float(errors.max()),
                "over the limit": float(np.median(errors) / limit),
            }
        )
    print_table(table, list(table[0]))
    if options.figure:
        draw(curves, limit, options.figure)
    if options.out:
        write_json(options.out, {"table": table, "curves": curves, "limit": limit})


if __name__ == "__main__":
    main()
