"""`symae redatum`: create virtual instances from files."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import symae_keras as sk
from symae_keras._utils.arrays import swaps_codes
from symae_keras._utils.files import check_output
from symae_keras._utils.text import counted
from symae_keras.cli._columns import id_column, without_unwritable
from symae_keras.cli._options import (
    AxisChange,
    Force,
    Group,
    RunFolder,
    TrustedRecipe,
    import_backend,
)
from symae_keras.cli._run_folder import (
    Run,
    few_held_out,
    load_run,
    refuse_few_held_out,
    run_files,
)
from symae_keras.cli.evaluate import both_parts, groups_for
from symae_keras.errors import InputError

if TYPE_CHECKING:
    from symae_keras.data import GroupedData
    from symae_keras.data.groups import Parameters

_log = logging.getLogger("symae_keras")


def redatum(
    run: RunFolder,
    coherent_from: Annotated[
        Path, typer.Option(metavar="A", help="Groups that provide the states.")
    ],
    nuisance_from: Annotated[
        Path,
        typer.Option(
            metavar="B",
            help="Groups that provide the nuisances: as many groups as in A, or a "
            "single group in either file.",
        ),
    ],
    out: Annotated[
        Path, typer.Option(metavar="FILE", help="The .npz or .csv output file.")
    ],
    bands: Annotated[
        bool,
        typer.Option(
            "--bands",
            help="Also write 90 % bands, calibrated on the held-out groups of the "
            "run: FILE.lower.csv and FILE.upper.csv next to FILE.csv, or the arrays "
            "lower and upper in FILE.npz.",
        ),
    ] = False,
    group: Group = None,
    axis: AxisChange = None,
    force: Force = False,
    recipe: TrustedRecipe = None,
) -> None:
    """Create virtual instances: the states of A under the nuisances of B.

    Columns of A that describe groups, and columns of B that describe instances, are
    also written.

    Inputs that are unlike the held-out groups of the run are reported.
    """
    if bands:
        refuse_few_held_out(run, "--bands")
    import_backend()
    from symae_keras.data.io.save import SUFFIXES

    suffix = out.suffix.lower()
    if suffix not in SUFFIXES:
        raise InputError(f"--out must end in {' or '.join(SUFFIXES)}; received {out}.")
    limits = []
    if bands and suffix == ".csv":
        limits = [out.with_suffix(f".{name}.csv") for name in ("lower", "upper")]
    for each in (out, *limits):
        check_output(each, force, [coherent_from, nuisance_from, *run_files(run)])
    found = load_run(run, recipe)
    if not swaps_codes(found.model):
        raise InputError(
            f"The model of {run} is a {type(found.model).__name__}, a model of single "
            "instances, which has no codes of groups to swap; train a grouped one."
        )
    if suffix == ".csv" and len(found.config["instance_shape"]) != 1:
        raise InputError(
            f"{out}: a table can only contain spectra, but this model has instances of "
            f"shape {tuple(found.config['instance_shape'])}; give an .npz file."
        )
    states = groups_for(found, coherent_from, group, axis)
    nuisances = groups_for(found, nuisance_from, group, axis)
    virtual = _redatum(found.model, states, nuisances, (coherent_from, nuisance_from))
    if virtual.axis is None and found.axis is not None:
        virtual = dataclasses.replace(
            virtual, axis=found.axis.values, axis_label=found.axis.label
        )
    made = {}
    if bands:
        _note_few_held_out(found)  # with more groups, the bands compare the inputs
        made = _bands(found, states, nuisances, virtual)
    else:
        warn_of_new_data(found, {coherent_from: states, nuisance_from: nuisances})
    if made and not limits:
        known = {**virtual.instance_metadata, **made}
        virtual = dataclasses.replace(virtual, instance_metadata=known)
    named = id_column(found, coherent_from, group)
    virtual = without_unwritable(virtual, suffix == ".csv", named)
    for path, values in zip(limits, made.values(), strict=False):
        sk.data.save(dataclasses.replace(virtual, x=values), path, named)
    sk.data.save(virtual, out, named)
    n_groups, n_instances = virtual.x.shape[:2]
    shape = tuple(virtual.x.shape[2:])
    print(
        f"{out}: {counted(n_groups, 'group')} x {counted(n_instances, 'instance')} of "
        f"shape {shape}"
    )
    for path in limits:
        print(path)


def _bands(
    run: Run, states: GroupedData, nuisances: GroupedData, virtual: GroupedData
) -> dict[str, Any]:
    """Return the limits of bands, 0 for absent instances."""
    import numpy as np

    bands = sk.evaluation.Bands.fit(run.model, _held_out(run))
    there = virtual.present.reshape(*virtual.x.shape[:2], *(1,) * (virtual.x.ndim - 2))
    limits = bands.of(coherent_from=states, nuisance_from=nuisances)
    return {
        name: np.where(there, each, np.float32(0))
        for name, each in zip(("lower", "upper"), limits, strict=True)
    }


def _held_out(run: Run) -> GroupedData:
    groups = both_parts(run)[1]
    if groups is None:
        raise InputError(
            f"{run.folder} was trained on all groups, but held-out groups are needed; "
            "train with --held-out 0.2."
        )
    return groups


def warn_of_new_data(
    run: Run, files: dict[Path, GroupedData], held_out: GroupedData | None = None
) -> None:
    """Report groups and instances that are unlike the held-out groups of the run.

    The held-out groups are read unless they are given.
    """
    if _note_few_held_out(run):
        return
    try:
        detector = sk.evaluation.NewData.fit(run.model, held_out or _held_out(run))
    except InputError as error:
        _log.warning("inputs are not compared with held-out groups: %s", error)
        return
    for file, groups in files.items():
        for sentence in detector.check(groups).warnings():
            _log.warning("%s: %s", file, sentence)


def _note_few_held_out(run: Run) -> bool:
    """Say if inputs cannot be compared with held-out groups, and return whether so."""
    from symae_keras.evaluation.new_data import MIN_GROUPS

    few = few_held_out(run.folder, run.config, MIN_GROUPS)
    if few:
        _log.warning("inputs are not compared with held-out groups: this %s", few)
    return bool(few)


def _redatum(
    model: Any, states: GroupedData, nuisances: GroupedData, files: tuple[Path, Path]
) -> GroupedData:
    import numpy as np

    counts = len(states), len(nuisances)
    if counts[0] != counts[1] and 1 not in counts:
        raise InputError(
            f"{files[0]} has {counts[0]} groups and {files[1]} has {counts[1]}; the "
            "numbers must be equal, or one of them a single group, which is used for "
            "all."
        )
    axes = [axis for each in (states, nuisances) if (axis := sk.data.Axis.of(each))]
    # A run from before version 0.2 has no axis for the earlier comparison of both.
    if len(axes) == 2 and not axes[0].equals(axes[1]):
        raise InputError(
            f"{files[0]} is on the axis {axes[0]} and {files[1]} on {axes[1]}; "
            "resample one of them to the axis of the other."
        )
    total = max(counts)
    states_alone, nuisances_alone = (n < total for n in counts)

    def swap(xa: Any, xb: Any, ma: Any, mb: Any) -> Any:
        if states_alone:
            xa, ma = states.x, states.model_mask
        if nuisances_alone:
            xb, mb = nuisances.x, nuisances.model_mask
        return model.redatum(
            coherent_from=xa, nuisance_from=xb, coherent_mask=ma, nuisance_mask=mb
        )

    x = sk.evaluation.in_batches(
        swap,
        None if states_alone else states.x,
        None if nuisances_alone else nuisances.x,
        None if states_alone else states.model_mask,
        None if nuisances_alone else nuisances.model_mask,
    )
    mask = nuisances.mask
    if mask is not None:
        mask = np.broadcast_to(mask, (total, mask.shape[1]))
        there = mask.reshape(mask.shape + (1,) * (x.ndim - 2))
        x = np.where(there, x, np.float32(0))
    ids = states.ids if len(states) == total else None
    of_groups, of_instances = _carried(states, nuisances, total)
    virtual = sk.data.GroupedData(
        x,
        mask=mask,
        ids=ids,
        group_metadata=of_groups,
        instance_metadata=of_instances,
    )
    if axes:
        # Use the label with a unit, if only one of them has a unit.
        label = next((axis.label for axis in axes[::-1] if axis.unit), axes[-1].label)
        virtual = dataclasses.replace(virtual, axis=axes[-1].values, axis_label=label)
    return virtual


def _carried(
    states: GroupedData, nuisances: GroupedData, total: int
) -> tuple[Parameters, Parameters]:
    """Return metadata of virtual groups and of their instances.

    A column that varies within the groups of one file describes nuisances, even if it
    is constant within groups in the other file.
    """
    import numpy as np

    nuisance = {**states.instance_metadata, **nuisances.instance_metadata}
    shape = nuisances.x.shape[:2]
    spread = {
        key: np.broadcast_to(values[:, None], (*shape, *values.shape[1:]))
        for key, values in nuisances.group_metadata.items()
        if key in nuisance
    }

    def all_of(known: Parameters, n_groups: int) -> dict[str, Any]:
        repeats = total // n_groups
        return {key: np.repeat(each, repeats, axis=0) for key, each in known.items()}

    return (
        all_of(
            {k: v for k, v in states.group_metadata.items() if k not in nuisance},
            len(states),
        ),
        all_of({**spread, **nuisances.instance_metadata}, len(nuisances)),
    )
