"""Shot gathers: redatuming, repeatability of surveys, and location of changes.

Redatuming errors are measured on new media for several methods: the unchanged donor,
linear methods, SymAE on unprocessed gathers (conditional, original and variational
form), and `TomographicSymAE`, which delays traces. Training media are simulated by
rays; test media are also simulated by finite differences, which no model contains.

    python benchmarks/gathers.py --out gathers.json

Repeatability compares two surveys of an unchanged medium from different sources, gather
by gather: the normalised root mean square difference (NRMS, 0 to 200 %) and
predictability (0 to 1) of E. Kragh & P. Christie, The Leading Edge 21 (2002), 640-647.
Virtual gathers combine the medium of the second survey with the sources of the first.

A change of the slowness by 5 % is located at the largest difference between the
coherent codes of two surveys. For comparison, the differences between the delays of
measured gathers are projected back along the same kernels.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any, Final

import keras
import numpy as np
from common import print_table, write_json
from keras import ops
from sklearn.decomposition import PCA

from symae_keras.classical import (
    GroupedPCA,
    LinearMixedModel,
    MeanSwap,
    PhaseWeightedStack,
)
from symae_keras.data import GroupedData, simulate_gathers
from symae_keras.evaluation import in_batches, nrms, predictability, relative_error
from symae_keras.layers import ShiftEstimator
from symae_keras.models import SymAE, TomographicSymAE
from symae_keras.training import Training, normalization, train

Array = np.ndarray[Any, Any]

RING_KM: Final = 0.6
#: Half a wavelength at the mean frequency of the sources, 10 Hz, and 2 km/s.
NEAR_KM: Final = 0.1
CHANGE: Final = 0.05
#: Half a period at 10 Hz, in samples.
LAGS: Final = 5
COMPONENTS: Final = 64
#: Number of groups that are encoded at once.
ROWS: Final = 8


def ring(groups: GroupedData) -> Array:
    """Return the positions of the receivers in km."""
    angle = np.radians(np.asarray(groups.axis))
    return RING_KM * np.stack([np.cos(angle), np.sin(angle)], axis=-1)


class ScoresModel:
    """Linear mixed model of principal components, since gathers have 2,304 samples."""

    def fit(self, groups: GroupedData) -> ScoresModel:
        """Fit the components, then the model of their scores."""
        rows = groups.x.reshape(-1, groups.x[0, 0].size)
        self.pca = PCA(COMPONENTS, random_state=0).fit(rows)
        self.model = LinearMixedModel().fit(GroupedData(self.scores(groups.x)))
        return self

    def scores(self, x: Array) -> Array:
        """Return scores `(groups, instances, components)`."""
        rows = self.pca.transform(x.reshape(-1, x[0, 0].size))
        found: Array = rows.reshape(*x.shape[:2], -1).astype("float32")
        return found

    def redatum(self, coherent_from: Array, nuisance_from: Array) -> Array:
        """Redatum the scores; keep the part of the donor outside the components."""
        own, donor = self.scores(coherent_from), self.scores(nuisance_from)
        change = self.model.redatum(own, donor) - donor
        moved = change @ self.pca.components_
        found: Array = nuisance_from + moved.reshape(nuisance_from.shape)
        return found


def learned(name: str, groups: GroupedData, updates: int, seed: int) -> keras.Model:
    """Train SymAE on unprocessed gathers."""
    keras.utils.set_random_seed(seed)
    shared: dict[str, Any] = {"normalization": normalization(groups), "seed": seed}
    if name == "variational":
        shared["nuisance_noise"] = "variational"
    shared["conditional_nuisance"] = name != "original"
    model = SymAE(groups.instance_shape, 24, 12, **shared)
    epochs = max(1, updates // (len(groups) // 16))
    train(model, groups, Training(epochs=epochs, instances=8, min_updates=0), seed)
    return model


def tomographic(groups: GroupedData, seed: int) -> TomographicSymAE:
    """Train the four numbers of the tomographic model on 64 media."""
    keras.utils.set_random_seed(seed)
    model = TomographicSymAE(groups.instance_shape, ring(groups))
    training = Training(epochs=2, batch_size=8, learning_rate=0.05, min_updates=0)
    train(model, groups[:64], training, seed)
    return model


def redatuming(
    media: int, tests: dict[str, int], updates: int, seed: int
) -> tuple[list[dict[str, Any]], TomographicSymAE]:
    """Return redatuming errors of all methods, by engine and number of instances."""
    groups = simulate_gathers(media, 16, seed=100 + seed)
    sets = {
        engine: simulate_gathers(count, 16, seed=200 + seed, engine=engine)
        for engine, count in tests.items()
    }
    models: dict[str, Any] = {
        "mean swap": MeanSwap().fit(groups),
        "grouped PCA": GroupedPCA(24, 12).fit(groups),
        "linear mixed model": ScoresModel().fit(groups),
        "phase-weighted stack": PhaseWeightedStack().fit(flattened(groups)),
    }
    seconds = {}
    for name in ("conditional", "original", "variational") if updates else ():
        start = time.process_time()
        models[f"SymAE, {name}"] = learned(name, groups, updates, seed)
        seconds[f"SymAE, {name}"] = time.process_time() - start
    start = time.process_time()
    models["TomographicSymAE"] = best = tomographic(groups, seed)
    seconds["TomographicSymAE"] = time.process_time() - start
    rows = []
    for name in ("donor unchanged", *models):
        row: dict[str, Any] = {"method": name, "seed": seed}
        for engine, test in sets.items():
            for count in (2, 4, 8, 16):
                row[f"{engine} T={count}"] = error_of(models.get(name), test, count)
        rows.append(row | {"training, CPU s": round(seconds.get(name, 0.0))})
        print(rows[-1], flush=True)
    return rows, best


def flattened(groups: GroupedData) -> GroupedData:
    """Return gathers with traces as channels of one signal, as stacks expect them."""
    return GroupedData(np.swapaxes(groups.x, 2, 3))


def error_of(model: Any, test: GroupedData, count: int) -> float:
    """Return the error of states from `count` instances, on eight donors of each."""
    group = np.arange(len(test))
    donor = np.roll(group, 1)
    truth = test.virtual(group[:, None], donor[:, None], np.arange(8))
    x, given = test.x[:, :count], test.x[donor][:, :8]
    if model is None:
        return float(relative_error(truth, given))
    if isinstance(model, PhaseWeightedStack):
        x, given = np.swapaxes(x, 2, 3), np.swapaxes(given, 2, 3)
        virtual = np.swapaxes(model.redatum(x, given), 2, 3)
    elif isinstance(model, keras.Model):
        virtual = in_batches(model.redatum, x, given, rows=ROWS)
    else:
        virtual = model.redatum(x, given)
    return float(relative_error(truth, virtual))


# === Time lapse ===


def repeatability(
    model: TomographicSymAE, engine: str, tests: int, seed: int
) -> dict[str, Any]:
    """Return medians over traces of surveys of 8 gathers, for unchanged media."""
    both = simulate_gathers(tests, 16, seed=300 + seed, engine=engine)
    first, second = both.x[:, :8], both.x[:, 8:]
    virtual = in_batches(model.redatum, second, first, rows=ROWS)
    row: dict[str, Any] = {"engine": engine, "media": tests, "seed": seed}
    for name, other in (("measured", second), ("virtual", virtual)):
        row[f"NRMS {name}"] = float(np.median(nrms(first, other)))
        row[f"predictability {name}"] = float(
            np.median(predictability(first, other, LAGS))
        )
    return row


def location(
    model: TomographicSymAE, engine: str, tests: int, seed: int
) -> dict[str, Any]:
    """Return the location error in km of a change of 5 %, and its estimated size."""
    surveys = simulate_gathers(tests, 8, seed=400 + seed, engine=engine, change=CHANGE)
    before, after = surveys.x[:tests], surveys.x[tests:]
    truth = surveys.state["position"][tests:, -1]
    codes = [in_batches(model.encode, each, rows=ROWS) for each in (before, after)]
    side = np.arange(-0.4, 0.401, 0.02)
    points = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2)
    points = points[np.hypot(*points.T) <= 0.4]
    change = codes[1].coherent - codes[0].coherent
    drawn = ops.convert_to_numpy(model.slowness(change, points))
    delays = back_projected(model, surveys.x, codes[0].nuisance[..., :2])
    raw = ops.convert_to_numpy(model.slowness(delays, points))
    row: dict[str, Any] = {"engine": engine, "media": tests, "seed": seed}
    for name, picture in (("codes", drawn), ("measured", raw)):
        found = points[np.argmax(picture, axis=-1)]
        distance = np.linalg.norm(found - truth, axis=-1)
        row[f"within half a wavelength, {name}"] = float(np.mean(distance <= NEAR_KM))
        row[f"median km, {name}"] = float(np.median(distance))
    row["size over truth, median"] = float(np.median(drawn.max(axis=-1))) / CHANGE
    return row


def back_projected(model: TomographicSymAE, x: Array, source: Array) -> Array:
    """Return differences of delays of measured gathers, with the first sources."""
    half = len(x) // 2
    delay = in_batches(ShiftEstimator(), x, rows=ROWS)
    late = delay[half:] - delay[:half]
    late = late - late.mean(axis=-1, keepdims=True)
    kernel, _ = model.kernel(source, velocity=model.velocity)
    picture = np.einsum("gtar,gtr->ga", ops.convert_to_numpy(kernel), late)
    return np.concatenate([picture, np.zeros((half, 1))], axis=-1)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--media", type=int, default=500)
    parser.add_argument("--tests", type=int, default=50, help="media, by rays")
    parser.add_argument("--waves", type=int, default=12, help="by finite differences")
    parser.add_argument(
        "--updates", type=int, default=2000, help="of networks, in the first seed alone"
    )
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    tests = {"rays": arguments.tests, "waves": arguments.waves}
    tables: dict[str, list[dict[str, Any]]] = {}
    for seed in range(arguments.seeds):
        updates = 0 if seed else arguments.updates
        rows, model = redatuming(arguments.media, tests, updates, seed)
        tables.setdefault("redatuming", []).extend(rows)
        for engine, count in tests.items():
            for job in (repeatability, location):
                row = job(model, engine, count, seed)
                print(row, flush=True)
                tables.setdefault(job.__name__, []).append(row)
        if arguments.out is not None:
            write_json(arguments.out, tables)
    for rows in tables.values():
        print_table(rows, tuple(rows[0]))


if __name__ == "__main__":
    main()
