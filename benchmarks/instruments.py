"""Adaptation to new instruments from few pairs: paired methods and `adapt`.

There are three kinds of data, each with five splits or seeds:

- Tablets (`--data tablets_nir.npz`): 400, 100, 15 and 5 pairs of the training tablets
  and the 30 transfer tablets. Other training tablets have spectra of the target
  instrument only. Errors are computed on the 212 test tablets. `--validate` holds out
  100 training tablets instead, and does not use the test tablets.
- The pair of instruments of tutorial 09: 10 to 300 simulated pairs, 200 new samples.
- Crossed sets of 40, 60 and 80 samples on 3, 5 and 7 instruments. Each instrument has
  its own grid, and `data.resample` resamples it to the grid of the first one. 30 % of
  the samples are held out, the last instrument is new, and half of the other samples
  were measured on it.

The columns are the mean squared error divided by the variance of the ground truth, the
same without the best quadratic, and the error of a property that partial least squares
of the target instrument predicts. `--splits 100` also counts how often `adapt` is worse
than the mean shift.

    python benchmarks/instruments.py --data tablets_nir.npz --out results.json
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from common import print_table, write_json
from sklearn.cross_decomposition import PLSRegression
from sklearn.model_selection import GridSearchCV, KFold

import symae_keras as sk
from symae_keras import classical
from symae_keras.data import Axis, GroupedData, resample
from symae_keras.evaluation import relative_error

METHODS = (
    *("MeanShift", "SlopeBias", "ComBat", "ExternalParameterOrthogonalization"),
    *("SpectralSpaceTransformation", "PiecewiseDirectStandardization"),
    *("GeneralizedLeastSquaresWeighting", "DirectStandardization"),
    "OptimalEstimation",
)
FINE = np.linspace(1000.0, 2000.0, 501)  # nm
TARGET = Axis(np.linspace(1100.0, 1900.0, 128), "wavelength (nm)")


@dataclasses.dataclass(frozen=True)
class Case:
    """Pairs and unpaired spectra (target, source), and new samples."""

    name: str
    pairs: GroupedData
    labels: Any
    new: Any
    truth: Any
    new_labels: Any
    n_pairs: int
    seed: int


# === Data ===


def tablets(
    file: Path, counts: list[int], seeds: int, validate: bool
) -> Iterator[Case]:
    """Yield the cases of the tablets."""
    with np.load(file) as data:
        x, assay = data["x"].astype("float64"), data["assay"].astype("float64")
        part = data["split"]
    for n in counts:
        for seed in range(seeds):
            train = np.random.default_rng(seed).permutation(
                np.flatnonzero(part == "train")
            )
            held = np.flatnonzero(part == "test")
            if validate:
                train, held = train[:-100], train[-100:]
            paired = train[:n]
            if n == 30 and not validate:
                paired = np.flatnonzero(part == "transfer")
                train = np.concatenate([paired, train])
            n_pairs = len(paired)
            mask = np.ones((len(train), 2), bool)
            mask[n_pairs:, 1] = False
            yield Case(
                "tablets",
                GroupedData(x[train], mask=mask),
                assay[train],
                x[held, 1],
                x[held, 0],
                assay[held],
                n_pairs,
                seed,
            )
            if n_pairs == len(train) or (n == 30 and not validate):
                break  # another seed would only change the order


class Substances:
    """Samples of tutorial 09: four substances of six bands that shift with moisture."""

    def __init__(self, seed: int = 42) -> None:
        bands = np.random.default_rng(seed)
        self.centre = bands.uniform(1080, 1920, (4, 6))
        self.width = bands.uniform(12, 45, (4, 6))
        self.height = bands.uniform(0.1, 0.5, (4, 6))
        self.move = bands.uniform(-12, 12, (4, 6))

    def samples(self, n: int, rng: Any) -> tuple[Any, Any]:
        """Return concentrations `(n, 4)`, and transmittance on the fine grid."""
        concentration = rng.uniform(0.1, 1.0, (n, 4))
        moisture = rng.uniform(-1, 1, (n, 1, 1))
        path = np.exp(rng.uniform(-0.1, 0.1, (n, 1)))
        offset = FINE - (self.centre + self.move * moisture)[..., None]
        pure = self.height[..., None] * np.exp(
            -0.5 * (offset / self.width[..., None]) ** 2
        )
        absorbance = path * np.einsum("nk,nkbf->nf", concentration, pure)
        return concentration, 10.0**-absorbance


@dataclasses.dataclass(frozen=True)
class Instrument:
    """Effect of an instrument on spectra; by default the first of tutorial 09."""

    fwhm: float = 8.0
    shift: float = 0.0
    stretch: float = 0.0
    stray: float = 0.0
    gain: float = 1.0
    base: float = 0.0
    axis: Axis = TARGET

    def measure(self, transmittance: Any, rng: Any) -> GroupedData:
        """Return absorbance spectra on the axis of the instrument, one per group."""
        nm = self.axis.values
        if self.axis.unit == "1/cm":
            nm = 1e7 / nm
        u = (nm - 1500.0) / 400.0
        seen = nm + self.shift + self.stretch * u
        response = np.exp(-0.5 * ((FINE - seen[:, None]) / (self.fwhm / 2.355)) ** 2)
        response /= response.sum(axis=1, keepdims=True)
        light = (transmittance @ response.T + self.stray) / (1.0 + self.stray)
        spectra = -self.gain * np.log10(light) + self.base
        offset, slope = rng.normal(0, 0.03, (2, len(spectra), 1))
        spectra += offset + slope * u + rng.normal(0, 0.002, spectra.shape)
        return GroupedData(
            spectra[:, None], axis=self.axis.values, axis_label=self.axis.label
        )


CHEAP = Instrument(40.0, 6.0, 4.0, 0.03, 0.92, 0.08)


def tutorial(counts: list[int], seeds: int, unpaired: int) -> Iterator[Case]:
    """Yield the cases of the pair of instruments in tutorial 09."""
    substances = Substances()
    for n in counts:
        for seed in range(seeds):
            rng = np.random.default_rng(1000 + seed)
            total = n + unpaired
            made, light = substances.samples(total + 200, rng)
            x = np.stack(
                [each.measure(light, rng).x[:, 0] for each in (Instrument(), CHEAP)], 1
            )
            mask = np.ones((total, 2), bool)
            mask[n:, 1] = False
            yield Case(
                f"tutorial 09, {unpaired} unpaired",
                GroupedData(x[:total], mask=mask),
                100.0 * made[:total, 0],
                x[total:, 1],
                x[total:, 0],
                100.0 * made[total:, 0],
                n,
                seed,
            )


def random_instrument(rng: Any) -> Instrument:
    """Return an instrument with its own grid, in nm or, in reverse order, in 1/cm."""
    pixels = int(rng.integers(90, 220))
    axis = Axis(np.linspace(1080.0, 1920.0, pixels), "wavelength (nm)")
    if rng.random() < 0.5:
        ends = 1e7 / 1080.0, 1e7 / 1920.0
        axis = Axis(np.linspace(ends[0], ends[1], pixels), "wavenumber (cm-1)")
    return Instrument(
        fwhm=rng.uniform(8, 40),
        shift=rng.uniform(-6, 6),
        stretch=rng.uniform(-4, 4),
        stray=rng.uniform(0, 0.04),
        gain=rng.uniform(0.85, 1.15),
        base=rng.uniform(-0.1, 0.1),
        axis=axis,
    )


def crossed(sizes: list[tuple[int, int]], seeds: int) -> Iterator[Case]:
    """Yield crossed sets; the new instrument is the last one of each pair."""
    for n_samples, n_instruments in sizes:
        for seed in range(seeds):
            rng = np.random.default_rng(2000 + seed)
            made, light = Substances(seed).samples(n_samples, rng)
            instruments = [Instrument()]
            instruments += [random_instrument(rng) for _ in range(n_instruments - 1)]
            measured = [
                resample(each.measure(light, rng), TARGET).x for each in instruments
            ]
            x = np.concatenate(measured, axis=1)
            n_train = round(0.7 * n_samples)
            n_pairs = n_train // 2
            mask = np.ones((n_train, n_instruments), bool)
            mask[n_pairs:, -1] = False
            yield Case(
                f"crossed, {n_instruments} instruments",
                GroupedData(x[:n_train], mask=mask),
                100.0 * made[:n_train, 0],
                x[n_train:, -1],
                x[n_train:, 0],
                100.0 * made[n_train:, 0],
                n_pairs,
                seed,
            )


# === Methods ===


def model_of_target(case: Case) -> Any:
    """Train a SymAE on the spectra of all instruments except the new one."""
    groups = case.pairs.take_instances(np.arange(case.pairs.n_instances - 1))
    single = groups.n_instances == 1
    # Groups of one spectrum have no pairs within groups; use two noisy copies instead.
    if single:
        groups = GroupedData(np.repeat(groups.x, 2, axis=1))
    model = sk.models.SymAE(
        groups.instance_shape,
        coherent_dim=8,
        nuisance_dim=2,
        normalization=sk.training.normalization(groups),
        seed=case.seed,
    )
    training = sk.training.Training(epochs=None, min_updates=1000)
    sk.training.train(model, groups, training, seed=case.seed)
    return model


def transferred(case: Case, with_model: bool) -> Iterator[tuple[str, Any, float]]:
    """Yield the name of each method, its spectra, and its time in seconds."""
    source = case.pairs.n_instances - 1
    for name in METHODS:
        start = time.perf_counter()
        method = getattr(classical, name)(source=source, target=0)
        try:
            virtual = method.fit(case.pairs).transfer(case.new)
        except sk.errors.InputError as error:
            print(f"{name}: {error}", flush=True)
            continue
        yield name, virtual, time.perf_counter() - start
    for name, model in (("adapt", None), ("adapt with model", case)):
        if model is not None:
            if not with_model:
                continue
            model = model_of_target(case)
        start = time.perf_counter()
        found = sk.adapt(model, case.pairs, source, 0)
        print(f"{case.name}, {case.n_pairs} pairs, {name}: {found}", flush=True)
        yield name, found.transfer(case.new), time.perf_counter() - start


# === Evaluation ===


def without_baseline(x: Any) -> Any:
    """Return spectra without their best quadratic."""
    powers = np.linalg.qr(np.vander(np.linspace(-1.0, 1.0, x.shape[-1]), 3))[0]
    return x - (x @ powers) @ powers.T


def evaluate(case: Case, with_model: bool) -> Iterator[dict[str, Any]]:
    """Yield one row per method."""
    there = case.pairs.present[:, 0]
    folds = min(10, int(there.sum()))
    most = min(12, int(there.sum()) * (folds - 1) // folds - 1)
    search = GridSearchCV(
        PLSRegression(scale=False),
        {"n_components": range(2, most + 1)},
        scoring="neg_mean_squared_error",
        cv=KFold(folds, shuffle=True, random_state=0),
    )
    calibration = search.fit(case.pairs.x[there, 0], case.labels[there])
    for name, virtual, seconds in transferred(case, with_model):
        missed = calibration.predict(virtual).ravel() - case.new_labels
        free = without_baseline(virtual), without_baseline(case.truth)
        yield {
            "data": case.name,
            "pairs": case.n_pairs,
            "seed": case.seed,
            "method": name,
            "error": relative_error(virtual, case.truth),
            "baseline-free": relative_error(*free),
            "RMSEP": float(np.sqrt(np.mean(missed**2))),
            "seconds": seconds,
        }


def worse_than_mean_shift(splits: int, n_pairs: int) -> int:
    """Count simulated splits in which `adapt` has a larger error than the mean shift.

    The error is the mean of both errors, each relative to that of the mean shift.
    """
    worse = 0
    for case in tutorial([n_pairs], splits, unpaired=0):
        adapted, shifted = (
            [float((m**2).mean()) for m in (missed, without_baseline(missed))]
            for missed in (
                sk.adapt(None, case.pairs).transfer(case.new) - case.truth,
                classical.MeanShift(1, 0).fit(case.pairs).transfer(case.new)
                - case.truth,
            )
        )
        ratios = [a / b for a, b in zip(adapted, shifted, strict=True)]
        worse += sum(ratios) / 2.0 > 1.0 + 1e-9
    return worse


COLUMNS = ("error", "baseline-free", "RMSEP", "seconds")


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="tablets_nir.npz")
    parser.add_argument("--sets", default="tablets,tutorial,crossed")
    parser.add_argument("--seeds", type=int, default=5, help="default 5")
    parser.add_argument("--quick", action="store_true", help="one seed, fewer sizes")
    parser.add_argument("--no-model", action="store_true", help="train no models")
    parser.add_argument(
        "--validate", action="store_true", help="tablets: use training tablets only"
    )
    parser.add_argument(
        "--splits", type=int, default=0, help="count splits worse than the mean shift"
    )
    parser.add_argument("--out", type=Path, help="write the results as JSON")
    options = parser.parse_args()
    quick, seeds = options.quick, 1 if options.quick else options.seeds
    cases: list[Iterator[Case]] = []
    sets = options.sets.split(",")
    if "tablets" in sets and options.data is not None:
        counts = [30] if quick else [400, 100, 30, 15, 5]
        cases.append(tablets(options.data, counts, seeds, options.validate))
    if "tutorial" in sets:
        counts = [30] if quick else [10, 20, 40, 80, 150, 300]
        cases += [tutorial(counts, seeds, each) for each in (0, 100)]
    if "crossed" in sets:
        cases.append(
            crossed([(40, 3)] if quick else [(40, 3), (60, 5), (80, 7)], seeds)
        )
    rows = []
    for case in (case for some in cases for case in some):
        for row in evaluate(case, not options.no_model):
            print(row, flush=True)
            rows.append(row)
    keys = dict.fromkeys((r["data"], r["pairs"], r["method"]) for r in rows)
    means = []
    for key in keys:
        own = [r for r in rows if (r["data"], r["pairs"], r["method"]) == key]
        values = {c: float(np.mean([r[c] for r in own])) for c in COLUMNS}
        named = dict(zip(("data", "pairs", "method"), key, strict=True))
        means.append({**named, "runs": len(own), **values})
    print_table(means, ("data", "pairs", "method", "runs", *COLUMNS))
    worse = {}
    if options.splits:
        for n in (5, 15, 30):
            worse[n] = worse_than_mean_shift(options.splits, n)
            print(f"{n} pairs: worse than mean shift in {worse[n]} of {options.splits}")
    if options.out:
        write_json(options.out, {"means": means, "runs": rows, "worse": worse})


if __name__ == "__main__":
    main()
