"""StellarAutoencoder: full size, and information in its code compared with PCA.

The data are simulated stars with one reduced spectrum each: 2048 pixels, lines whose
strengths depend on the temperature, an unknown velocity, an uncalibrated slope of the
continuum, and 1 % noise. Eight parameters vary, most with nonlinear effects, and the
code has eight numbers. Both methods use the same spectra, divided by their medians, and
no labels. Linear probes and perceptrons are then trained on the codes of the training
stars and evaluated on held-out stars.

    python benchmarks/stellar.py --full-size
    python benchmarks/stellar.py --out probe.json
    python benchmarks/stellar.py --disentangled --figures docs/images
    python benchmarks/stellar.py --sweep --figures docs/images

The bottleneck sweep is the recipe for choosing the code size on your own data: it
computes the error of held-out spectra as a function of the code size.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from common import print_table, write_json

from symae_keras.callbacks import KLSchedule
from symae_keras.data import GroupedData, instance_batches, simulate_exposures
from symae_keras.evaluation import (
    in_batches,
    informative_latents,
    mutual_information,
    probe_labels,
    relative_error,
)
from symae_keras.layers import MedianNormalization
from symae_keras.models import StellarAutoencoder
from symae_keras.plotting import plot_bottleneck_sweep, plot_latent_traversal

FULL_SIZE = 327_680
MEMORY = 16.0  # GB, the memory limit of a training step
CODE_DIM = 8
TRAIN_SEED, TEST_SEED = 100, 1
NOISE = 0.01
BATCH = 16


def stars(n_states: int, seed: int, n_pixels: int) -> GroupedData:
    """Return one reduced spectrum per star, divided by its median."""
    groups = simulate_exposures(
        n_states,
        n_instances=1,
        seed=seed,
        n_pixels=n_pixels,
        excitation=1.0,
        nuisances=("slope", "velocity"),
    )
    return groups.map_instances(MedianNormalization())


def both_parts(options: argparse.Namespace) -> tuple[GroupedData, GroupedData]:
    """Return stars for training, and others for evaluation."""
    return (
        stars(options.stars, TRAIN_SEED, options.pixels),
        stars(options.test_stars, TEST_SEED, options.pixels),
    )


def labels(groups: GroupedData) -> dict[str, np.ndarray]:
    """Return the parameters of each star and of its exposure."""
    abundance = groups.state["abundance"]
    return {
        "temperature": groups.state["temperature"],
        **{f"abundance {i + 1}": abundance[:, i] for i in range(abundance.shape[1])},
        "line width": groups.state["line_width"],
        "velocity": groups.nuisance["velocity"][:, 0],
        "slope": groups.nuisance["slope"][:, 0],
    }


def fit(
    groups: GroupedData,
    code_dim: int,
    steps: int,
    seed: int,
    kl_weight: float | None = None,
) -> StellarAutoencoder:
    """Train a model; the divergence weight increases during the first half."""
    keras.utils.set_random_seed(seed)
    model = StellarAutoencoder(groups.instance_shape, code_dim, kl_weight, seed=seed)
    rate = keras.optimizers.schedules.CosineDecay(2e-3, steps, alpha=0.01)
    model.compile(keras.optimizers.Adam(rate), "mse")
    callbacks = []
    if kl_weight is not None:
        ramp = keras.optimizers.schedules.PolynomialDecay(0.0, steps // 2, kl_weight)
        callbacks.append(KLSchedule(ramp))
    data = instance_batches(groups, BATCH, per_group=1, seed=seed).repeat()
    model.fit(
        data,
        steps_per_epoch=steps,
        callbacks=callbacks,
        shuffle=False,
        verbose=0,
    )
    return model


def probed(train: Any, held_out: Any, groups: tuple[GroupedData, GroupedData]) -> Any:
    """Return R^2 of each label on held-out stars, by linear probes and perceptrons."""
    both = labels(groups[0]), labels(groups[1])
    return {
        kind: probe_labels((train, held_out), both, linear=kind == "linear")
        for kind in ("linear", "mlp")
    }


def principal_components(train: Any, held_out: Any, code_dim: int) -> Any:
    """Return codes of both parts, and reconstructions of the held-out spectra."""
    from sklearn.decomposition import PCA

    # The randomised solver is much faster for the leading components.
    pca = PCA(code_dim, svd_solver="randomized", random_state=0).fit(train)
    codes = pca.transform(held_out)
    return pca.transform(train), codes, pca.inverse_transform(codes)


def compare(options: argparse.Namespace) -> dict[str, Any]:
    """Compare probes of codes of 8 numbers, of the autoencoder and of PCA."""
    groups = both_parts(options)
    x, y = (each.x[:, 0] for each in groups)
    train, held_out, again = principal_components(x, y, CODE_DIM)
    found = {"PCA": [probed(train, held_out, groups)]}
    errors = {"PCA": [relative_error(again, y)], "autoencoder": []}
    seconds = []
    found["autoencoder"] = []
    for seed in range(options.seeds):
        start = time.perf_counter()
        model = fit(groups[0], CODE_DIM, options.steps, seed)
        seconds.append(time.perf_counter() - start)
        train, held_out = (in_batches(model.encode, each) for each in (x, y))
        errors["autoencoder"].append(
            relative_error(in_batches(model.reconstruct, y), y)
        )
        found["autoencoder"].append(probed(train, held_out, groups))
        error = errors["autoencoder"][-1]
        print(f"seed {seed}: error {error:.4f}, {seconds[-1]:.0f} s", flush=True)
    table = []
    for label in found["PCA"][0]["linear"]:
        row: dict[str, Any] = {"R^2 of": label}
        for kind in ("linear", "mlp"):
            for method, runs in found.items():
                scores = [run[kind][label] for run in runs]
                row[f"{method}, {kind}"] = float(np.median(scores))
        table.append(row)
    print_table(table, list(table[0]))
    for method, values in errors.items():
        print(f"reconstruction error, {method}: {np.round(values, 4)}")
    return {"scores": found, "table": table, "errors": errors, "seconds": seconds}


def disentangled(options: argparse.Namespace) -> dict[str, Any]:
    """Print the informative latents of a larger, variational code, and their labels."""
    groups = both_parts(options)
    # With beta = 1, this is a bound of the likelihood, for a mean over pixels.
    kl_weight = options.beta * 2.0 * NOISE**2 / options.pixels
    model = fit(groups[0], 2 * CODE_DIM, options.steps, 0, kl_weight)
    x = groups[1].x[:, 0]
    mean, log_variance = in_batches(model.posterior, x)
    used = informative_latents(mean, log_variance)
    print(
        f"informative by divergence: {used.by_kl}, by dispersion "
        f"{used.by_dispersion}, of {mean.shape[1]}"
    )
    # The most informative latents, as many as the figure can show.
    chosen = used.by_kl[np.argsort(-used.kl[used.by_kl])][:CODE_DIM]
    information = mutual_information(mean[:, chosen], labels(groups[1]))
    table = []
    for place, latent in enumerate(chosen):
        row: dict[str, Any] = {"latent": int(latent), "KL": float(used.kl[latent])}
        row |= {k: float(v[place]) for k, v in information.nats.items()}
        table.append(row)
    chance = {k: float(v.mean()) for k, v in information.chance.items()}
    print_table([*table, {"latent": "chance", **chance}], list(table[0]))
    if options.figures:
        names = []
        for row in table:
            told = max(information.nats, key=lambda name: row[name])
            names.append(f"latent {row['latent']}: mostly {told}")
        figure = plot_latent_traversal(
            model,
            mean,
            list(chosen),
            names,
            axis=groups[1].axis,
            axis_label=groups[1].axis_label,
            value_label="flux / median",
        )
        figure.savefig(options.figures / "stellar_traversal.png", dpi=150)
    return {
        "table": table,
        "chance": chance,
        "kl": used.kl.tolist(),
        "dispersion": used.dispersion.tolist(),
        "error": relative_error(in_batches(model.reconstruct, x), x),
    }


def sweep(options: argparse.Namespace) -> dict[str, Any]:
    """Return errors as a function of the code size."""
    train, held_out = both_parts(options)
    x, y = train.x[:, 0], held_out.x[:, 0]
    errors: dict[str, list[float]] = {"autoencoder": [], "PCA": []}
    for code_dim in options.code_dims:
        model = fit(train, code_dim, options.steps, 0)
        error = relative_error(in_batches(model.reconstruct, y), y)
        errors["autoencoder"].append(error)
        errors["PCA"].append(relative_error(principal_components(x, y, code_dim)[2], y))
        print(
            f"{code_dim} numbers: {error:.4f}, PCA {errors['PCA'][-1]:.4f}", flush=True
        )
    if options.figures:
        figure = plot_bottleneck_sweep(options.code_dims, errors)
        figure.savefig(options.figures / "stellar_sweep.png", dpi=150)
    return {"code_dims": options.code_dims, "errors": errors}


def full_size() -> dict[str, Any]:
    """Print shapes, parameters, and the memory of a training step in a new process."""
    command = [sys.executable, __file__, "--step"]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    memory, seconds = (float(each) for each in output.split()[-2:])
    model = StellarAutoencoder((FULL_SIZE,), kl_weight=1e-6)
    stack = model.instance_encoder
    rows = [
        {"kernel": k, "stride": s, "pixels": pixels, "channels": channels}
        for k, s, (pixels, channels) in zip(
            stack.kernel_size, stack.strides, model.maps, strict=True
        )
    ]
    print_table(rows, list(rows[0]))
    parts = {
        "encoder": stack.count_params(),
        "decoder": model.instance_decoder.count_params(),
    }
    print(f"parameters: {sum(parts.values()):,} ({parts})")
    print(f"peak memory of a training step, batch of 2: {memory:.2f} GB of {MEMORY}")
    print(f"seconds per step, after the first: {seconds:.2f}")
    assert memory < MEMORY
    return {"maps": rows, "parameters": parts, "GB": memory, "seconds": seconds}


def step() -> None:
    """Run two steps of the full size; print peak memory and seconds per step."""
    model = StellarAutoencoder((FULL_SIZE,), kl_weight=1e-6, seed=0)
    model.compile("adam", "mae")
    x = np.random.default_rng(0).uniform(0.5, 1.5, (2, FULL_SIZE)).astype("float32")
    for _ in range(2):
        start = time.perf_counter()
        model.train_on_batch(x, x)
        seconds = time.perf_counter() - start
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    peak = next(int(each.split()[1]) for each in lines if each.startswith("VmHWM"))
    print(peak * 1024 / 1e9, seconds)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--full-size", action="store_true", help="327,680 pixels")
    parser.add_argument("--disentangled", action="store_true", help="the KL form")
    parser.add_argument("--sweep", action="store_true", help="errors over sizes")
    parser.add_argument("--seeds", type=int, default=3, help="of the probed model")
    parser.add_argument("--stars", type=int, default=6000)
    parser.add_argument("--test-stars", type=int, default=1000)
    parser.add_argument("--steps", type=int, default=4000, help=f"batches of {BATCH}")
    parser.add_argument("--pixels", type=int, default=2048)
    parser.add_argument("--beta", type=float, default=10.0, help="of the KL form")
    parser.add_argument("--code-dims", type=int, nargs="+", default=[2, 4, 8, 16])
    parser.add_argument("--quick", action="store_true", help="short test, in minutes")
    parser.add_argument("--figures", type=Path, help="folder to draw PNGs into")
    parser.add_argument("--out", type=Path, help="write the results as JSON")
    parser.add_argument("--step", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.quick:
        options.stars, options.test_stars = 1500, 300
        options.steps, options.seeds = 300, 1
    if options.step:
        return step()
    if options.full_size:
        results = full_size()
    elif options.disentangled:
        results = disentangled(options)
    elif options.sweep:
        results = sweep(options)
    else:
        results = compare(options)
    if options.out:
        write_json(options.out, results)


if __name__ == "__main__":
    main()
