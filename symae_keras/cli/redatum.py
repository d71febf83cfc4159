"""Make virtual instances from files."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from symae_keras._utils.batching import in_batches
from symae_keras._utils.files import check_output
from symae_keras._utils.types import swaps_codes
from symae_keras.cli._run_folder import load_run, run_files
from symae_keras.cli.evaluate import groups_for
from symae_keras.data import Axis, GroupedData, save
from symae_keras.data.io.save import SUFFIXES
from symae_keras.errors import InputError


def redatum_files(
    path: Path,
    coherent_file: Path,
    nuisance_file: Path,
    out: Path,
    force: bool = False,
    group: str | None = None,
    recipe: Path | None = None,
) -> GroupedData:
    """Write virtual instances: the states of one file under the nuisances of another.

    Args:
        path: The run folder.
        coherent_file: Groups whose states are shown.
        nuisance_file: Groups whose nuisances they are shown under: as many, or one; a
            single group in either file is used for all of the other.
        out: The .npz or .csv file to write, see `symae_keras.data.save`.
        force: Replace `out`.
        group: What tells the group in both files, see `symae_keras.data.load`; by
            default as the run was trained.
        recipe: See `symae_keras.cli._run_folder.load_run`.

    Returns:
        What was written.

    Raises:
        InputError: The run, a file or `out` cannot be used; nothing has been written.
    """
    if out.suffix.lower() not in SUFFIXES:
        raise InputError(f"--out must end in {' or '.join(SUFFIXES)}; received {out}.")
    check_output(out, force, [coherent_file, nuisance_file, *run_files(path)])
    run = load_run(path, recipe)
    if not swaps_codes(run.model):
        raise InputError(
            f"The model of {path} is a {type(run.model).__name__}, a model of single "
            "instances, which has no codes of groups to swap; train a grouped one."
        )
    if out.suffix.lower() == ".csv" and len(run.config["instance_shape"]) != 1:
        raise InputError(
            f"{out}: a table holds spectra, but this model makes instances of shape "
            f"{tuple(run.config['instance_shape'])}; give an .npz file."
        )
    states = groups_for(run, coherent_file, group)
    nuisances = groups_for(run, nuisance_file, group)
    virtual = _redatum(run.model, states, nuisances, (coherent_file, nuisance_file))
    if virtual.axis is None and run.axis is not None:
        virtual = dataclasses.replace(
            virtual, axis=run.axis.values, axis_label=run.axis.label
        )
    save(virtual, out)
    return virtual


def _redatum(
    model: Any, states: GroupedData, nuisances: GroupedData, files: tuple[Path, Path]
) -> GroupedData:
    counts = len(states), len(nuisances)
    if counts[0] != counts[1] and 1 not in counts:
        raise InputError(
            f"{files[0]} holds {counts[0]} groups and {files[1]} {counts[1]}; they "
            "must hold as many, or one of them a single group, which is used for all."
        )
    axes = [axis for each in (states, nuisances) if (axis := Axis.of(each))]
    # A run made before version 0.2 has no axis that both were compared with.
    if len(axes) == 2 and not axes[0].equals(axes[1]):
        raise InputError(
            f"{files[0]} is on the axis {axes[0]} and {files[1]} on {axes[1]}; "
            "resample one of them to the axis of the other."
        )
    coherent, _ = in_batches(model.encode, states.x, states.model_mask)
    _, nuisance = in_batches(model.encode, nuisances.x, nuisances.model_mask)
    total = max(counts)
    coherent = np.broadcast_to(coherent, (total, *coherent.shape[1:]))
    nuisance = np.broadcast_to(nuisance, (total, *nuisance.shape[1:]))
    x = in_batches(model.decode, coherent, nuisance)
    mask = nuisances.mask
    if mask is not None:
        mask = np.broadcast_to(mask, (total, mask.shape[1]))
        there = mask.reshape(mask.shape + (1,) * (x.ndim - 2))
        x = np.where(there, x, np.float32(0))
    ids = states.ids if len(states) == total else None
    virtual = GroupedData(x, mask=mask, ids=ids)
    if axes:
        # The label is the one that has a unit, if only one of them does.
        label = next((axis.label for axis in axes[::-1] if axis.unit), axes[-1].label)
        virtual = dataclasses.replace(virtual, axis=axes[-1].values, axis_label=label)
    return virtual
