"""`symae transfer`: transfer spectra from a new instrument to the known one."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

import symae_keras as sk
from symae_keras._utils.files import check_output
from symae_keras.cli._columns import id_column, without_unwritable
from symae_keras.cli._options import (
    AxisChange,
    Force,
    Group,
    TrustedRecipe,
    import_backend,
)
from symae_keras.cli._run_folder import load_run, run_files
from symae_keras.cli.adapt import ADAPTATION
from symae_keras.cli.evaluate import groups_for
from symae_keras.errors import InputError


def transfer(
    run: Annotated[
        Path, typer.Argument(metavar="RUN2", help="A folder from symae adapt.")
    ],
    data: Annotated[
        Path, typer.Option(metavar="FILE", help="Spectra of the new instrument.")
    ],
    out: Annotated[
        Path, typer.Option(metavar="FILE", help="The .npz or .csv output file.")
    ],
    axis: AxisChange = None,
    group: Group = None,
    force: Force = False,
    recipe: TrustedRecipe = None,
) -> None:
    """Transfer spectra from a new instrument to the known one.

    Every spectrum in FILE is transferred. Names of groups and instances, and columns of
    metadata, are also written.
    """
    import_backend()
    import numpy as np

    from symae_keras.data.io.save import SUFFIXES

    suffix = out.suffix.lower()
    if suffix not in SUFFIXES:
        raise InputError(f"--out must end in {' or '.join(SUFFIXES)}; received {out}.")
    file = run / ADAPTATION
    check_output(out, force, [data, file, *run_files(run)])
    if not file.is_file():
        raise InputError(f"{run} has no {ADAPTATION}; create it with symae adapt.")
    found = load_run(run, recipe)
    adaptation = sk.adaptation.Adaptation.load(file, found.model)
    groups = groups_for(found, data, group, axis)
    if groups.instance_shape != adaptation.instance_shape:
        raise InputError(
            f"{data} has spectra of shape {groups.instance_shape}, but {file} takes "
            f"{adaptation.instance_shape}."
        )
    there = groups.present
    good = np.broadcast_to(groups.good_pixels, groups.x.shape)[there]
    x = np.zeros(groups.x.shape, "float32")
    x[there] = adaptation.transfer(groups.x[there], good)
    seen = adaptation.good_pixels
    virtual = dataclasses.replace(
        groups, x=x, pixel_mask=None if seen.all() else seen, weights=None, render=None
    )
    if virtual.axis is None and found.axis is not None:
        virtual = dataclasses.replace(
            virtual, axis=found.axis.values, axis_label=found.axis.label
        )
    named = id_column(found, data, group)
    virtual = without_unwritable(virtual, suffix == ".csv", named)
    sk.data.save(virtual, out, named)
    print(f"{out}: {int(there.sum())} spectra by {adaptation.method}")
