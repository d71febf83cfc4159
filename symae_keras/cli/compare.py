"""`symae compare`: compare models on one data set, or on several (leaderboard)."""

from __future__ import annotations

import dataclasses
import logging
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

import symae_keras as sk
from symae_keras._utils.files import (
    check_writable,
    refuse_inputs,
    write_json,
    write_text,
)
from symae_keras._utils.folders import Interrupted
from symae_keras._utils.markers import write_marker
from symae_keras.cli._options import Group, import_backend
from symae_keras.cli._progress import ProgressDisplay
from symae_keras.cli._run_folder import environment
from symae_keras.cli._sources import in_memory, read_groups, split_groups
from symae_keras.cli._tables import print_table
from symae_keras.cli.evaluate import free_name, group_option
from symae_keras.errors import InputError

if TYPE_CHECKING:
    from symae_keras.data import GroupedData
    from symae_keras.evaluation import Comparison, Leaderboard, LeaderboardEntry
    from symae_keras.evaluation.compare import Progress
    from symae_keras.training import Training

_log = logging.getLogger("symae_keras")
#: Epochs of 125 steps in quick mode; the full mode has 32.
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
    sets: Annotated[
        str | None,
        typer.Option(
            metavar="A,B,C",
            help="Data sets of a leaderboard, or all: exposures, identifiable, "
            "shapes, small, tablets, bags.",
            show_default="one comparison",
        ),
    ] = None,
    tablets: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Spectra for the set tablets."),
    ] = None,
    bags: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Images in idx files for the set bags."),
    ] = None,
    models: Annotated[
        str | None,
        typer.Option(
            metavar="A,B,C",
            help="Names of models, or all.",
            show_default="all grouped models and references; all with --sets",
        ),
    ] = None,
    seeds: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Number of trainings per model.",
            show_default="3, or 1 with --quick",
        ),
    ] = None,
    encoder: Annotated[
        str, typer.Option(help="Networks of all models: dense, conv1d or conv2d.")
    ] = "dense",
    quick: Annotated[
        bool,
        typer.Option("--quick", help="25 % of the steps, in a few minutes."),
    ] = False,
    out: Annotated[
        Path,
        typer.Option(
            metavar="DIR",
            help="The output folder; an interrupted comparison in it is resumed.",
        ),
    ] = Path("symae_compare"),
    group: Group = None,
) -> None:
    """Train models on the same data and summarise them in one table and one figure.

    With --sets, compare on several data sets, and write a leaderboard: one page, one
    Markdown file and one CSV file.
    """
    import_backend()
    from symae_keras.evaluation.compare import check_models
    from symae_keras.evaluation.comparison import refuse_other_folder
    from symae_keras.evaluation.contenders import CONTENDERS, DEFAULT

    names = list(DEFAULT if sets is None else CONTENDERS)
    if models is not None:
        names = [each.strip() for each in models.split(",")]
    if names == ["all"]:
        names = list(CONTENDERS)
    check_models(names)
    if encoder not in _ENCODERS:
        raise InputError(
            f"--encoder must be one of {', '.join(_ENCODERS)}; received {encoder!r}."
        )
    files = {"tablets": tablets, "bags": bags}
    given = {name: file for name, file in files.items() if file is not None}
    check_writable(out)
    refuse_inputs(out, [*given.values(), *([data] if data else [])])
    seeds = seeds or (1 if quick else 3)
    if sets is not None:
        if data is not None or group is not None:
            raise InputError(
                "--sets cannot be combined with --data and --group; leave out --sets "
                "to compare models on your own file."
            )
        chosen = _chosen(sets, given)
        refuse_other_folder(out, "leaderboard")
        for name in chosen:
            refuse_other_folder(out / name)
        _leaderboard(chosen, names, seeds, encoder, quick, out)
        return
    if given:
        raise InputError(f"--{next(iter(given))} requires --sets; give --sets as well.")
    refuse_other_folder(out)
    groups, test = _data(data, group, quick)
    training = _training(groups, quick)
    failures: dict[str, str] = {}
    with ProgressDisplay("", 100) as progress:
        try:
            result = sk.evaluation.compare(
                groups,
                test,
                names,
                seeds=seeds,
                training=training,
                sizes=sk.evaluation.Sizes(encoder=encoder),
                out=out,
                progress=lambda step, share: progress.update(
                    int(100 * share), f"{share:.0%} done", step
                ),
                failures=failures,
            )
        except KeyboardInterrupt:
            raise _interrupted(out) from None
    for name, reason in failures.items():
        if not result.rows:
            raise InputError(f"{reason}.")
        _log.warning("%s is left out: %s", CONTENDERS[name].title, reason)
    write_json(out / "environment.json", environment())
    _print_comparison(result)
    print(_verdict(result))
    file = shlex.quote(str(data or "my.csv"))
    print(f"Next: symae tune --data {file}{group_option(group)} --out {free_name()}")
    print(f"{out}: comparison.md, comparison.csv, rows.csv and the figure")


def _interrupted(out: Path) -> Interrupted:
    return Interrupted(
        f"interrupted; the rows in {out} are kept, resume with the same command"
    )


# === Several sets ===


def _chosen(sets: str, files: Mapping[str, Path]) -> dict[str, Path | None]:
    """Return the names of sets, each with its file if it needs one."""
    from symae_keras.evaluation.sets import SETS, check_sets

    names = [each.strip() for each in sets.split(",")]
    if names == ["all"]:
        names = [name for name in SETS if SETS[name].file is None or name in files]
    check_sets(names)
    for name in names:
        if SETS[name].file is not None and name not in files:
            raise InputError(f"The set {name} needs --{name}: {SETS[name].file}.")
    for name in files:
        if name not in names:
            raise InputError(f"--{name} was given, but --sets does not include {name}.")
        if not files[name].exists():
            raise InputError(f"There is no file or folder {files[name]}; see --{name}.")
    return {name: files.get(name) for name in names}


def _leaderboard(
    sets: Mapping[str, Path | None],
    models: list[str],
    seeds: int,
    encoder: str,
    quick: bool,
    out: Path,
) -> None:
    """Compare models on each set, in a subfolder, and write the leaderboard."""
    from symae_keras.evaluation.leaderboard import Leaderboard
    from symae_keras.evaluation.sets import SETS

    # Check all sets first, so that a bad file does not stop the command after hours.
    parts = {
        name: SETS[name].load(*([] if file is None else [file]), quick)
        for name, file in sets.items()
    }
    entries: dict[str, LeaderboardEntry] = {}
    with ProgressDisplay("", 100 * len(sets)) as progress:
        for n, name in enumerate(sets):

            def report(step: str, share: float, n: int = n, name: str = name) -> None:
                whole = (n + share) / len(sets)
                text = f"{whole:.0%} done"
                progress.update(int(100 * (n + share)), text, f"{name}: {step}")

            try:
                entries[name] = _entry(
                    name, parts[name], models, seeds, encoder, quick, out, report
                )
            except KeyboardInterrupt:
                raise _interrupted(out) from None
            # Written after each set, because the next one may take hours.
            board = Leaderboard(entries)
            _write(board, out)
    headings, lines = board.table()
    print("Redatuming errors, mean squares over the variance:")
    print_table(headings, lines, n_texts=2)
    print(f"{board.headline}.")
    for verdict in board.verdicts():
        print(verdict)
    for name, entry in entries.items():
        for each in entry.missing:
            _log.warning("%s: %s", name, each.rstrip("."))
    print(f"{out}: leaderboard.html (open it in a browser), .md and .csv")


def _entry(
    name: str,
    parts: tuple[GroupedData, GroupedData],
    models: list[str],
    seeds: int,
    encoder: str,
    quick: bool,
    out: Path,
    progress: Progress,
) -> LeaderboardEntry:
    """Compare models on one set."""
    from symae_keras.evaluation.leaderboard import LeaderboardEntry, described
    from symae_keras.evaluation.sets import SETS

    chosen = SETS[name]
    groups, test = parts
    training = _shortened(chosen.training) if quick else chosen.training
    sizes = dataclasses.replace(chosen.sizes, encoder=encoder)
    failures: dict[str, str] = {}
    out.mkdir(parents=True, exist_ok=True)
    write_marker(out, {"kind": "leaderboard"})
    comparison = sk.evaluation.compare(
        groups,
        test,
        models,
        seeds=seeds,
        training=training,
        sizes=sizes,
        out=out / name,
        progress=progress,
        failures=failures,
    )
    settings = f"{chosen.about} {described(groups, test, training, sizes)}"
    return LeaderboardEntry(chosen.title, comparison, settings, failures)


def _write(board: Leaderboard, out: Path) -> None:
    from symae_keras.cli._leaderboard import leaderboard_page

    made_in = environment()
    page = leaderboard_page(board, made_in, made_in["command"])
    write_text(out / "leaderboard.html", page)
    write_text(out / "leaderboard.md", board.to_markdown())
    write_text(out / "leaderboard.csv", board.to_csv())
    write_json(out / "environment.json", made_in)


def _shortened(training: Training) -> Training:
    """Return the training settings of quick mode, with 25 % of the steps."""
    whole = sk.training.EPOCHS
    least = sk.training.MIN_UPDATES if training.epochs is None else 0
    if training.min_updates is not None:
        least = training.min_updates
    return dataclasses.replace(
        training,
        epochs=max(1, (training.epochs or whole) * QUICK_EPOCHS // whole),
        min_updates=least * QUICK_EPOCHS // whole,
    )


# === One set ===


def _training(groups: GroupedData, quick: bool) -> Training:
    """Return the common settings of all models, and print the length of a training."""
    training = sk.training.Training()
    if quick:
        training = _shortened(training)
    budget = sk.training.Budget.of(groups, training)
    print(f"each model of groups: {budget}", file=sys.stderr, flush=True)
    return training


def _data(
    file: Path | None, group: str | None, quick: bool
) -> tuple[GroupedData, GroupedData]:
    """Return groups for training, and other groups for the evaluation."""
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
    for note in result.notes():
        print(note)


def _verdict(result: Comparison) -> str:
    """Return a sentence on the best model and its lead over classical methods."""
    from symae_keras.evaluation.contenders import CONTENDERS

    leader = result.leader
    if leader is None and result.not_estimable:
        return "No model can be ranked without ground truth; compare others, too."
    if leader is None:
        return "No redatuming error: fewer than two groups have several instances."
    column = result.judged_by
    known = result.errors()
    what = "redatuming error" if column == "redatuming" else "estimated error"
    text = f"{CONTENDERS[leader].title} has the lowest {what}, {known[leader]:.4f}."
    classical = {n: e for n, e in known.items() if CONTENDERS[n].family == "classical"}
    if leader in classical:
        return f"{text} No network is better than this classical method on these data."
    if classical:
        best = min(classical, key=lambda name: classical[name])
        text += f" The best classical method, {CONTENDERS[best].title}, has "
        text += f"{classical[best]:.4f}."
    return text
