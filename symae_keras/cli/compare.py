"""`symae compare`: compare models on simulated exposures or on the user's data."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

import symae_keras as sk
from symae_keras._utils.files import check_writable, refuse_inputs, write_json
from symae_keras._utils.folders import Interrupted
from symae_keras.cli._options import Group, import_backend
from symae_keras.cli._progress import ProgressDisplay
from symae_keras.cli._run_folder import environment
from symae_keras.cli._sources import in_memory, read_groups, split_groups
from symae_keras.cli._tables import print_table
from symae_keras.errors import InputError

if TYPE_CHECKING:
    from symae_keras.data import GroupedData
    from symae_keras.evaluation import Comparison
    from symae_keras.training import Training

#: Of 125 steps, in the quick form; the full form has 32.
QUICK_EPOCHS: Final = 8
_STATES: Final = 2000
_TEST_STATES: Final = {False: 1000, True: 300}
_TRAIN_FRACTION: Final = 0.8
_ENCODERS: Final = ("dense", "conv1d", "conv2d")


def compare(
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Grouped data; 20 % of the groups are held out for the evaluation.",
            show_default="simulated exposures",
        ),
    ] = None,
    models: Annotated[
        str | None,
        typer.Option(
            metavar="A,B,C",
            help="Names of models, or all.",
            show_default="all grouped models and references",
        ),
    ] = None,
    seeds: Annotated[
        int | None,
        typer.Option(
            min=1, help="Trainings of each model.", show_default="3, or 1 with --quick"
        ),
    ] = None,
    encoder: Annotated[
        str, typer.Option(help="Networks of all models: dense, conv1d or conv2d.")
    ] = "dense",
    quick: Annotated[
        bool,
        typer.Option("--quick", help="A quarter of the steps, in a few minutes."),
    ] = False,
    out: Annotated[
        Path,
        typer.Option(
            metavar="DIR",
            help="The folder to make; an interrupted comparison in it is resumed.",
        ),
    ] = Path("symae_compare"),
    group: Group = None,
) -> None:
    """Train models on the same data and put them into one table and one figure."""
    import_backend()
    from symae_keras.evaluation.compare import check_models
    from symae_keras.evaluation.comparison import refuse_other_folder
    from symae_keras.evaluation.contenders import CONTENDERS, DEFAULT

    names = list(DEFAULT)
    if models is not None:
        names = [each.strip() for each in models.split(",")]
    if names == ["all"]:
        names = list(CONTENDERS)
    check_models(names)
    if encoder not in _ENCODERS:
        raise InputError(
            f"--encoder must be one of {', '.join(_ENCODERS)}; received {encoder!r}."
        )
    check_writable(out)
    refuse_inputs(out, [data] if data else [])
    refuse_other_folder(out)
    groups, test = _data(data, group, quick)
    training = _training(groups, quick)
    with ProgressDisplay("", 100) as progress:
        try:
            result = sk.evaluation.compare(
                groups,
                test,
                names,
                seeds=seeds or (1 if quick else 3),
                training=training,
                sizes=sk.evaluation.Sizes(encoder=encoder),
                out=out,
                progress=lambda step, share: progress.update(
                    int(100 * share), f"{share:.0%} done", step
                ),
            )
        except KeyboardInterrupt:
            raise Interrupted(
                f"interrupted; the rows in {out} are kept, resume with the same command"
            ) from None
    write_json(out / "environment.json", environment())
    _print_comparison(result)
    print(_verdict(result))
    print(f"Next: symae tune --data {shlex.quote(str(data or 'my.csv'))} --out tuned")
    print(f"{out}: comparison.md, comparison.csv, rows.csv and the figure")


def _training(groups: GroupedData, quick: bool) -> Training:
    """Return the same settings for all models, and print the length of a training."""
    training = sk.training.Training()
    if quick:
        least = sk.training.MIN_UPDATES * QUICK_EPOCHS // sk.training.EPOCHS
        training = sk.training.Training(epochs=QUICK_EPOCHS, min_updates=least)
    budget = sk.training.Budget.of(groups, training)
    print(f"each model of groups: {budget}", file=sys.stderr, flush=True)
    return training


def _data(
    file: Path | None, group: str | None, quick: bool
) -> tuple[GroupedData, GroupedData]:
    """Return groups for training, and others for the evaluation."""
    if file is None:
        test = sk.data.simulate_exposures(_TEST_STATES[quick], 16, seed=1)
        return sk.data.simulate_exposures(_STATES, 16, seed=100), test
    groups = in_memory(read_groups(file, group, min_instances=2), file)
    train, held_out = split_groups(groups, _TRAIN_FRACTION, 0, str(file))
    return in_memory(train, file), in_memory(held_out, file)


def _print_comparison(result: Comparison) -> None:
    headings, lines = result.table()
    seeds = max(sum(row.model == name for row in result.rows) for name in result.models)
    spread = f", medians over {seeds} seeds [lowest-highest]" if seeds > 1 else ""
    print(f"Errors are mean squares over the variance, scores R2 or accuracy{spread}:")
    print_table(headings, lines)


def _verdict(result: Comparison) -> str:
    """Say which model is the best, and how much better it is than linear methods."""
    from symae_keras.evaluation.contenders import CONTENDERS

    leader = result.leader
    if leader is None:
        return "No redatuming error: fewer than two groups have several instances."
    column = result.judged_by
    errors = {name: result.median(name, column) for name in result.models}
    known = {name: error for name, error in errors.items() if error is not None}
    what = "redatuming error" if column == "redatuming" else "estimated error"
    text = f"{CONTENDERS[leader].title} has the least {what}, {known[leader]:.4f}."
    linear = {n: e for n, e in known.items() if CONTENDERS[n].family == "classical"}
    if leader in linear:
        return f"{text} No network is better than this linear method on these data."
    if linear:
        best = min(linear, key=lambda name: linear[name])
        text += f" The best linear method, {CONTENDERS[best].title}, has "
        text += f"{linear[best]:.4f}."
    return text
