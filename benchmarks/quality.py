"""Redatuming error against time: SymAE on entangled exposures, several optimizers.

Dense SymAE with codes of 8 and 8 numbers, 2,000 stars of 16 exposures; the error is
measured on 1,000 new stars. Time is that of the processor in training alone, without
evaluation, so that it does not depend on what else the machine does. Every row of the
table trains in another way: "Adam" with the defaults of `Training`, and "Muon, falling
noise" as the preset `symae_exposures`. With Muon, hidden layers have 256 and 128 units
instead of 512 and 256. Muon was tuned with other stars. The table has medians over
seeds with the lowest and the highest, and the factor above the limit of this test.

    python benchmarks/quality.py --seeds 5 --out quality.json --figure quality.png

`--snr 20` compares them on noisier stars; the signal-to-noise ratio of the simulator is
about 100.

    python benchmarks/quality.py --seeds 3 --snr 20 --rows Adam "Muon, falling noise"

`--identifiable` compares them on stars of which each exposure determines its nuisance,
in the original form of SymAE.

    python benchmarks/quality.py --seeds 3 --identifiable --rows "Muon, falling noise"

`--few` trains the narrow network on small data instead, as `symae train` does: for
2,000 updates, and with the weights that are best for a held-out fifth of the groups.

    python benchmarks/quality.py --few --seeds 3
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import os
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any, Final

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from common import print_table, with_noise, write_json

from symae_keras.data import GroupedData, simulate_exposures
from symae_keras.data.simulators.replicates import simulate_replicates
from symae_keras.evaluation import exposures_limit, redatuming_error
from symae_keras.layers import DenseEncoder
from symae_keras.models import SymAE
from symae_keras.training import (
    MIN_UPDATES,
    Budget,
    Training,
    normalization,
    train,
)
from symae_keras.zoo.recipes import load_recipe

STATES: Final = 2000
TEST: Final = (1000, 16, 1)  # stars, exposures, seed
#: Times at which the error is measured, as shares of the updates.
PARTS: Final = 4


@dataclasses.dataclass(frozen=True)
class Row:
    """One way to train."""

    name: str
    training: Training
    units: tuple[int, ...] = (512, 256)


#: Muon costs more the wider the layers are, at any size of the batch, so that it gets
#: narrow layers and large batches. Noise at the start keeps the state out of the
#: nuisance code; at the end it costs detail.
_FALLING: Final = load_recipe("symae_exposures").recipe
_NARROW: Final = (256, 128)
ROWS: Final = (
    Row("Adam", Training()),
    Row("Adam, falling noise", Training(final_noise=_FALLING.final_noise)),
    Row("Muon", dataclasses.replace(_FALLING, final_noise=None), _NARROW),
    Row("Muon, falling noise", _FALLING, _NARROW),
    Row(
        "Muon, falling noise, longer",
        dataclasses.replace(_FALLING, learning_rate=7e-3, epochs=64, final_noise=0.1),
        _NARROW,
    ),
)


#: Small data: groups, instances and simulator.
FEW: Final[dict[str, tuple[int, int, Callable[..., GroupedData]]]] = {
    "30 samples x 4 replicates": (30, 4, simulate_replicates),
    "100 samples x 4 replicates": (100, 4, simulate_replicates),
}
FEW_ROWS: Final = (
    Row("Adam, 16 groups", Training(), _NARROW),
    Row("Muon, 16 groups", dataclasses.replace(_FALLING, batch_size=16), _NARROW),
    Row("Muon, 64 groups", _FALLING, _NARROW),
)


class Curve(keras.callbacks.Callback):
    """Errors of a model during its training.

    Attributes:
        points: Pairs of seconds, without those of the evaluation, and errors.
    """

    def __init__(self, epochs: int, test: GroupedData) -> None:
        super().__init__()
        self.points: list[tuple[float, float]] = []
        self._at = {math.ceil(epochs * (part + 1) / PARTS) for part in range(PARTS)}
        self._test = test
        self._start = time.process_time()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Measure the error after some epochs."""
        if epoch + 1 not in self._at:
            return
        now = time.process_time()
        error = float(redatuming_error(self.model, self._test))
        self.points.append((now - self._start, error))
        self._start += time.process_time() - now


@dataclasses.dataclass(frozen=True)
class Stars:
    """Simulated stars; `snr=None` is the noise of the simulator."""

    entangled: bool = True
    snr: float | None = None

    def observe(self, states: int, instances: int, seed: int) -> GroupedData:
        """Return exposures of stars."""
        groups = simulate_exposures(states, instances, seed, self.entangled)
        return groups if self.snr is None else with_noise(groups, self.snr, seed)


def fit(row: Row, stars: Stars, seed: int, scale: float) -> list[tuple[float, float]]:
    """Train a model on stars and return pairs of seconds and redatuming errors."""
    groups = stars.observe(STATES, 16, 100 + seed)
    epochs = max(PARTS, round(scale * Budget.of(groups, row.training).epochs))
    training = dataclasses.replace(row.training, epochs=epochs)
    curve = Curve(epochs, stars.observe(*TEST))
    model = model_of(groups, row, seed, conditional=stars.entangled)
    train(model, groups, training, seed, callbacks=[curve])
    return curve.points


def fit_few(row: Row, name: str, seed: int, scale: float) -> float:
    """Train a model on few groups as `symae train` does, and return its error."""
    states, instances, simulate = FEW[name]
    groups, validation = simulate(states, instances, 100 + seed).split(0.8, seed=seed)
    training = dataclasses.replace(
        row.training, epochs=None, min_updates=round(scale * MIN_UPDATES)
    )
    model = model_of(groups, row, seed)
    train(model, groups, training, seed, validation)
    return float(redatuming_error(model, simulate(300, instances, 1)))


def model_of(
    groups: GroupedData, row: Row, seed: int, conditional: bool = True
) -> SymAE:
    """Return an untrained model."""
    keras.utils.set_random_seed(seed)
    return SymAE(
        groups.instance_shape,
        encoder=DenseEncoder(128, units=row.units),
        conditional_nuisance=conditional,
        normalization=normalization(groups),
        seed=seed,
    )


def draw(curves: dict[str, list[Any]], limit: float | None, path: Path) -> None:
    """Draw medians over seeds of errors over seconds."""
    from symae_keras.plotting.style import MARKERS, PALETTE, new_figure

    figure = new_figure(6.4, 4.0)
    axes = figure.subplots()
    styles = zip(curves.items(), PALETTE, MARKERS, strict=False)
    for (name, found), color, marker in styles:
        seconds, errors = np.median(found, axis=0).T
        axes.plot(seconds, errors, color=color, marker=marker, label=name)
    if limit is not None:
        axes.axhline(limit, color="black", linestyle=":", label="limit")
    axes.set(yscale="log", xlabel="processor time of training (s)")
    axes.set(ylabel="redatuming error")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter("{x:g}")
    axes.legend(frameon=False)
    figure.savefig(path)


def few(seeds: int, scale: float, out: Path | None) -> None:
    """Print and write the table of small data."""
    table = []
    for name in FEW:
        for row in FEW_ROWS:
            found = [fit_few(row, name, seed, scale) for seed in range(seeds)]
            line = {"data": name, "training": row.name, "error": median(found)}
            table.append({**line, "lowest": min(found), "highest": max(found)})
            print(table[-1], flush=True)
    print_table(table, list(table[0]))
    if out:
        write_json(out, {"table": table})


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--seeds", type=int, default=5, help="seeds per row")
    every = [row.name for row in ROWS]
    parser.add_argument("--rows", nargs="*", choices=every, default=every, help="names")
    parser.add_argument("--quick", action="store_true", help="a tenth of the updates")
    parser.add_argument("--snr", type=float, help="signal-to-noise ratio of the stars")
    parser.add_argument(
        "--identifiable", action="store_true", help="train on identifiable stars"
    )
    parser.add_argument("--few", action="store_true", help="train on small data")
    parser.add_argument("--out", type=Path, help="JSON file for the results")
    parser.add_argument("--figure", type=Path, help="PNG of error against time")
    options = parser.parse_args()
    scale = 0.1 if options.quick else 1.0
    if options.few:
        few(options.seeds, scale, options.out)
        return
    stars = Stars(entangled=not options.identifiable, snr=options.snr)
    limit = exposures_limit(TEST[1], TEST[0], TEST[2]) if stars.entangled else None
    curves: dict[str, list[Any]] = {}
    table = []
    for row in (each for each in ROWS if each.name in options.rows):
        found = []
        for seed in range(options.seeds):
            found.append(fit(row, stars, seed, scale))
            print(f"{row.name}, seed {seed}: {found[-1]}", flush=True)
        curves[row.name] = found
        seconds, errors = np.array(found)[:, -1].T
        error = float(np.median(errors))
        line: dict[str, Any] = {
            "training": row.name,
            "CPU (s)": float(np.median(seconds)),
            "error": error,
            "lowest": float(errors.min()),
            "highest": float(errors.max()),
        }
        if limit is not None:
            line["over the limit"] = error / limit
        table.append(line)
    print_table(table, list(table[0]))
    if options.figure:
        draw(curves, limit, options.figure)
    if options.out:
        write_json(options.out, {"table": table, "curves": curves, "limit": limit})


if __name__ == "__main__":
    main()
