"""`symae anomalies`: score instances of a file by their reconstruction errors."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Annotated

import typer

import symae_keras as sk
from symae_keras._utils.files import check_output, written_aside
from symae_keras.cli._options import (
    Force,
    Group,
    RunFolder,
    TrustedRecipe,
    import_backend,
)
from symae_keras.cli._run_folder import load_run, run_files
from symae_keras.cli.evaluate import both_parts, groups_for
from symae_keras.errors import InputError


def anomalies(
    run: RunFolder,
    data: Annotated[
        Path, typer.Option(metavar="FILE", help="Groups to look for anomalies in.")
    ],
    out: Annotated[
        Path,
        typer.Option(metavar="CSV", help="The table to write, largest score first."),
    ],
    group: Group = None,
    force: Force = False,
    recipe: TrustedRecipe = None,
) -> None:
    """Find instances that a run reconstructs worse than those it held out."""
    import_backend()
    import numpy as np

    from symae_keras.data.io._cells import escaped
    from symae_keras.evaluation.redatuming import reconstruct_groups

    if out.suffix.lower() != ".csv":
        raise InputError(f"--out must end in .csv; received {out}.")
    check_output(out, force, [data, *run_files(run)])
    found = load_run(run, recipe)
    groups = groups_for(found, data, group)
    reconstruct = reconstruct_groups(found.model)
    detector = sk.evaluation.AnomalyDetector(reconstruct, both_parts(found)[1])
    scores = detector.score(groups)
    rows, places = np.nonzero(np.isfinite(scores))
    order = np.argsort(-scores[rows, places], kind="stable")
    rows, places = rows[order], places[order]
    names = np.arange(len(groups)) if groups.ids is None else np.asarray(groups.ids)
    p_values = detector.p_values_of(scores)[rows, places]
    with (
        written_aside(out) as aside,
        aside.open("w", newline="", encoding="utf-8") as file,
    ):
        table = csv.writer(file)
        table.writerow(("group", "instance", "score", "p_value"))
        columns = (names[rows], places, scores[rows, places], p_values)
        table.writerows(map(escaped, row) for row in zip(*columns, strict=True))
    print(
        f"{(p_values <= 0.01).sum()} of {len(p_values)} instances have p <= 0.01; "
        f"by chance, {0.01 * len(p_values):.1f} would. The p-values are relative to "
        f"{len(detector.normal_scores_)} held-out instances."
    )
    print(f"{out}: group, instance, score and p_value, largest score first")
