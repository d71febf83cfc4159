"""`symae tune`: choose settings without ground truth, and train a model with them."""

from __future__ import annotations

import dataclasses
import logging
import math
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

import symae_keras as sk
from symae_keras._utils.files import written_atomically
from symae_keras._utils.folders import STATE, Draft, Interrupted
from symae_keras._utils.text import counted, one_line
from symae_keras.cli._options import Force, Group, Seed, import_backend
from symae_keras.cli._progress import ProgressDisplay
from symae_keras.cli._run_folder import RUN_CONTENTS
from symae_keras.cli._sources import data_hash, padded_sample, read_groups
from symae_keras.cli._tables import print_table
from symae_keras.cli.evaluate import group_option, print_metrics
from symae_keras.cli.train import (
    HELD_OUT,
    fill_run,
    make_plan,
    run_config,
    usable_parts,
)
from symae_keras.errors import InputError

if TYPE_CHECKING:
    from symae_keras.cli._sources import Groups
    from symae_keras.training import Trial

_log = logging.getLogger("symae_keras")

_STUDY: Final = "study.db"
_RECIPE: Final = "recipe.py"
_TRIALS: Final = "trials.csv"
_FIGURE: Final = "figures/trials.png"
#: SQLite may leave a journal, `study.db-journal`.
_CONTENTS: Final = (*RUN_CONTENTS, f"{_STUDY}*", _RECIPE, _TRIALS, _FIGURE)
_UNITS: Final = {"s": 1.0, "m": 60.0, "h": 3600.0}
_SHOWN: Final = 5


def tune(
    data: Annotated[
        Path,
        typer.Option(
            metavar="FILE",
            help="Your data: .npz, .npy, .csv, HDF5, FITS, a folder of spectra, images "
            "or shards.",
        ),
    ],
    out: Annotated[Path, typer.Option(metavar="DIR", help="The output run folder.")],
    budget: Annotated[
        str,
        typer.Option(
            metavar="TIME",
            help="Time for the search and the final training, such as 90s, 15m or 2h.",
        ),
    ] = "15m",
    trials: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Number of trials, unless the budget ends the search first.",
            show_default="as many as the budget allows",
        ),
    ] = None,
    group: Group = None,
    seed: Seed = 0,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume", help="Resume an interrupted search or final training."
        ),
    ] = False,
    force: Force = False,
) -> None:
    """Choose sizes, noise and networks without ground truth, then train.

    The search minimises the estimated redatuming error of held-out groups. Ctrl-C ends
    it and starts the training with the best settings so far; a second Ctrl-C stops the
    training, too.
    """
    budget_s = _seconds(budget)
    import_backend()
    from symae_keras.evaluation.study import require_optuna

    require_optuna()
    found = tune_run(data, out, budget_s, trials, group, seed, resume, force)
    if found is None:
        print(f"{out} is already complete.")
        return
    done, metrics = found
    _print_trials(done)
    print_metrics(metrics)
    again = f"{shlex.quote(str(out / _RECIPE))} --data {shlex.quote(str(data))}"
    print(
        f"{out}: model.keras, {_RECIPE}, {_TRIALS}, metrics.json, report.html and "
        "figures/*.png; train the same settings again with symae train "
        f"{again}{group_option(group)}"
    )


def _seconds(budget: str) -> float:
    match = re.fullmatch(r"\s*(\d+(?:\.\d*)?)\s*([smh])\s*", budget)
    seconds = float(match[1]) * _UNITS[match[2]] if match else math.nan
    if not 0.0 < seconds < math.inf:
        raise InputError(
            "--budget must be a positive number with a unit, such as 90s, 15m or 2h; "
            f"received {budget!r}."
        )
    return seconds


def tune_run(
    data_file: Path,
    out: Path,
    budget_s: float,
    n_trials: int | None = None,
    group: str | None = None,
    seed: int = 0,
    resume: bool = False,
    force: bool = False,
) -> tuple[tuple[Trial, ...], dict[str, Any]] | None:
    """Search for settings, and train a model with the best ones into a run folder.

    Args:
        data_file: File or folder of groups.
        out: The run folder.
        budget_s: Seconds for search and final training.
        n_trials: Largest number of trials.
        group: See `symae_keras.data.load`.
        seed: Seed of splits, weights and search.
        resume: Resume an interrupted search or training.
        force: Replace what is at `out`.

    Returns:
        The trials and the metrics, `None` if the run was already complete.

    Raises:
        InputError: The data or the folder cannot be used; in this case, nothing has
            been written.
        Interrupted: The user stopped the final training.
    """
    from symae_keras.evaluation.tuning import warn_of_bad_luck

    made_from = {"data": data_hash(data_file)[:16], "group": group, "seed": seed}
    state = _STUDY, STATE
    draft = Draft(out, _CONTENTS, resume, force, [data_file], made_from, state)
    if draft.complete:
        return None
    if draft.resumes and not (draft.partial / _STUDY).is_file():
        raise InputError(
            f"{draft.partial} contains no search for settings to resume; give --force "
            "to discard it, or choose another --out."
        )
    groups = read_groups(data_file, group, min_instances=2)
    fit, _ = usable_parts(groups, 1.0 - HELD_OUT, seed, str(data_file))
    try:
        with draft as folder:
            if (folder / _RECIPE).is_file():
                trials = _kept_trials(folder / _STUDY, seed)
            else:
                trials = _search(folder, fit, budget_s, seed, n_trials)
            recipe, config = run_config(
                str(folder / _RECIPE), data_file, seed, group=group
            )
            # The folder is written as a draft; this is its final path.
            config["recipe"]["name"] = out.name
            config["recipe"]["source"] = str(out.resolve() / _RECIPE)
            config["tuning"] = _summary(trials)
            metrics = fill_run(folder, make_plan(recipe, config, groups))
    except KeyboardInterrupt:
        if not draft.resumable:
            raise
        flags = "--resume --force" if force and out.exists() else "--resume"
        raise Interrupted(
            f"interrupted; {draft.partial} is kept, resume with the same command and "
            f"{flags}"
        ) from None
    warn_of_bad_luck(metrics.get("estimated_low", 0.0), trials)
    return trials, metrics


def _search(
    folder: Path, fit: Groups, budget_s: float, seed: int, n_trials: int | None
) -> tuple[Trial, ...]:
    """Write the study, the table and figure of its trials and, last, the recipe."""
    from symae_keras.evaluation.study import best_trial, write_trials
    from symae_keras.evaluation.tuning import chosen_settings, search

    groups, study = padded_sample(fit), folder / _STUDY
    try:
        with ProgressDisplay("tune", 100) as progress:
            trials = search(
                groups,
                budget_s,
                seed,
                n_trials,
                file=study,
                progress=lambda text, share: progress.update(
                    int(100 * share), f"{share:.0%} done", text
                ),
            )
    except BaseException:
        if best_trial(_kept_trials(study, seed)) is None:
            study.unlink(missing_ok=True)  # nothing to resume
        raise
    settings = chosen_settings(trials, groups)
    write_trials(folder / _TRIALS, trials)
    _draw(folder / _FIGURE, trials)
    with written_atomically(folder / _RECIPE) as partial:
        partial.write_text(settings.recipe(groups), encoding="utf-8")
    return trials


def _kept_trials(study: Path, seed: int) -> tuple[Trial, ...]:
    from symae_keras.evaluation.study import open_study

    with open_study(study, seed) as opened:
        return opened.trials()


def _draw(path: Path, trials: tuple[Trial, ...]) -> None:
    from symae_keras.evaluation.study import best_trial

    drawn = [each for each in trials if each.estimate is not None]
    if not drawn:
        return
    numbers = [each.number for each in drawn]
    best = best_trial(trials)
    try:
        figure = sk.plotting.plot_trials(
            [each.reconstruction for each in drawn],
            [each.estimate for each in drawn],
            [each.settings.kind for each in drawn],
            [each.outcome == "complete" for each in drawn],
            chosen=None if best is None else numbers.index(best.number),
            default=numbers.index(0) if 0 in numbers else None,
        )
        with written_atomically(path) as partial:
            figure.savefig(partial, dpi=150)
    # Matplotlib may raise any error; it must not prevent writing the trials.
    except Exception as error:
        _log.warning("no figure of the trials: %s", one_line(error))


def _summary(trials: tuple[Trial, ...]) -> dict[str, Any]:
    from symae_keras.evaluation.study import best_trial

    best = best_trial(trials)
    chosen = None if best is None else dataclasses.asdict(best)
    return {"trials": len(trials), "chosen": chosen}


def _print_trials(trials: tuple[Trial, ...]) -> None:
    """Print the best trials and the default settings."""
    from symae_keras.evaluation.study import best_trial

    # The estimate of a stopped trial cannot be compared with that of the final model.
    if best_trial(trials) is None:
        return
    finished = [each for each in trials if each.estimate is not None]
    finished.sort(key=lambda each: (each.outcome != "complete", each.estimate))
    shown = finished[:_SHOWN]
    shown += [each for each in finished[_SHOWN:] if each.number == 0]
    count = counted(len(trials), "trial")
    print(f"{count}; the best ones and the default settings, trial 0:")
    print_table(
        ("trial", "settings", "outcome", "estimate", "reconstruction"),
        [
            (
                str(each.number),
                str(each.settings),
                each.outcome,
                each.estimate,
                each.reconstruction,
            )
            for each in shown
        ],
        n_texts=3,
    )
    print(
        "These estimates are from groups of the search, so that they differ from the "
        "final one; those of stopped trials are from before the end of the training."
    )
