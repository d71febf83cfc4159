"""Small data: prediction of a label from 30 samples x 4 replicates.

Spectra of 200 pixels have three bands whose heights vary from sample to sample. Each
replicate has a different baseline, multiplicative scatter, shift and noise. The label
is the height of one band, with a standard deviation of 0.231. A second data set has one
more band of constant height, which makes the scatter identifiable.

Partial least squares predicts the label. The table shows the root mean squared error of
5-fold cross-validation by sample, for the usual spectroscopic preprocessings and for
SymAE: virtual spectra under the nuisances of one sample, without and with the detail of
the state, and the coherent code. All methods use only the labels of the training
samples; the number of components is chosen by another cross-validation within these.
`per fold` models are trained only on the training samples of each fold, as all
classical methods; 80 % of these train the codes, and the others are used to learn the
gain for the detail. `unlabelled` models are trained once on all samples, including
those to be predicted, without labels and without held-out samples. `linear` models are
the linear start of `SymAE(backbone="linear")`, in closed form and not trained further.
`whitened` models are the same with whitened coordinates and a larger coherent code;
both settings were chosen on the data of seeds 10 to 15. `other replicates` models are
adapted to four more replicates of all samples. They show how much noise of the samples
`unlabelled` models keep.

    python benchmarks/small.py --seeds 0 1 2 3 4 --out small.jsonl

Results are stored in the file as JSON lines, and an interrupted run is resumed.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import keras
import numpy as np
from common import print_table
from scipy.signal import savgol_filter
from sklearn.covariance import ledoit_wolf
from sklearn.cross_decomposition import PLSRegression
from sklearn.model_selection import KFold

from symae_keras.data import GroupedData
from symae_keras.data.groups import Array
from symae_keras.data.simulators.replicates import AXIS, simulate_replicates
from symae_keras.evaluation import in_batches, virtual_under
from symae_keras.models import SymAE
from symae_keras.models._detail import gain
from symae_keras.training import Training, normalization, train

N_SAMPLES: Final = 30
N_REPLICATES: Final = 4
#: The label is the height of the second band.
LABEL: Final = 1
FOLDS: Final = 5
MOST_COMPONENTS: Final = 10
UPDATES: Final = 2000
#: Classical preprocessings, and SymAE by its noise and training samples.
CASES: Final = (
    "classical",
    "gaussian per fold",
    "variational per fold",
    "gaussian unlabelled",
    "variational unlabelled",
    "linear per fold",
    "linear unlabelled",
    "whitened per fold",
    "whitened unlabelled",
    "whitened other replicates",
)
#: Size of the coherent code and power of the whitening of linear backbones.
LINEAR: Final[dict[str, tuple[int, float]]] = {
    "linear": (8, 0.5),
    "whitened": (16, 1.0),
}


# === Data ===


def simulate(seed: int, constant_band: bool) -> tuple[GroupedData, Array]:
    """Return groups of replicates, and the label of each group."""
    groups = simulate_replicates(N_SAMPLES, N_REPLICATES, seed, constant_band)
    return groups, groups.state["heights"][:, LABEL]


def other_replicates(seed: int, constant_band: bool) -> GroupedData:
    """Return as many other replicates of the same samples."""
    more = simulate_replicates(N_SAMPLES, 2 * N_REPLICATES, seed, constant_band)
    return GroupedData(more.x[:, N_REPLICATES:])


# === Classical spectra ===


def raw_mean(x: Array, train: Array) -> Array:
    """Return the mean of the replicates."""
    return np.asarray(x.mean(axis=1))


def snv(x: Array, train: Array) -> Array:
    """Return the mean of the replicates after standard normal variate correction."""
    centred = x - x.mean(axis=2, keepdims=True)
    return np.asarray((centred / x.std(axis=2, keepdims=True)).mean(axis=1))


def msc(x: Array, train: Array) -> Array:
    """Correct multiplicative scatter by the mean of the training samples."""
    return _scatter_correction(x, train, 0)


def emsc(x: Array, train: Array) -> Array:
    """Apply extended multiplicative scatter correction, with a quadratic baseline."""
    return _scatter_correction(x, train, 2)


def _scatter_correction(x: Array, train: Array, degree: int) -> Array:
    reference = x[train].mean(axis=(0, 1))
    baseline = np.stack([AXIS**power for power in range(degree + 1)])
    design = np.concatenate([reference[None], baseline]).T
    rows = x.reshape(-1, x.shape[2])
    coefficients = np.linalg.lstsq(design, rows.T, rcond=None)[0]
    corrected = (rows - coefficients[1:].T @ baseline) / coefficients[0][:, None]
    return np.asarray(corrected.reshape(x.shape).mean(axis=1))


def derivative(x: Array, train: Array) -> Array:
    """Return the first derivative of the mean."""
    return savitzky_golay(x.mean(axis=1))


def savitzky_golay(spectra: Array) -> Array:
    """Return first derivatives of smoothed spectra (11 pixels, order 2)."""
    return np.asarray(savgol_filter(spectra, 11, 2, deriv=1, axis=1))


def mixed_model(x: Array, train: Array) -> Array:
    """Return the best linear unbiased prediction of the state by a mixed model."""
    means = x.mean(axis=1)
    mean = means[train].mean(axis=0)
    deviations = (x - means[:, None])[train].reshape(-1, x.shape[2])
    within = ledoit_wolf(deviations, assume_centered=True)[0]
    within *= N_REPLICATES / (N_REPLICATES - 1)
    between = np.cov(means[train].T) - within / N_REPLICATES
    values, vectors = np.linalg.eigh(between)
    between = (vectors * values.clip(0.0)) @ vectors.T
    total = between + within / N_REPLICATES
    return np.asarray(mean + np.linalg.solve(total, (means - mean).T).T @ between)


CLASSICAL: Final[dict[str, Callable[[Array, Array], Array]]] = {
    "raw mean": raw_mean,
    "SNV": snv,
    "MSC": msc,
    "derivative": derivative,
    "EMSC": emsc,
    "linear mixed model": mixed_model,
}


# === Prediction ===


def folds(seed: int) -> Iterator[tuple[Array, Array]]:
    """Yield the training and test samples of each fold."""
    yield from KFold(FOLDS, shuffle=True, random_state=seed).split(range(N_SAMPLES))


def predict(features: Array, y: Array, train: Array, test: Array) -> Array:
    """Predict the test samples by PLS, with components chosen by cross-validation."""
    most = min(MOST_COMPONENTS, features.shape[1])
    errors = np.zeros(most)
    for a, b in KFold(FOLDS, shuffle=True, random_state=0).split(train):
        for k in range(most):
            found = _pls(features[train[a]], y[train[a]], features[train[b]], k + 1)
            errors[k] += ((found - y[train[b]]) ** 2).sum()
    return _pls(features[train], y[train], features[test], int(errors.argmin()) + 1)


def _pls(x: Array, y: Array, new: Array, components: int) -> Array:
    model = PLSRegression(components, scale=False).fit(x, y)
    return np.asarray(model.predict(new)).reshape(-1)


# === SymAE ===


def made(
    groups: GroupedData, kind: str, seed: int, updates: int, held_out: bool
) -> SymAE:
    """Train a model for a number of updates, or adapt its linear backbone.

    If there are held-out groups, the gain for the detail is learned from them.
    """
    keras.utils.set_random_seed(seed)
    if kind in LINEAR:
        coherent_dim, whitening = LINEAR[kind]
        model = SymAE(
            groups.instance_shape,
            coherent_dim,
            normalization=normalization(groups),
            seed=seed,
            backbone="linear",
        )
        model.adapt_backbone(groups, whitening=whitening)
        model.run_eagerly = True  # it is called only a few times
        return model
    rest = None
    if held_out:
        groups, rest = groups.split(train=0.8, seed=seed)
    model = SymAE(
        groups.instance_shape,
        nuisance_noise=kind,
        normalization=normalization(groups),
        seed=seed,
    )
    # Many passes per Keras epoch, because an epoch starts more slowly than an update.
    passes = groups[np.tile(np.arange(len(groups)), 100)]
    training = Training(instances=None)
    epochs = round(updates * training.batch_size / len(passes))
    training = Training(instances=None, epochs=max(epochs, 1))
    train(model, passes, training, seed, validation=rest)
    return model


def features_of(model: SymAE, groups: GroupedData, reference: int) -> dict[str, Array]:
    """Return virtual spectra and coherent codes, by name."""
    with_detail = virtual_under(model, groups, groups[[reference]])
    detail, model.detail = model.detail, None
    without = virtual_under(model, groups, groups[[reference]])
    model.detail = detail
    return {
        "virtual, no detail": without,
        "virtual": with_detail,
        "derivative of virtual": savitzky_golay(with_detail),
        "coherent code": in_batches(model.encode, groups.x).coherent,
    }


def mean_gain(model: SymAE) -> float:
    """Return the mean gain for the detail of groups of four."""
    if model.detail is None:
        return 0.0
    return float(gain(model.detail, N_REPLICATES).mean())


# === Results ===


def rows_of(
    seed: int, constant_band: bool, case: str, updates: int
) -> list[dict[str, Any]]:
    """Return errors on one data set, of classical methods or of one kind of model."""
    groups, y = simulate(seed, constant_band)
    predictions: dict[str, Array] = {}
    gains: list[float] = []

    def add(features: dict[str, Array], train: Array, test: Array) -> None:
        for name, values in features.items():
            into = predictions.setdefault(name, np.zeros(N_SAMPLES))
            into[test] = predict(values, y, train, test)

    model = None
    kind, _, samples = case.partition(" ")
    if samples in ("unlabelled", "other replicates"):
        new = samples == "other replicates"
        part = other_replicates(seed, constant_band) if new else groups
        model = made(part, kind, seed, updates, held_out=False)
        gains.append(mean_gain(model))
    for train_part, test_part in folds(seed):
        if case == "classical":
            features = {f: g(groups.x, train_part) for f, g in CLASSICAL.items()}
        else:
            if samples == "per fold":
                part = groups[train_part]
                model = made(part, kind, seed, updates, held_out=True)
                gains.append(mean_gain(model))
            assert model is not None
            features = features_of(model, groups, int(train_part[0]))
        add(features, train_part, test_part)
    return [
        {
            "constant band": constant_band,
            "case": case,
            "spectra": name,
            "seed": seed,
            "updates": updates,
            "RMSECV": float(np.sqrt(np.mean((found - y) ** 2))),
            **({"gain": float(np.mean(gains))} if gains else {}),
        }
        for name, found in predictions.items()
    ]


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", nargs="*", type=int, default=[0, 1, 2, 3, 4])
    parser.add_argument("--updates", type=int, default=UPDATES)
    parser.add_argument("--cases", nargs="*", choices=CASES, default=list(CASES))
    parser.add_argument("--out", type=Path, default=Path("small.jsonl"))
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    if options.out.exists():
        rows = [json.loads(each) for each in options.out.read_text().splitlines()]
    keys = ("seed", "constant band", "case", "updates")
    done = {tuple(row[key] for key in keys) for row in rows}
    wanted = [
        (seed, constant_band, case, options.updates)
        for constant_band in (False, True)
        for case in options.cases
        for seed in options.seeds
    ]
    for each in wanted:
        if each in done:
            continue
        found = rows_of(*each)
        rows += found
        with options.out.open("a") as file:
            file.writelines(json.dumps(row) + os.linesep for row in found)
        for row in found:
            print(json.dumps(row), flush=True)
    chosen = [row for row in rows if tuple(row[key] for key in keys) in set(wanted)]
    print_table(
        summary(chosen), ["constant band", "case", "spectra", "seeds", "RMSECV"]
    )


def summary(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the root mean square over seeds for each row of the table."""
    table: dict[tuple[Any, ...], list[float]] = {}
    for row in rows:
        key = row["constant band"], row["case"], row["spectra"]
        table.setdefault(key, []).append(row["RMSECV"])
    return [
        {
            **dict(zip(("constant band", "case", "spectra"), key, strict=True)),
            "seeds": len(values),
            "RMSECV": float(np.sqrt(np.mean(np.square(values)))),
        }
        for key, values in sorted(table.items(), key=lambda item: item[0][0])
    ]


if __name__ == "__main__":
    main()
