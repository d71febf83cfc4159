"""`symae demo`: two SymAEs on entangled exposures, with baseline and limit."""

from __future__ import annotations

import dataclasses
import shutil
import time
from pathlib import Path
from typing import Annotated, Any, Final

import typer

import symae_keras as sk
from symae_keras._utils.files import write_json
from symae_keras._utils.folders import CHECKPOINT, STATE, Draft
from symae_keras.cli._options import Force, Seed, import_backend
from symae_keras.cli._run_folder import RUN_CONTENTS
from symae_keras.cli._sources import find_groups
from symae_keras.cli._tables import print_table
from symae_keras.cli.train import fill_run, make_plan, run_config

PRESETS: Final = {
    "conditional": "symae_exposures",
    "original": "symae_exposures_original",
}
#: Patterns of the files in the folder of a demo.
CONTENTS: Final = (
    "metrics.json",
    *(f"{name}/{each}" for name in PRESETS for each in (*RUN_CONTENTS, STATE)),
)
#: Epochs of 32 steps in quick mode; the full mode uses those of the presets.
QUICK_EPOCHS: Final = 10
#: Numbers of new stars for the evaluation, and of exposures per star.
_STATES: Final = 300
_INSTANCES: Final = 16


def demo(
    quick: Annotated[
        bool,
        typer.Option("--quick", help="Train for about a minute, with larger errors."),
    ] = False,
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="The folder to create.")
    ] = Path("symae_demo"),
    seed: Seed = 0,
    force: Force = False,
) -> None:
    """Train SymAE on simulated stellar exposures and compare it with the limit."""
    cost = "about a minute" if quick else "about three minutes"
    print(f"Training two SymAEs on simulated spectra of stars, {cost}.", flush=True)
    start = time.monotonic()
    import_backend()
    with Draft(out, CONTENTS, resume=None, force=force) as folder:
        metrics = _fill(folder, quick, seed)
    print(
        f"Mean squared errors over the variance, for {_STATES} new stars of "
        f"{_INSTANCES} exposures:"
    )
    columns = ("reconstruction_error", "redatuming_error")
    print_table(
        ("", *(each.replace("_", " ") for each in columns)),
        [
            (f"{name} encoder" if name in PRESETS else name, *map(errors.get, columns))
            for name, errors in metrics["errors"].items()
        ],
    )
    if quick:
        print(
            f"Quick mode: only {metrics['epochs']} epochs, so the errors are larger "
            "than those of the full demo."
        )
    print(f"Done in {time.monotonic() - start:.0f} s.")
    for name in PRESETS:
        print(f"{out / name}: model.keras, metrics.json and figures/*.png")
    print("Next, with your own data: symae train symae_exposures --data my.npz")


def _fill(folder: Path, quick: bool, seed: int) -> dict[str, Any]:
    """Train both presets, evaluate them on the same new stars, and write metrics.json.

    The test stars come from the next seed.
    """
    test = sk.data.simulate_exposures(_STATES, _INSTANCES, seed + 1)
    rows: dict[str, Any] = {}
    groups = None
    for name, preset in PRESETS.items():
        epochs = QUICK_EPOCHS if quick else None
        recipe, config = run_config(preset, None, seed, epochs)
        # Both presets simulate the same stars from the same seed.
        groups = find_groups(recipe, config) if groups is None else groups
        plan = make_plan(recipe, config, groups)
        plan = dataclasses.replace(plan, title=f"{name} encoder")
        (folder / name).mkdir()
        fill_run(folder / name, plan)
        shutil.rmtree(folder / name / CHECKPOINT, ignore_errors=True)
        error = sk.evaluation.redatuming_error(plan.model, test)
        rows[name] = {
            "reconstruction_error": error.reconstruction,
            "redatuming_error": float(error),
        }
    rows["linear mean swap"] = {"redatuming_error": error.mean_swap}
    # The limit uses the same seed and therefore the same stars.
    limit = sk.evaluation.exposures_limit(_INSTANCES, _STATES, seed + 1)
    rows["limit"] = {"redatuming_error": limit}
    metrics = {
        "test": {"states": _STATES, "instances": _INSTANCES, "seed": seed + 1},
        "quick": quick,
        "epochs": recipe.epochs,
        "errors": rows,
    }
    write_json(folder / "metrics.json", metrics)
    return metrics
