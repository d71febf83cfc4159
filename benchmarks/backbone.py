"""Benchmark of the linear backbone of SymAE on few groups, and on many stars.

One model is trained per data set and seed, without an ensemble and without a regression
on its outputs. All data sets except the exposures use the same settings.

Tablets (`--data`): 642 tablets on two near-infrared spectrometers, see `tablets.py`. A
single spectrum of instrument 2 is converted to instrument 1: its coherent code is
decoded with the mean nuisance code of the training tablets on instrument 1.

Crossed sets are simulated: 40 to 80 samples are each measured on 3 to 7 instruments.
The instruments differ in resolution, wavelength shift, gain, baseline and stray light,
and each measurement has a random offset and slope. Spectra of all other instruments are
converted to the first one, for 100 new samples.

The error is the mean squared error divided by the variance of the true spectra. It is
"baseline-free" if the best quadratic in wavelength is subtracted from both ground truth
and prediction. `--exposures` trains on 2000 entangled stars, with and without a
backbone, for 4000 steps of Adam and for 2048 of Muon with falling noise, and prints
the redatuming error. `--few` does so for 30 and 100 groups of 4 replicates or stars, as
`symae train symae_exposures` trains them: a fifth is held out, and the weights of the
best epoch are kept.

    python benchmarks/backbone.py --data tablets_nir.npz --crossed 3 4 \
        --exposures 1 --few 2 --out results.json
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Literal

import keras
import numpy as np
from common import print_table, write_json
from tablets import CLASSICAL, Baseline, assay_model, judge

from symae_keras.classical import DirectStandardization, LinearMixedModel, MeanShift
from symae_keras.data import GroupedData, simulate_exposures
from symae_keras.data.simulators.replicates import simulate_replicates
from symae_keras.evaluation import redatuming_error, relative_error
from symae_keras.layers import DenseEncoder
from symae_keras.models import SymAE
from symae_keras.training import Budget, Training, normalization, train
from symae_keras.zoo.recipes import load_recipe


@dataclasses.dataclass(frozen=True)
class Settings:
    """Settings of all data sets except the exposures.

    Optimizer, learning rate, code sizes, weight decay and whitening for two instruments
    were chosen within the training tablets, as `--validate` does; the other settings
    are from earlier trials.
    More instruments differ in more ways: `T` instruments have `2 (T - 1)` nuisance
    numbers and noise of `1 / sqrt(T - 1)`, chosen on the first three crossed sets.
    """

    coherent_dim: int = 24
    nuisance_dim: int = 2
    noise_strength: float = 1.0
    instance_dropout: float = 0.5
    width: int = 128
    updates: int = 2000
    optimizer: Literal["adam", "muon"] = "muon"
    learning_rate: float = 7e-3
    weight_decay: float = 0.03


def fit(x: Any, settings: Settings, seed: int) -> SymAE:
    """Train one model on groups `(groups, instruments, pixels)`."""
    keras.utils.set_random_seed(seed)
    groups = GroupedData(x.astype("float32"))
    others = groups.n_instances - 1
    model = SymAE(
        groups.instance_shape,
        settings.coherent_dim,
        settings.nuisance_dim * others,
        encoder=DenseEncoder(64, units=(settings.width,)),
        noise_strength=settings.noise_strength / others**0.5,
        instance_dropout=settings.instance_dropout,
        normalization=normalization(groups),
        seed=seed,
        backbone="linear",
    )
    training = Training(
        epochs=1,
        min_updates=settings.updates,
        batch_size=32,
        instances=None,
        optimizer=settings.optimizer,
        learning_rate=settings.learning_rate,
        weight_decay=settings.weight_decay,
    )
    train(model, groups, training, seed)
    return model


def transfer(model: SymAE, reference: Any, new: Any) -> Any:
    """Convert spectra to another instrument.

    Args:
        model: The trained model.
        reference: Training spectra of the target instrument, `(n, pixels)`.
        new: Spectra of any instrument, `(m, pixels)`.

    Returns:
        Virtual spectra, `(m, pixels)`.
    """
    there = model.encode(reference[:, None].astype("float32")).nuisance
    target = keras.ops.mean(there, axis=0, keepdims=True)
    coherent = model.encode(new[:, None].astype("float32")).coherent
    target = keras.ops.broadcast_to(target, (len(new), 1, target.shape[-1]))
    virtual = keras.ops.convert_to_numpy(model.decode(coherent, target))
    return virtual[:, 0].astype("float64")


# === Tablets ===


def tablets(
    path: Path, settings: Settings, seeds: int, validate: bool
) -> list[dict[str, Any]]:
    """Return the table rows for the tablets."""
    with np.load(path) as file:
        x, assay, part = file["x"].astype("float64"), file["assay"], file["split"]
    table: list[dict[str, Any]] = []
    for seed in range(seeds):
        inside, held = np.flatnonzero(part == "train"), np.flatnonzero(part == "test")
        if validate:
            order = np.random.default_rng(1000 + seed).permutation(inside)
            held, inside = order[: len(inside) // 4], order[len(inside) // 4 :]
        calibration = assay_model(x[inside], assay[inside])
        methods = {}
        if validate or seed == 0:  # deterministic
            name = "direct standardisation"
            methods[name] = CLASSICAL[name](x[inside], x[held, 1])
        start = time.perf_counter()
        model = fit(x[inside], settings, seed)
        methods["SymAE, linear"] = transfer(model, x[inside, 0], x[held, 1])
        seconds = time.perf_counter() - start
        for name, virtual in methods.items():
            scores = judge(virtual, x[held, 0], calibration, assay[held])
            table.append({"set": "tablets", "seed": seed, "method": name, **scores})
        table[-1]["seconds"] = seconds
        for row in table[-len(methods) :]:
            print(row, flush=True)
    return table


# === Crossed sets ===

_PIXELS = 200
_BANDS = 24


def simulate_crossed(
    n_samples: int, n_instruments: int, seed: int, n_new: int = 100
) -> tuple[Any, Any]:
    """Simulate absorbance spectra of samples on several instruments.

    Returns:
        Training and new samples, `(samples, instruments, pixels)`.
    """
    rng = np.random.default_rng(seed)
    axis = np.linspace(-1.0, 1.0, _PIXELS)
    count = n_samples + n_new
    centres = rng.uniform(-1.0, 1.0, _BANDS)
    widths = rng.uniform(0.04, 0.2, _BANDS)
    # Six substances, each with all bands, in different amounts per sample.
    heights = rng.gamma(0.5, 1.0, (6, _BANDS))
    amounts = rng.gamma(4.0, 0.25, (count, 6))
    result = np.empty((count, n_instruments, _PIXELS))
    for k in range(n_instruments):
        shift, stretch = rng.normal(0.0, 0.01), rng.normal(0.0, 0.005)
        place = axis * (1.0 + stretch) + shift
        blur = rng.uniform(0.0, 0.06)
        wide = np.hypot(widths, blur)
        bands = np.exp(-0.5 * ((place[:, None] - centres) / wide) ** 2) * widths / wide
        absorbance = 0.1 * amounts @ heights @ bands.T
        stray = rng.uniform(0.0, 0.03)
        absorbance = -np.log10((10.0**-absorbance + stray) / (1.0 + stray))
        gain = 1.0 + rng.normal(0.0, 0.05) + rng.normal(0.0, 0.03) * axis
        offset = rng.normal(0.0, 0.05) + rng.normal(0.0, 0.05) * axis
        placement = 0.03 * rng.normal(size=(count, 2)) @ np.stack([axis**0, axis])
        noise = 5e-4 * rng.normal(size=(count, _PIXELS))
        result[:, k] = gain * absorbance + offset + placement + noise
    return result[:n_samples], result[n_samples:]


def crossed(number: int, settings: Settings) -> list[dict[str, Any]]:
    """Return the table rows for one crossed set."""
    rng = np.random.default_rng(number)
    sizes = int(rng.integers(40, 81)), int(rng.integers(3, 8))
    x, new = simulate_crossed(*sizes, seed=number)
    baseline = Baseline(_PIXELS)
    model = fit(x, settings, number)
    rows = []
    for name in ("mean shift", "direct standardisation", "SymAE, linear"):
        errors = []
        for source in range(1, sizes[1]):
            if name == "SymAE, linear":
                virtual = transfer(model, x[:, 0], new[:, source])
            else:
                cls = MeanShift if name == "mean shift" else DirectStandardization
                method = cls(source=source, target=0).fit(GroupedData(x))
                virtual = method.transfer(new[:, source])
            truth = new[:, 0]
            free = baseline.free(virtual), baseline.free(truth)
            errors.append((relative_error(virtual, truth), relative_error(*free)))
        error, without = np.mean(errors, axis=0)
        rows.append(
            {
                "set": f"crossed {sizes[0]} x {sizes[1]}",
                "seed": number,
                "method": name,
                "error": float(error),
                "baseline-free": float(without),
            }
        )
        print(rows[-1], flush=True)
    return rows


# === Exposures ===


#: The backbone needs more updates and a lower rate than the preset.
_LONGER: Final = dataclasses.replace(
    load_recipe("symae_exposures").recipe, epochs=64, learning_rate=7e-3
)


def with_networks(
    groups: GroupedData, units: tuple[int, ...], backbone: str | None, seed: int
) -> SymAE:
    """Return an untrained model like that of the preset `symae_exposures`."""
    keras.utils.set_random_seed(seed)
    return SymAE(
        groups.instance_shape,
        encoder=DenseEncoder(128, units=units),
        normalization=normalization(groups),
        seed=seed,
        backbone=backbone,
    )


def exposures(seed: int, scale: float) -> list[dict[str, Any]]:
    """Return the table rows for entangled exposures."""
    groups = simulate_exposures(2000, 16, 100 + seed, entangled=True)
    test = simulate_exposures(1000, 16, 1, entangled=True)
    trainings = {
        "Adam": (Training(), (512, 256)),
        "Muon": (_LONGER, (256, 128)),
    }
    rows = []
    for (name, (training, units)), backbone in itertools.product(
        trainings.items(), ("linear", None)
    ):
        epochs = max(1, round(scale * Budget.of(groups, training).epochs))
        training = dataclasses.replace(training, epochs=epochs)
        model = with_networks(groups, units, backbone, seed)
        start = time.perf_counter()
        train(model, groups, training, seed)
        row = {
            "set": "exposures",
            "seed": seed,
            "method": ("SymAE, linear, " if backbone else "SymAE, ") + name,
            "error": float(redatuming_error(model, test)),
            "seconds": time.perf_counter() - start,
        }
        rows.append(row)
        print(row, flush=True)
    return rows


# === Few groups ===


def few(number: int) -> list[dict[str, Any]]:
    """Return the table rows for few groups of replicates and entangled exposures."""
    rows = []
    simulators: dict[str, Callable[..., GroupedData]] = {
        "replicates": simulate_replicates,
        "exposures": simulate_exposures,
    }
    for (name, simulate), size in itertools.product(simulators.items(), (30, 100)):
        groups = simulate(size, 4, seed=500 + number)
        test = simulate(300, 4, seed=77)
        reference = LinearMixedModel().fit(groups)
        errors = {"linear mixed model": float(redatuming_error(reference, test))}
        part, held_out = groups.split(train=0.8, seed=number)
        for method, backbone in (("SymAE, linear", "linear"), ("SymAE", None)):
            model = with_networks(part, (256, 128), backbone, number)
            train(model, part, Training(), number, held_out)
            errors[method] = float(redatuming_error(model, test))
        for method, error in errors.items():
            row = {"set": f"{name} {size} x 4", "seed": number, "method": method}
            rows.append({**row, "error": error})
            print(rows[-1], flush=True)
    return rows


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="tablets_nir.npz")
    parser.add_argument("--seeds", type=int, default=3, help="of tablets; default 3")
    parser.add_argument(
        "--validate",
        action="store_true",
        help="evaluate on 25 % of the training tablets, other ones per seed: this "
        "is how settings are chosen",
    )
    parser.add_argument(
        "--crossed", type=int, nargs="*", default=[], help="numbers of crossed sets"
    )
    parser.add_argument("--exposures", type=int, default=0, help="seeds of exposures")
    parser.add_argument("--few", type=int, default=0, help="seeds of few groups")
    parser.add_argument("--quick", action="store_true", help="a tenth of the updates")
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
    scale = 0.1 if options.quick else 1.0
    settings = dataclasses.replace(settings, updates=round(settings.updates * scale))
    table: list[dict[str, Any]] = []
    if options.data:
        table += tablets(options.data, settings, options.seeds, options.validate)
    for number in options.crossed:
        table += crossed(number, settings)
    for seed in range(options.exposures):
        table += exposures(seed, scale)
    for number in range(options.few):
        table += few(number)
    columns = ("set", "seed", "method", "error", "baseline-free", "RMSEP (mg)")
    print_table(table, (*columns, "seconds"))
    if options.out:
        write_json(
            options.out, {"settings": dataclasses.asdict(settings), "rows": table}
        )


if __name__ == "__main__":
    main()
