"""Comparison of the estimated redatuming error with the true one.

Grouped models of all kinds, with good and bad settings, are trained on simulated
groups: exposures in their entangled and identifiable forms, and shapes along x. For
each model, the true redatuming error of 1000 held-out groups is compared with the
estimate, which does not use the ground truth, and with the reconstruction error.

The shapes of `simulate_shapes` have a symmetry, see glyphs.py, so that there are two
truths. Their models are compared with both, and do not count for all simulators.

The table shows Spearman's rank correlation with the true error, for the estimate and
for the reconstruction error. Virtual instances of a simulator have no pixel noise, so
the noise that the estimate reports is subtracted from it for the ratio of estimate and
true error. The last column is of the estimate with noise.

    python benchmarks/estimate.py --models estimate_models --out estimate.json

`--models` stores trained models, and resumes an interrupted run.

`--tablets tablets_nir.npz` adds measured data: two instruments measured all tablets, so
the true virtual spectrum of a tablet on an instrument was measured, too. A quadratic in
wavelength is subtracted from all spectra, because it is random in each measurement and
its true value after a swap was not measured.
"""

from __future__ import annotations

import argparse
import functools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import keras
import numpy as np
from common import print_table, write_json
from glyphs import shapes_along_x, with_opposite_angles
from scipy.stats import spearmanr
from tablets import Baseline

from symae_keras.data import GroupedData, simulate_exposures, simulate_shapes
from symae_keras.evaluation import (
    CONTENDERS,
    Sizes,
    estimate_redatuming_error,
    redatuming_error,
    relative_error,
)
from symae_keras.models import SymAE
from symae_keras.training import Training, normalization, train

N_TRAIN: Final = 1000
N_TEST: Final = 1000
EPOCHS: Final = 24
PIXELS: Final = 16

SIMULATORS: Final[dict[str, Callable[[int, int], GroupedData]]] = {
    "entangled": lambda n, seed: simulate_exposures(n, 16, seed, entangled=True),
    "identifiable": lambda n, seed: simulate_exposures(n, 16, seed, entangled=False),
    "shapes along x": lambda n, seed: shapes_along_x(n, 16, seed, PIXELS),
    "shapes": lambda n, seed: simulate_shapes(n, 16, seed, PIXELS),
}
#: Functions that return the same instances with another truth that fits as well.
OTHER_TRUTHS: Final = {"shapes": with_opposite_angles}


def measured_tablets(file: Path) -> Callable[[int, int], GroupedData]:
    """Return a function like a simulator, whose exact instances are measured ones.

    Seed 0 returns training tablets, seed 1 returns test tablets.
    """
    with np.load(file) as data:
        x, split = data["x"], data["split"]
    x = Baseline(x.shape[-1]).free(x).astype("float32")

    def groups(n: int, seed: int) -> GroupedData:
        part = x[split == ("train", "test")[seed]][:n]
        tablet, instrument = np.arange(len(part)), np.tile([0, 1], (len(part), 1))
        return GroupedData(
            part,
            state={"tablet": tablet},
            nuisance={"instrument": instrument},
            render=lambda state, nuisance: part[
                state["tablet"], nuisance["instrument"]
            ],
        )

    return groups


#: Code sizes and other arguments of SymAE.
SYMAE: Final[tuple[tuple[int, int, dict[str, Any]], ...]] = (
    (8, 8, {}),
    (8, 8, {"nuisance_noise": "variational"}),
    (8, 8, {"conditional_nuisance": False}),
    (4, 8, {}),
    (16, 8, {}),
    (8, 2, {}),
    (8, 4, {}),
    (8, 16, {}),
    (8, 8, {"noise_strength": 0.0}),
    (8, 8, {"noise_strength": 0.1}),
    (8, 8, {"noise_strength": 0.25}),
    (8, 8, {"noise_strength": 1.0}),
    (8, 3, {"conditional_nuisance": False}),
    (6, 6, {"noise_strength": 0.7}),
    (8, 8, {"pooling": "max"}),
    (8, 8, {"nuisance_noise": "bernoulli"}),
)
OTHERS: Final = (
    "neural_statistician",
    "mlvae",
    "gvae",
    "autoencoder",
    "vae",
    "pca",
    "mean_swap",
)


def configurations() -> Iterator[tuple[str, Callable[[GroupedData], Any]]]:
    """Return names of models, and functions that create them for training groups."""
    for p, q, arguments in SYMAE:

        def symae(
            groups: GroupedData,
            sizes: tuple[int, int] = (p, q),
            given: dict[str, Any] = arguments,
        ) -> Any:
            scale = normalization(groups)
            shape = groups.instance_shape
            return SymAE(shape, *sizes, normalization=scale, seed=0, **given)

        words = [f"{name}={value}" for name, value in arguments.items()]
        yield " ".join(["symae", f"{p}+{q}", *words]), symae
    for name in OTHERS:
        yield name, functools.partial(_build, name)


def _build(name: str, groups: GroupedData) -> Any:
    return CONTENDERS[name].build(groups, Sizes(), 0)


def trained(name: str, make: Any, groups: GroupedData, file: Path | None) -> Any:
    """Return the trained model, loaded from the file if it exists."""
    if file is not None and file.exists():
        return keras.saving.load_model(file)
    keras.utils.set_random_seed(0)
    model = make(groups)
    if not isinstance(model, keras.Model):
        return model.fit(groups)
    train(model, groups, Training(epochs=EPOCHS), 0)
    if file is not None:
        model.save(file)
    return model


def summary(rows: list[dict[str, Any]], simulator: str) -> dict[str, Any]:
    """Return rank correlations and ratios of the given rows."""
    truth, estimate, reconstruction = (
        np.array([row[key] for row in rows])
        for key in ("truth", "estimate", "reconstruction")
    )
    noisy = estimate / truth
    ratios = noisy - np.array([row["estimated noise"] for row in rows]) / truth
    low, fifth, median, most, high = np.percentile(ratios, (0, 5, 50, 95, 100))
    return {
        "simulator": simulator,
        "models": len(rows),
        "Spearman of estimate": float(spearmanr(truth, estimate)[0]),
        "of reconstruction": float(spearmanr(truth, reconstruction)[0]),
        "lowest ratio": low,
        "5 %": fifth,
        "median": median,
        "95 %": most,
        "highest": high,
        "in 0.7-1.4": _share_in_band(ratios),
        "with noise": _share_in_band(noisy),
    }


def _share_in_band(ratios: Any) -> float:
    return float(np.mean((ratios > 0.7) & (ratios < 1.4)))


def noise_of(groups: GroupedData) -> float:
    """Return the variance of the pixel noise divided by that of the data."""
    own, instance = np.indices(groups.present.shape)
    return relative_error(groups.virtual(own, own, instance), groups.x)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--simulators", nargs="*", default=list(SIMULATORS))
    parser.add_argument("--models", type=Path, help="folder that keeps trained models")
    parser.add_argument("--out", type=Path, help="write the results as JSON")
    parser.add_argument("--tablets", type=Path, help="tablets_nir.npz")
    options = parser.parse_args()
    simulators = {name: SIMULATORS[name] for name in options.simulators}
    if options.tablets:
        simulators["tablets"] = measured_tablets(options.tablets)
    if options.models:
        options.models.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    for simulator, simulate in simulators.items():
        groups, test = simulate(N_TRAIN, 0), simulate(N_TEST, 1)
        noise = noise_of(test)
        truths = {simulator: test}
        if simulator in OTHER_TRUTHS:
            truths[f"{simulator}, other truth"] = OTHER_TRUTHS[simulator](test)
        for name, make in configurations():
            stem = f"{simulator} {name}".replace(" ", "_")
            file = options.models / f"{stem}.keras" if options.models else None
            model = trained(name, make, groups, file)
            estimate = estimate_redatuming_error(model, test)
            for truth, known in truths.items():
                row = {
                    "simulator": truth,
                    "model": name,
                    "truth": float(redatuming_error(model, known)),
                    "estimate": float(estimate),
                    "low": estimate.interval[0],
                    "high": estimate.interval[1],
                    "noise": noise,
                    "estimated noise": estimate.noise,
                    "reconstruction": estimate.reconstruction,
                    "nuisance in state": estimate.nuisance_in_state,
                    "state in nuisance": estimate.state_in_nuisance,
                }
                rows.append(row)
                print(json.dumps(row), flush=True)
    print_table(rows, list(rows[0]))
    table = [
        summary([row for row in rows if row["simulator"] == each], each)
        for each in dict.fromkeys(row["simulator"] for row in rows)
    ]
    with_one_truth = SIMULATORS.keys() - OTHER_TRUTHS
    simulated = [row for row in rows if row["simulator"] in with_one_truth]
    if simulated:
        table.append(summary(simulated, "all simulators"))
    print_table(table, list(table[0]))
    if options.out:
        write_json(options.out, {"summary": table, "rows": rows})


if __name__ == "__main__":
    main()
