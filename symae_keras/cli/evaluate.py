"""Judge a run by data that it was not trained on."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path
from typing import Any

from rich.console import Console

from symae_keras._utils.markers import write_listed
from symae_keras.cli._measure import measure, measure_run
from symae_keras.cli._run_folder import Run, load_run, recorded_data
from symae_keras.cli._sources import Groups, data_hash, in_memory, read_groups
from symae_keras.cli.train import find_groups
from symae_keras.data import GroupedData
from symae_keras.errors import InputError
from symae_keras.evaluation import Leakage, leakage

_log = logging.getLogger("symae_keras")


def evaluate_run(
    path: Path,
    data_file: Path | None = None,
    probes: bool = True,
    group: str | None = None,
    recipe: Path | None = None,
) -> tuple[Path, dict[str, Any], Leakage | None]:
    """Judge a run and write the result into its folder.

    Args:
        path: The run folder.
        data_file: Groups to judge by; `None` for the held-out part of the data that it
            was trained on.
        probes: Probe the codes for leakage; where that is impossible, such as for want
            of true parameters, a warning of the logger `"symae_keras"` says why.
        group: What tells the group in `data_file`, see `symae_keras.data.load`.
        recipe: See `symae_keras.cli._run_folder.load_run`.

    Returns:
        The file written (metrics.json, or metrics-NAME.json for a file NAME.npz), its
        content, and the leakage if probed.

    Raises:
        InputError: The run or the data cannot be used.
    """
    run = load_run(path, recipe)
    if data_file is None:
        train, groups = both_parts(run)
        if run.recipe is None:
            _log.warning(
                "scores that the recipe computes are left out; give --recipe FILE for "
                "them, if you trust it, because its code runs"
            )
            metrics = measure(run.model, groups, "held-out part")
        else:
            metrics = measure_run(run.model, run.recipe, train, groups)
        name = "metrics.json"
    else:
        groups = groups_for(run, data_file, group)
        metrics = measure(run.model, groups, str(data_file))
        name = f"metrics-{data_file.stem}.json"
    leaks = None
    if probes and metrics["swaps_codes"]:
        leaks = _leakage(run.model, groups)
    if leaks is not None:
        metrics["leakage"] = dataclasses.asdict(leaks)
    file = run.folder / name
    write_listed(file, metrics)
    return file, metrics, leaks


def _leakage(model: Any, groups: GroupedData) -> Leakage | None:
    """Return the leakage, or `None` and a note where it cannot be measured."""
    try:
        with Console(stderr=True).status("Probing the codes"):
            return leakage(model, groups)
    except InputError as error:
        _log.warning("no leakage scores: %s", error)
        return None


def held_out(run: Run) -> GroupedData:
    """What the run was not trained on, found again."""
    return both_parts(run)[1]


def both_parts(run: Run) -> tuple[Groups, GroupedData]:
    """What the run was trained on, and what it was not, found again."""
    config, file = run.config, recorded_data(run)
    if file is not None:
        if data_hash(file) != config["data"]["sha256"]:
            raise InputError(
                f"{file} has changed since {run.folder} was trained on it; name data "
                "to evaluate with --data."
            )
        groups = read_groups(file, config["data"].get("group"), min_instances=2)
    elif run.recipe is None:
        raise InputError(
            f"The data of {run.folder} come from its recipe, and a recipe is code that "
            "does not run unless you name it; give --data FILE or, if you trust it, "
            "--recipe FILE."
        )
    else:
        groups = find_groups(run.recipe, config)
    train, held_out = groups.split(config["train_fraction"], config["seed"])
    if not isinstance(held_out, GroupedData):
        held_out = held_out.sample()
    return train, held_out


def groups_for(run: Run, file: Path, group: str | None = None) -> GroupedData:
    """Read groups from a file, of the shape and on the axis that the model takes.

    Args:
        run: Of the model.
        file: See `symae_keras.data.load`.
        group: See there; by default as the run was trained.

    Raises:
        InputError: The file cannot be used, or holds instances of another shape or on
            another axis.
    """
    group = group or run.config["data"].get("group")
    groups = in_memory(read_groups(file, group), file)
    expected = tuple(run.config["instance_shape"])
    if groups.instance_shape != expected:
        raise InputError(
            f"{file} holds instances of shape {groups.instance_shape}, but the model "
            f"of {run.folder} takes {expected}."
        )
    if run.axis is not None:
        run.axis.check(groups, str(file), str(run.folder))
    return groups
