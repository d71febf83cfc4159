"""Score instances of a file by how badly a run reconstructs them."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import NamedTuple

import numpy as np

from symae_keras._utils.files import check_output, written_aside
from symae_keras.cli._run_folder import load_run, run_files
from symae_keras.cli.evaluate import groups_for, held_out
from symae_keras.data.groups import Array
from symae_keras.data.io._cells import escaped
from symae_keras.errors import InputError
from symae_keras.evaluation import AnomalyDetector
from symae_keras.evaluation.redatuming import reconstruct_groups


class Anomalies(NamedTuple):
    """What was written, a row an instance, and the number of those calibrated on."""

    group: Array
    instance: Array
    score: Array
    p_value: Array
    n_normal: int


def find_anomalies(
    path: Path,
    data_file: Path,
    out: Path,
    force: bool = False,
    group: str | None = None,
    recipe: Path | None = None,
) -> Anomalies:
    """Write a score and a p-value for every instance of a file.

    The normal instances are those that the run held out from its own data.

    Args:
        path: The run folder.
        data_file: Groups to look for anomalies in.
        out: The .csv file to write.
        force: Replace `out`.
        group: What tells the group, see `symae_keras.data.load`; by default as the run
            was trained.
        recipe: See `symae_keras.cli._run_folder.load_run`.

    Returns:
        The rows, strangest first.

    Raises:
        InputError: The run, the data or `out` cannot be used.
    """
    if out.suffix.lower() != ".csv":
        raise InputError(f"--out must end in .csv; received {out}.")
    check_output(out, force, [data_file, *run_files(path)])
    run = load_run(path, recipe)
    groups = groups_for(run, data_file, group)
    detector = AnomalyDetector(reconstruct_groups(run.model), held_out(run))
    scores = detector.score(groups)
    rows, places = np.nonzero(np.isfinite(scores))
    order = np.argsort(-scores[rows, places], kind="stable")
    rows, places = rows[order], places[order]
    names = np.arange(len(groups)) if groups.ids is None else np.asarray(groups.ids)
    found = Anomalies(
        names[rows],
        places,
        scores[rows, places],
        detector.p_values_of(scores)[rows, places],
        len(detector.normal_scores_),
    )
    with (
        written_aside(out) as aside,
        aside.open("w", newline="", encoding="utf-8") as file,
    ):
        table = csv.writer(file)
        table.writerow(found._fields[:4])
        table.writerows(map(escaped, row) for row in zip(*found[:4], strict=True))
    return found
