"""Heartbeats: identification of patients from one beat, detection of ectopic beats.

All models, PCA and the isolation forest are fitted to the normal beats of training
patients. The test patients are new to them.

- Identification: the first 8 beats of each of 300 test patients are enrolled; each of
  the other 8 is assigned to the patient with the nearest mean. The table shows the
  accuracy for the Euclidean distance and for linear discriminant analysis (LDA), which
  uses the scatter within the training patients.
- Ectopic beats: 10 % of the beats of the same patients are ectopic, without labels. The
  table shows the area under the ROC curve (AUROC) and the average precision of three
  scores: the reconstruction error, the LDA distance of the features of a beat from the
  mean of the other beats of its patient, and the p-value of `NewData`, which is
  calibrated on validation patients.

Code sizes, the shrinkage of the scatter, and the number of PCA components maximise the
number of identified validation patients; for the reconstruction error of PCA, the
number of components maximises the AUROC there. Each entry is the mean over the seeds;
the lowest and the highest value are in the JSON file and in brackets.

    python benchmarks/beats.py --out beats.json

takes about five minutes on one CPU core; `--quick` takes half a minute.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import keras
import numpy as np
from common import print_table, write_json
from sklearn.decomposition import PCA
from sklearn.ensemble import IsolationForest

from symae_keras.data import GroupedData, simulate_beats
from symae_keras.evaluation import NewData, detection, in_batches, redatuming_error
from symae_keras.models import Autoencoder, SymAE
from symae_keras.training import Training, normalization, train

Array = np.ndarray[Any, Any]

ENROLLED: Final = 8
ECTOPIC: Final = 0.1
SHRINKAGES: Final = (1e-4, 1e-3, 1e-2, 1e-1)
COMPONENTS: Final = (4, 8, 12, 16, 24, 32, 48)
#: Candidate code sizes: of coherent and nuisance code, or of the single code.
SIZES: Final[dict[str, Sequence[tuple[int, ...]]]] = {
    "SymAE": ((8, 8), (16, 8)),
    "original SymAE": ((8, 8), (16, 8)),
    "plain autoencoder": ((16,), (24,)),
}


@dataclasses.dataclass
class Beats:
    """Normal beats of training patients; normal and mixed beats of other patients."""

    train: GroupedData
    validation: GroupedData
    test: GroupedData
    validation_mixed: GroupedData
    test_mixed: GroupedData

    @classmethod
    def simulate(cls, seed: int, quick: bool) -> Beats:
        """Simulate all parts, with different patients in each."""
        sizes = (60, 30, 30) if quick else (800, 100, 300)
        seeds = [100 * seed + part for part in range(3)]
        normal = [
            simulate_beats(n, 2 * ENROLLED, s)
            for n, s in zip(sizes, seeds, strict=True)
        ]
        mixed = [
            simulate_beats(n, 2 * ENROLLED, s, ectopic=ECTOPIC)
            for n, s in zip(sizes[1:], seeds[1:], strict=True)
        ]
        return cls(*normal, *mixed)


class Metric:
    """Distance in units of the scatter within patients, shrunk towards a sphere."""

    def __init__(self, features: Array, shrinkage: float) -> None:
        within = features - features.mean(axis=1, keepdims=True)
        rows = within.reshape(-1, features.shape[-1])
        free = len(rows) * (1.0 - 1.0 / features.shape[1])
        scatter = rows.T @ rows / free
        size = len(scatter)
        scatter *= 1.0 - shrinkage
        scatter += shrinkage * np.trace(scatter) / size * np.eye(size)
        self._root = np.linalg.cholesky(np.linalg.inv(scatter))

    def __call__(self, features: Array) -> Array:
        """Return coordinates in which the distance is Euclidean."""
        return np.asarray(features @ self._root)


def identified(features: Array) -> float:
    """Return the fraction of new beats that are assigned to the right patient."""
    means = features[:, :ENROLLED].mean(axis=1)
    beats = features[:, ENROLLED:]
    distance = (means**2).sum(axis=1) - 2.0 * beats @ means.T
    own = np.arange(len(features))[:, None]
    return float(np.mean(distance.argmin(axis=-1) == own))


def from_others(features: Array) -> Array:
    """Return the distance of each beat from the mean of its patient's other beats."""
    n = features.shape[1]
    away = features - features.mean(axis=1, keepdims=True)
    return np.asarray(np.linalg.norm(away, axis=-1) * n / (n - 1))


def scores_of(name: str, scores: Array, groups: GroupedData) -> dict[str, float]:
    """Return AUROC and average precision of scores of beats."""
    ectopic = groups.instance_metadata["ectopic"].ravel()
    found = detection(scores.ravel(), ectopic)
    return {f"{name}, AUROC": found.roc_auc, f"{name}, AP": found.average_precision}


def judge(features: dict[str, Array]) -> tuple[float, dict[str, float], Array]:
    """Identify patients by features of the parts of `Beats`.

    Returns:
        The accuracy in the validation part with the chosen scatter, the results of the
        test part, and the coordinates of the mixed test beats.
    """
    metrics = [Metric(features["train"], shrinkage) for shrinkage in SHRINKAGES]
    shares = [identified(metric(features["validation"])) for metric in metrics]
    metric = metrics[int(np.argmax(shares))]
    row = {
        "nearest mean": identified(features["test"]),
        "LDA": identified(metric(features["test"])),
    }
    return max(shares), row, metric(features["test_mixed"])


def encoded(model: Any, beats: Beats) -> dict[str, Array]:
    """Return codes of single beats, the coherent one if there are two."""
    features = {}
    for field in dataclasses.fields(beats):
        x = getattr(beats, field.name).x
        if isinstance(model, SymAE):
            codes = in_batches(lambda rows: model.encode(rows).coherent, _single(x))
        else:
            codes = in_batches(model.encode, x.reshape(-1, x.shape[-1]))
        features[field.name] = codes.reshape(*x.shape[:2], -1).astype("float64")
    return features


def _single(x: Array) -> Array:
    """Return groups of one instance each."""
    return x.reshape(-1, 1, x.shape[-1])


def trained(
    kind: str, sizes: tuple[int, ...], groups: GroupedData, seed: int, quick: bool
) -> Any:
    """Fit a model of the given kind to normal beats."""
    keras.utils.set_random_seed(seed)
    shared: dict[str, Any] = {"normalization": normalization(groups), "seed": seed}
    training = Training(epochs=2 if quick else 16, instances=8)
    model: keras.Model
    if kind == "plain autoencoder":
        model = Autoencoder(groups.instance_shape, *sizes, **shared)
        training = dataclasses.replace(training, batch_size=128)
    else:
        coherent_dim, nuisance_dim = sizes
        model = SymAE(
            groups.instance_shape,
            coherent_dim,
            nuisance_dim,
            conditional_nuisance=kind == "SymAE",
            instance_dropout=0.5,  # so that one beat is enough to encode the state
            **shared,
        )
    train(model, groups, training, seed)
    return model


def model_row(
    kind: str, sizes: tuple[int, ...], beats: Beats, seed: int, quick: bool
) -> tuple[float, dict[str, float]]:
    """Train a model; return its accuracy on validation patients and test results."""
    model = trained(kind, sizes, beats.train, seed, quick)
    share, row, coordinates = judge(encoded(model, beats))
    mixed = beats.test_mixed
    if isinstance(model, SymAE):
        restored = in_batches(model.reconstruct, mixed.x)
        row["redatuming error"] = float(redatuming_error(model, beats.test))
        check = NewData.fit(model, beats.validation).check(
            dataclasses.replace(mixed, render=None)
        )
        row |= scores_of("NewData", -check.instance_p, mixed)
    else:
        rows = mixed.x.reshape(-1, mixed.x.shape[-1])
        restored = in_batches(model.reconstruct, rows).reshape(mixed.x.shape)
    row |= scores_of("error", ((restored - mixed.x) ** 2).mean(axis=-1), mixed)
    row |= scores_of("distance", from_others(coordinates), mixed)
    return share, row


def classical_rows(beats: Beats, seed: int) -> dict[str, dict[str, float]]:
    """Evaluate raw beats, PCA and the isolation forest."""
    parts = {f.name: getattr(beats, f.name).x for f in dataclasses.fields(beats)}
    raw = {name: x.astype("float64") for name, x in parts.items()}
    rows = raw["train"].reshape(-1, raw["train"].shape[-1])
    _, of_raw, coordinates = judge(raw)
    of_raw |= scores_of("distance", from_others(coordinates), beats.test_mixed)

    best: tuple[float, dict[str, float], Array] = (-1.0, {}, np.zeros(0))
    least: tuple[float, Array] = (-1.0, np.zeros(0))
    whole = PCA(max(COMPONENTS), svd_solver="covariance_eigh").fit(rows)
    for count in COMPONENTS:
        axes = whole.components_[:count].T
        scores = {name: (x - whole.mean_) @ axes for name, x in raw.items()}
        found = judge(scores)
        if found[0] > best[0]:
            best = found
        errors = {
            name: (((raw[name] - whole.mean_) - scores[name] @ axes.T) ** 2).mean(-1)
            for name in ("validation_mixed", "test_mixed")
        }
        known = scores_of("", errors["validation_mixed"], beats.validation_mixed)
        if known[", AUROC"] > least[0]:
            least = known[", AUROC"], errors["test_mixed"]
    of_pca = dict(best[1])
    of_pca |= scores_of("error", least[1], beats.test_mixed)
    of_pca |= scores_of("distance", from_others(best[2]), beats.test_mixed)

    forest = IsolationForest(random_state=seed).fit(rows)
    tested = raw["test_mixed"].reshape(-1, rows.shape[-1])
    strange = -forest.score_samples(tested)
    of_forest = scores_of("error", strange, beats.test_mixed)
    return {"raw beat": of_raw, "PCA": of_pca, "isolation forest": of_forest}


def spread(found: list[dict[str, float]]) -> dict[str, list[float]]:
    """Return mean, lowest and highest value over the seeds."""
    rows = {name: [row[name] for row in found] for name in found[0]}
    return {
        name: [float(np.mean(values)), min(values), max(values)]
        for name, values in rows.items()
    }


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=3, help="default 3")
    parser.add_argument("--out", type=Path, help="write the results as JSON")
    parser.add_argument("--quick", action="store_true", help="small sizes")
    options = parser.parse_args()
    start = time.process_time()
    found: dict[str, list[dict[str, float]]] = {}
    chosen: dict[str, tuple[int, ...]] = {}
    for seed in range(options.seeds):
        beats = Beats.simulate(seed, options.quick)
        rows = classical_rows(beats, seed)
        for kind, choices in SIZES.items():
            if kind in chosen:
                choices = (chosen[kind],)
            tried = {
                sizes: model_row(kind, sizes, beats, seed, options.quick)
                for sizes in choices
            }
            chosen[kind] = max(tried, key=lambda sizes: tried[sizes][0])
            rows[kind] = tried[chosen[kind]][1]
            shares = {sizes: round(share, 3) for sizes, (share, _) in tried.items()}
            print(f"seed {seed}, {kind}: validation {shares}", flush=True)
        for name, row in rows.items():
            found.setdefault(name, []).append(row)
    table = {name: spread(rows) for name, rows in found.items()}
    for columns in (
        ("nearest mean", "LDA", "redatuming error"),
        ("error, AUROC", "distance, AUROC", "NewData, AUROC"),
        ("error, AP", "distance, AP", "NewData, AP"),
    ):
        shown = [
            {"features": name}
            | {
                column: "{:.3f} [{:.3f}, {:.3f}]".format(*row[column])
                for column in columns
                if column in row
            }
            for name, row in table.items()
        ]
        print_table(shown, ("features", *columns))
    seconds = time.process_time() - start
    print(f"{seconds:.0f} s of processor time")
    if options.out:
        write_json(
            options.out, {"table": table, "sizes": chosen, "cpu_seconds": seconds}
        )


if __name__ == "__main__":
    main()
