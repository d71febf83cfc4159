"""Coverage and width of simultaneous bands, compared with an oracle.

Bands of the level 0.9 are calibrated on held-out groups, without ground truth, and
tested on other groups, whose virtual instances are known. For simulators these are
exact; for the tablets (642 tablets on two near-infrared spectrometers,
`--tablets tablets_nir.npz`) they are the measured spectra of the other instrument. A
virtual instance counts as covered if all of its pixels lie inside the band.

The oracle has bands of the same form, but its quantile is computed from the true errors
of the test groups. The width is relative to that of the oracle. Each row is the mean
over several draws of calibration and test groups.

    python benchmarks/bands.py --models bands_models --tablets tablets_nir.npz

`--models` stores trained models, including those of benchmarks/estimate.py, and resumes
an interrupted run. Presets of the package are not trained again.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
from common import print_table, write_json
from estimate import N_TRAIN, SIMULATORS, configurations, trained
from glyphs import shapes_along_x, with_opposite_angles

import symae_keras as sk
from symae_keras.data import GroupedData, simulate_exposures, simulate_shapes
from symae_keras.evaluation import Bands

LEVEL: Final = 0.9
#: Presets, names of their data, and functions that simulate these from the number of
#: groups and a seed. The shapes have two truths, see glyphs.py.
PRESETS: Final[tuple[tuple[str, str, Callable[[int, int], GroupedData]], ...]] = (
    ("symae_exposures", "", lambda n, seed: simulate_exposures(n, 16, seed)),
    ("symae_shapes", ", along x", lambda n, seed: shapes_along_x(n, 16, seed, 28)),
    (
        "symae_shapes",
        ", other truth",
        lambda n, seed: with_opposite_angles(simulate_shapes(n, 16, seed)),
    ),
    ("symae_shapes", "", lambda n, seed: simulate_shapes(n, 16, seed)),
)
#: Configurations of benchmarks/estimate.py, by simulator.
TRAINED: Final = {
    "entangled": (
        "symae 8+8",
        "symae 8+8 nuisance_noise=variational",
        "symae 8+8 noise_strength=0.1",
        "symae 8+8 conditional_nuisance=False",
        "symae 8+2",
        "mlvae",
        "pca",
    ),
    "identifiable": ("symae 8+8", "symae 8+8 nuisance_noise=variational"),
}


def judge(bands: Bands, truth: Any, lower: Any, upper: Any) -> dict[str, float]:
    """Return the coverage, and quantile and width relative to the oracle."""
    pixels = tuple(range(2, truth.ndim))
    half = 0.5 * (upper - lower)
    largest = (np.abs(truth - 0.5 * (lower + upper)) / half).max(axis=pixels)
    return {
        "coverage": float(np.mean(largest <= 1.0)),
        "width / oracle": float(1.0 / np.quantile(largest, bands.level)),
        "width": float(2.0 * half.mean()),
    }


def simulated(
    model: Any, calibration: GroupedData, test: GroupedData
) -> dict[str, float]:
    """Compute the state of every test group under the nuisances of the next one."""
    bands = Bands.fit(model, calibration, LEVEL)
    lender = np.roll(np.arange(len(test)), -1)
    _, instance = np.indices(test.present.shape)
    truth = test.virtual(np.arange(len(test))[:, None], lender[:, None], instance)
    return judge(bands, truth, *bands.of(test, test[lender]))


def measured(
    model: Any, calibration: GroupedData, test: GroupedData
) -> dict[str, float]:
    """Compute the spectrum of each instrument from that of the other one alone."""
    bands = Bands.fit(model, calibration, LEVEL)
    lender = np.roll(np.arange(len(test)), -1)
    lower, upper = np.empty((2, *test.x.shape), "float32")
    for place in range(test.n_instances):
        alone = np.broadcast_to(np.arange(2) != place, test.x.shape[:2])
        made = bands.of(test.x, test.x[lender], coherent_mask=alone)
        lower[:, place], upper[:, place] = (each[:, place] for each in made)
    return judge(bands, test.x, lower, upper)


def repeated(rows: list[dict[str, float]]) -> dict[str, Any]:
    """Return the means over draws, and the range of the coverage."""
    coverage = [row["coverage"] for row in rows]
    return {
        **{name: float(np.mean([row[name] for row in rows])) for name in rows[0]},
        "lowest": min(coverage),
        "highest": max(coverage),
        "draws": len(rows),
    }


def rows_of(
    options: argparse.Namespace,
) -> Iterator[tuple[str, Callable[[], Any], Callable[[Any, int], Any], int]]:
    """Yield names of models, functions to load and test them, and relative draws."""

    def test(simulate: Any, model: Any, seed: int) -> dict[str, float]:
        groups = simulate(2 * options.groups, 100 + seed)
        return simulated(model, groups[: options.groups], groups[options.groups :])

    def load(simulate: Any, name: str, file: Path | None) -> Any:
        return trained(name, makers[name], simulate(N_TRAIN, 0), file)

    makers = dict(configurations())
    for preset, data, simulate in PRESETS:
        load_preset = partial(sk.zoo.load, preset)
        yield f"{preset}{data}", load_preset, partial(test, simulate), 1
    for simulator, names in TRAINED.items():
        simulate = SIMULATORS[simulator]
        for name in names:
            full = f"{simulator} {name}"
            file = None
            if options.models:
                file = options.models / f"{full.replace(' ', '_')}.keras"
            yield full, partial(load, simulate, name, file), partial(test, simulate), 1
    if options.tablets:
        with np.load(options.tablets) as arrays:
            groups = GroupedData(arrays["x"], axis=arrays["wavelength_nm"])
        held_out = groups.split(0.8, seed=0)[1]  # of the preset

        def tablets(model: Any, seed: int) -> dict[str, float]:
            return measured(model, *held_out.split(0.5, seed))

        yield "symae_tablets", partial(sk.zoo.load, "symae_tablets"), tablets, 4


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--groups", type=int, default=300, help="per part, default 300")
    parser.add_argument("--draws", type=int, default=5, help="default 5")
    parser.add_argument("--only", nargs="*", help="rows to compute, by name")
    parser.add_argument("--tablets", type=Path, help="tablets_nir.npz")
    parser.add_argument("--models", type=Path, help="folder that keeps trained models")
    parser.add_argument("--out", type=Path, help="write the results as JSON")
    options = parser.parse_args()
    if options.models:
        options.models.mkdir(parents=True, exist_ok=True)
    table: list[dict[str, Any]] = []
    for name, load, draw, times in rows_of(options):
        if options.only and name not in options.only:
            continue
        model = load()
        draws = [draw(model, seed) for seed in range(times * options.draws)]
        table.append({"model": name, **repeated(draws)})
        print(json.dumps(table[-1]), flush=True)
    print_table(table, list(table[0]))
    if options.out:
        write_json(options.out, table)


if __name__ == "__main__":
    main()
