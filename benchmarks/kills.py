"""Comparison of killed and resumed trainings with an uninterrupted one.

Each run trains a small SymAE with noise on its nuisance codes on simulated exposures,
through the command line. It is killed (SIGKILL) at a random moment, from before the
first epoch to the writing of figures after the last, and is resumed with `--resume`.
Its final weights are compared with those of an uninterrupted run.

    python benchmarks/kills.py --runs 20
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from common import print_table, write_json

EPOCHS = 40

RECIPE = '''"""A small SymAE.

Command: symae train recipe.py
Cost: seconds
Expect: nothing
"""

from symae_keras.data import simulate_exposures
from symae_keras.layers import DenseEncoder
from symae_keras.models import SymAE
from symae_keras.training import Recipe, normalization


def data(seed):
    return simulate_exposures(n_states=60, n_instances=6, seed=seed)


def model(groups, seed):
    return SymAE(
        groups.instance_shape,
        coherent_dim=4,
        nuisance_dim=4,
        encoder=DenseEncoder(16, units=(32,)),
        instance_dropout=0.2,
        normalization=normalization(groups),
        seed=seed,
    )


RECIPE = Recipe(model=model, data=data, epochs=EPOCHS, instances=4)
'''.replace("EPOCHS", str(EPOCHS))


def start(recipe: Path, out: Path, *more: str) -> subprocess.Popen[bytes]:
    """Start the command line in a separate process."""
    command = [sys.executable, "-m", "symae_keras.cli", "train", str(recipe)]
    return subprocess.Popen(
        [*command, "--out", str(out), *more],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


def finish(process: subprocess.Popen[bytes]) -> None:
    """Wait for a process that must succeed."""
    _, error = process.communicate()
    if process.returncode:
        raise RuntimeError(error.decode())


def weights(out: Path) -> list[Any]:
    """Return the weights of the model in a run folder."""
    import keras

    import symae_keras  # noqa: F401  # registers its classes with Keras

    model = keras.saving.load_model(out / "model.keras", compile=False)
    return list(model.get_weights())


def epochs_done(partial: Path) -> int:
    """Return the number of epochs in the history of an unfinished run."""
    history = partial / "history.csv"
    try:
        return max(len(history.read_text(encoding="utf-8").splitlines()) - 1, 0)
    except FileNotFoundError:
        return 0


def one_run(recipe: Path, out: Path, epoch: int, more: float) -> dict[str, Any]:
    """Kill a run some time after an epoch, resume it, and return its progress."""
    process = start(recipe, out)
    partial = out.with_name(out.name + ".partial")
    while process.poll() is None and epochs_done(partial) < epoch:
        time.sleep(0.005)
    time.sleep(more)
    process.kill()
    process.communicate()
    state = "finished" if out.exists() else f"{epochs_done(partial)} epochs"
    finish(start(recipe, out, "--resume"))
    return {"killed after epoch": epoch, "and s": more, "state then": state}


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=20, help="default 20")
    parser.add_argument("--seed", type=int, default=0, help="of the times, default 0")
    parser.add_argument("--out", type=Path, help="write the results as JSON")
    options = parser.parse_args()
    draw = random.Random(options.seed)
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        recipe = folder / "recipe.py"
        recipe.write_text(RECIPE, encoding="utf-8")
        finish(start(recipe, folder / "alone"))
        expected = weights(folder / "alone")
        for n in range(options.runs):
            out = folder / f"run{n}"
            epoch, more = draw.randint(0, EPOCHS), draw.uniform(0.0, 0.3)
            row = one_run(recipe, out, epoch, more)
            differences = [
                float(np.abs(one - other).max())
                for one, other in zip(weights(out), expected, strict=True)
            ]
            rows.append({"run": n, **row, "largest difference": max(differences)})
            print(rows[-1], flush=True)
    print_table(rows, list(rows[0]))
    worst = max(each["largest difference"] for each in rows)
    print(f"Largest difference of any weight in {len(rows)} runs: {worst:.2g}")
    if options.out:
        write_json(options.out, rows)


if __name__ == "__main__":
    main()
