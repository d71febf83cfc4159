"""`symae anomalies`: score instances of a file by reconstruction error."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import typer

import symae_keras as sk
from symae_keras._utils.arrays import swaps_codes
from symae_keras._utils.files import check_output
from symae_keras.cli._columns import id_column, without, write_table
from symae_keras.cli._options import (
    AxisChange,
    Force,
    Group,
    RunFolder,
    TrustedRecipe,
    import_backend,
)
from symae_keras.cli._run_folder import load_run, run_files
from symae_keras.cli._sources import padded_sample
from symae_keras.cli.evaluate import both_parts, groups_for
from symae_keras.cli.redatum import warn_of_new_data
from symae_keras.errors import InputError

_log = logging.getLogger("symae_keras")


def anomalies(
    run: RunFolder,
    data: Annotated[
        Path, typer.Option(metavar="FILE", help="Groups to search for anomalies.")
    ],
    out: Annotated[
        Path,
        typer.Option(metavar="CSV", help="The output table, largest score first."),
    ],
    group: Group = None,
    axis: AxisChange = None,
    force: Force = False,
    recipe: TrustedRecipe = None,
) -> None:
    """Find instances with larger reconstruction errors than the held-out groups.

    Groups that are unlike the held-out groups of the run are reported.
    """
    import_backend()
    import numpy as np

    from symae_keras.data.io.save import group_names, instance_names, table_columns
    from symae_keras.evaluation.redatuming import reconstruct_groups

    if out.suffix.lower() != ".csv":
        raise InputError(f"--out must end in .csv; received {out}.")
    check_output(out, force, [data, *run_files(run)])
    found = load_run(run, recipe)
    groups = groups_for(found, data, group, axis)
    reconstruct = reconstruct_groups(found.model)
    train, held_out = both_parts(found)
    if held_out is None:
        _log.warning(
            "%s has no held-out groups, so scores are compared with those of training "
            "groups, and p-values of new data are too small",
            run,
        )
    elif swaps_codes(found.model):
        warn_of_new_data(found, {data: groups}, held_out)
    normal = padded_sample(train) if held_out is None else held_out
    detector = sk.evaluation.AnomalyDetector(reconstruct, normal)
    scores = detector.score(groups)
    rows, places = np.nonzero(np.isfinite(scores))
    order = np.argsort(-scores[rows, places], kind="stable")
    rows, places = rows[order], places[order]
    p_values = detector.p_values_of(scores)[rows, places]
    named = (id_column(found, data, group), "instance", "score", "p_value")
    known = table_columns(without(groups, ("group", *named)))
    columns = (
        group_names(groups)[rows],
        instance_names(groups)[rows, places],
        scores[rows, places],
        p_values,
        *(each[rows, places] for each in known.values()),
    )
    write_table(out, (*named, *known), zip(*columns, strict=True))
    kind = "training" if held_out is None else "held-out"
    n_normal = len(detector.normal_scores_)
    # With few normal instances, no p-value reaches 0.01.
    limit = max(0.01, 1.0 / (1 + n_normal))
    print(
        f"{(p_values <= limit).sum()} of {len(p_values)} instances have p <= "
        f"{limit:.2g}; {limit * len(p_values):.1f} are expected by chance. The "
        f"p-values are relative to {n_normal} {kind} instances."
    )
    print(f"{out}: {', '.join((*named, *known))}, largest score first")
