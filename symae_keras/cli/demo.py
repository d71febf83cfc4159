"""The demonstration: two SymAEs on entangled exposures, against baseline and limit."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any, Final

from symae_keras._utils.files import write_json
from symae_keras._utils.folders import CHECKPOINT, STATE, Draft
from symae_keras.cli._run_folder import RUN_CONTENTS
from symae_keras.cli.train import fill_run, find_groups, make_plan, run_config
from symae_keras.data import simulate_exposures
from symae_keras.evaluation import exposures_limit, redatuming_error

PRESETS: Final = {
    "conditional": "symae_exposures",
    "original": "symae_exposures_original",
}
#: Patterns of what the folder of a demonstration holds.
CONTENTS: Final = (
    "metrics.json",
    *(f"{name}/{each}" for name in PRESETS for each in (*RUN_CONTENTS, STATE)),
)
#: Of 125 steps; the full form takes those of the presets.
QUICK_EPOCHS: Final = 5
#: New stars to judge by, and exposures of each.
_STATES: Final = 300
_INSTANCES: Final = 16


def run_demo(
    out: Path, quick: bool = False, seed: int = 0, force: bool = False
) -> dict[str, Any]:
    """Train both presets for the exposures and judge them on the same new stars.

    Args:
        out: Folder to make, with a run folder `conditional`, another `original`, and
            metrics.json.
        quick: Train for few epochs.
        seed: Seed of everything; the test stars come from the next one.
        force: Replace `out`.

    Returns:
        The content of metrics.json: relative errors by row of the table.

    Raises:
        InputError: `out` cannot be made or is in use.
    """
    draft = Draft(out, CONTENTS, resume=None, force=force)
    with draft as folder:
        test = simulate_exposures(_STATES, _INSTANCES, seed + 1)
        rows: dict[str, Any] = {}
        groups = None
        for name, preset in PRESETS.items():
            recipe, config = run_config(
                preset, None, seed, QUICK_EPOCHS if quick else None
            )
            # Both presets simulate the same stars from the same seed.
            groups = find_groups(recipe, config) if groups is None else groups
            plan = make_plan(recipe, config, groups)
            (folder / name).mkdir()
            plan = dataclasses.replace(plan, title=f"{name} encoder")
            fill_run(folder / name, plan)
            shutil.rmtree(folder / name / CHECKPOINT, ignore_errors=True)
            error = redatuming_error(plan.model, test)
            rows[name] = {
                "reconstruction_error": error.reconstruction,
                "redatuming_error": float(error),
            }
        rows["linear mean swap"] = {"redatuming_error": error.mean_swap}
        # The same stars again: the limit simulates them from the same seed.
        limit = exposures_limit(_INSTANCES, _STATES, seed + 1)
        rows["limit"] = {"redatuming_error": limit}
        metrics = {
            "test": {"states": _STATES, "instances": _INSTANCES, "seed": seed + 1},
            "quick": quick,
            "epochs": recipe.epochs,
            "errors": rows,
        }
        write_json(folder / "metrics.json", metrics)
    return metrics
