"""Calibration transfer of spectra of tablets from instrument 2 to instrument 1.

The data are 642 tablets measured by two near-infrared spectrometers (the 2002 shootout
set): state = tablet, instance = instrument. Every method is fitted on the same 400
training tablets and evaluated on the 212 test tablets; it chooses its settings by
cross-validation within the training tablets.

The error is the mean squared error divided by the variance of the true spectra. The
placement of a tablet adds a random offset and slope to every measurement, which no
method can predict. Therefore the error is also computed after the best quadratic in
wavelength is subtracted from both ground truth and prediction ("baseline-free"). The
last column is the purpose of the transfer: the error of the assay, in mg, by a partial
least squares model of instrument 1.

    python benchmarks/tablets.py --data tablets_nir.npz --seeds 3 --out results.json
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from pathlib import Path
from typing import Any

import keras
import numpy as np
from common import print_table, write_json
from sklearn.cross_decomposition import PLSRegression
from sklearn.decomposition import PCA
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import GridSearchCV, KFold

from symae_keras.classical import (
    DirectStandardization,
    PiecewiseDirectStandardization,
)
from symae_keras.data import GroupedData
from symae_keras.evaluation import relative_error
from symae_keras.layers import DenseEncoder
from symae_keras.models import SymAE
from symae_keras.training import Training, train

ALPHAS = np.logspace(-6, 4, 31)
FOLDS = KFold(10, shuffle=True, random_state=0)


class Baseline:
    """Quadratics in wavelength, and spectra without them."""

    def __init__(self, pixels: int) -> None:
        powers = np.vander(np.linspace(-1.0, 1.0, pixels), 3)
        self.basis = np.linalg.qr(powers)[0]

    def of(self, x: Any) -> Any:
        """Return the best quadratic of each spectrum."""
        return (x @ self.basis) @ self.basis.T

    def free(self, x: Any) -> Any:
        """Return spectra without their best quadratic."""
        return x - self.of(x)


# === Classical methods: functions of the training pairs and of new spectra ===


def direct_standardisation(train: Any, new: Any) -> Any:
    """Fit a ridge regression of whole spectra, with strength by leave-one-out."""
    model = DirectStandardization(source=1, target=0)
    return model.fit(GroupedData(train)).transfer(new)


def piecewise_standardisation(train: Any, new: Any) -> Any:
    """Fit a ridge regression per pixel on a window, with cross-validated sizes."""
    choices = [(window, ridge) for window in (5, 11, 21, 41) for ridge in ALPHAS[:25:4]]

    def predict(pairs: Any, spectra: Any, window: int, ridge: float) -> Any:
        model = PiecewiseDirectStandardization(1, 0, window, ridge)
        return model.fit(GroupedData(pairs)).transfer(spectra)

    def error(window: int, ridge: float) -> float:
        fit, held = next(FOLDS.split(train))
        guess = predict(train[fit], train[held, 1], window, ridge)
        return relative_error(guess, train[held, 0])

    return predict(train, new, *min(choices, key=lambda choice: error(*choice)))


CLASSICAL = {
    "no correction": lambda train, new: new,
    "mean shift": lambda train, new: new + (train[:, 0] - train[:, 1]).mean(axis=0),
    "piecewise direct standardisation": piecewise_standardisation,
    "direct standardisation": direct_standardisation,
}


# === SymAE ===


@dataclasses.dataclass(frozen=True)
class Settings:
    """Settings chosen by validation within the training tablets (`--validate`)."""

    coherent_dim: int = 32
    nuisance_dim: int = 2
    noise_strength: float = 1.0
    instance_dropout: float = 0.5
    epochs: int = 180
    learning_rate: float = 1e-3
    members: int = 8
    components: int = 40


class Coordinates:
    """Linear coordinates in which small features of the spectra matter.

    The baseline accounts for 98 % of the variance; in the original units a network
    learns nothing else. Therefore the baseline and the remaining spectrum are scaled to
    the same variance. Then each principal component is divided by the square root of
    its standard deviation, which is half-way to whitening.
    """

    def __init__(self, x: Any, baseline: Baseline) -> None:
        pixels = x.shape[-1]
        self.mean = x.mean(axis=(0, 1))
        deviations = (x - self.mean).reshape(-1, pixels)
        onto = baseline.basis @ baseline.basis.T
        off = np.eye(pixels) - onto
        balance = onto / _rms(deviations @ onto) + off / _rms(deviations @ off)
        balanced = deviations @ balance
        values, vectors = np.linalg.eigh(balanced.T @ balanced / len(balanced))
        spread = np.sqrt(np.maximum(values, 0.0))
        # The floor prevents an amplification of components of pure noise.
        softened = (vectors * (spread + 0.02 * spread.max()) ** -0.5) @ vectors.T
        forward = balance @ softened
        self.forward = forward / _rms(deviations @ forward)
        self.backward = np.linalg.inv(self.forward)

    def __call__(self, x: Any) -> Any:
        """Convert spectra to coordinates, float32."""
        return ((x - self.mean) @ self.forward).astype("float32")

    def inverse(self, z: Any) -> Any:
        """Convert coordinates to spectra."""
        return z @ self.backward + self.mean


def _rms(values: Any) -> Any:
    return np.sqrt(np.mean(values**2))


class Member:
    """SymAE that is trained on some of the tablets."""

    def __init__(self, z: Any, settings: Settings, seed: int) -> None:
        keras.utils.set_random_seed(seed)
        self.model = SymAE(
            z.shape[2:],
            settings.coherent_dim,
            settings.nuisance_dim,
            encoder=DenseEncoder(64, units=(256, 128)),
            noise_strength=settings.noise_strength,
            instance_dropout=settings.instance_dropout,
            seed=seed,
        )
        training = Training(
            epochs=settings.epochs,
            batch_size=32,
            instances=2,
            learning_rate=settings.learning_rate,
        )
        train(self.model, GroupedData(z), training, seed)
        self.target = keras.ops.mean(self.model.encode(z[:, :1]).nuisance, axis=0)

    def __call__(self, z: Any) -> tuple[Any, Any]:
        """Redatum instances of instrument 2, `(n, pixels)`, to instrument 1.

        Returns:
            The virtual instances, decoded from the coherent code of the given instance
            and the mean nuisance code of the training tablets on instrument 1, and the
            residual of the reconstruction of each instance.
        """
        codes = self.model.encode(z[:, None])
        shape = (len(z), *self.target.shape)
        target = keras.ops.broadcast_to(self.target, shape)
        virtual = self.model.decode(codes.coherent, target)
        reconstruction = self.model.decode(*codes)
        return (
            keras.ops.convert_to_numpy(virtual)[:, 0].astype("float64"),
            z - keras.ops.convert_to_numpy(reconstruction)[:, 0],
        )


def transfer(train_x: Any, new: Any, settings: Settings, seed: int) -> Any:
    """Redatum new spectra of instrument 2 to instrument 1.

    One SymAE per fold is trained on the tablets outside the fold, and the virtual
    spectra of all models are averaged. A bottleneck loses fine detail, part of which
    belongs to the tablet. A regression therefore predicts the error of the virtual
    spectra from the spectra and from the residuals of their reconstructions. It is
    fitted on the tablets that each model was not trained on: one ridge regression per
    principal component, with strength by leave-one-out.
    """
    coordinates = Coordinates(train_x, Baseline(train_x.shape[-1]))
    z, queries = coordinates(train_x), coordinates(new)
    answers, predictors, lacking = [], [], []
    folds = KFold(settings.members, shuffle=True, random_state=seed)
    for member, (inside, outside) in enumerate(folds.split(z)):
        redatum = Member(z[inside], settings, 100 * seed + member)
        answers.append(redatum(queries))
        virtual, residual = redatum(z[outside, 1])
        predictors.append(np.hstack([residual, z[outside, 1]]))
        lacking.append(z[outside, 0] - virtual)
    components = PCA(settings.components).fit(z.reshape(-1, z.shape[-1])).components_
    correction = RidgeCV(ALPHAS, alpha_per_target=True)
    correction.fit(np.concatenate(predictors), np.concatenate(lacking) @ components.T)
    virtual, residual = np.mean(answers, axis=0)
    lack = correction.predict(np.hstack([residual, queries])) @ components
    return coordinates.inverse(virtual + lack)


# === Evaluation ===


def assay_model(train_x: Any, assay: Any) -> Any:
    """Fit partial least squares on instrument 1, with cross-validated components."""
    search = GridSearchCV(
        PLSRegression(scale=False),
        {"n_components": range(2, 13)},
        scoring="neg_mean_squared_error",
        cv=FOLDS,
    )
    return search.fit(train_x[:, 0], assay)


def judge(virtual: Any, truth: Any, calibration: Any, assay: Any) -> dict[str, float]:
    """Return both errors of virtual spectra, and the error of the predicted assay."""
    baseline = Baseline(truth.shape[-1])
    residual = calibration.predict(virtual).ravel() - assay
    return {
        "error": relative_error(virtual, truth),
        "baseline-free": relative_error(baseline.free(virtual), baseline.free(truth)),
        "RMSEP (mg)": float(np.sqrt(np.mean(residual**2))),
    }


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="tablets_nir.npz")
    parser.add_argument("--seeds", type=int, default=3, help="default 3")
    parser.add_argument(
        "--validate",
        action="store_true",
        help="evaluate on 25 % of the training tablets, other ones per seed, and "
        "do not use the test tablets: this is how settings are chosen",
    )
    parser.add_argument("--out", type=Path, help="write the results as JSON")
    for field in dataclasses.fields(Settings):
        parser.add_argument(
            "--" + field.name.replace("_", "-"),
            type=type(field.default),
            default=field.default,
            help=f"default {field.default}",
        )
    options = parser.parse_args()
    settings = Settings(
        **{f.name: getattr(options, f.name) for f in dataclasses.fields(Settings)}
    )
    with np.load(options.data) as file:
        x, assay, part = file["x"].astype("float64"), file["assay"], file["split"]

    table: list[dict[str, Any]] = []
    for seed in range(options.seeds):
        fit, held = np.flatnonzero(part == "train"), np.flatnonzero(part == "test")
        if options.validate:
            order = np.random.default_rng(1000 + seed).permutation(fit)
            held, fit = order[: len(fit) // 4], order[len(fit) // 4 :]
        calibration = assay_model(x[fit], assay[fit])
        methods = {
            name: method(x[fit], x[held, 1])
            for name, method in CLASSICAL.items()
            if options.validate or seed == 0  # deterministic
        }
        start = time.perf_counter()
        methods["SymAE"] = transfer(x[fit], x[held, 1], settings, seed)
        minutes = (time.perf_counter() - start) / 60
        methods["truth"] = x[held, 0]
        for name, virtual in methods.items():
            scores = judge(virtual, x[held, 0], calibration, assay[held])
            table.append({"method": name, "seed": seed, **scores})
            if name == "SymAE":
                table[-1]["minutes"] = minutes
            print(table[-1], flush=True)

    columns = ("error", "baseline-free", "RMSEP (mg)", "minutes")
    medians = []
    for name in dict.fromkeys(row["method"] for row in table):
        rows = [row for row in table if row["method"] == name]
        values = {
            column: float(np.median([row[column] for row in rows]))
            for column in columns
            if column in rows[0]
        }
        medians.append({"method": name, "runs": len(rows), **values})
    print_table(medians, ("method", "runs", *columns))
    if options.out:
        results = {"settings": dataclasses.asdict(settings), "medians": medians}
        write_json(options.out, {**results, "runs": table})


if __name__ == "__main__":
    main()
