"""Sections of a report: verdict, data, training, and next steps."""

from __future__ import annotations

import math
import shlex
from collections.abc import Callable
from pathlib import PurePath
from typing import Final

import numpy as np

import symae_keras as sk
from symae_keras._utils.text import counted
from symae_keras._utils.untrusted_files import read_bounded
from symae_keras.cli._html import Html, commands, figure, join, section, table, tag
from symae_keras.cli._report_material import (
    NAMES,
    Material,
    duration,
    finite,
    percent,
)
from symae_keras.cli._report_results import codes, errors, examples, replicates
from symae_keras.cli._run_folder import AT_THE_START, NEEDED, few_held_out
from symae_keras.cli.evaluate import group_option, recipe_option
from symae_keras.errors import InputError
from symae_keras.evaluation.estimate import NOT_BETTER

#: Maximum size of history.csv in bytes.
_MOST_BYTES: Final = 64 << 20
#: A number and its unit stay on one line.
_PERCENT: Final = "\N{NO-BREAK SPACE}%"
_GRADES: Final = ("Very good", "Good", "Fair", "Poor", NOT_BETTER, "No verdict")


# === Verdict ===


def heading(material: Material) -> Html:
    """Return the verdict in words, and the most important numbers."""
    grade, *sentences = _verdict(material)
    kind = grade.lower().replace(" ", "-") if grade in _GRADES else "unknown"
    said = (tag("p", each) for each in sentences)
    card = tag("div", tag("h2", grade), *said, class_=f"verdict {kind}")
    facts = (
        tag("div", tag("dt", name), tag("dd", value.replace(" %", _PERCENT)))
        for name, value in _facts(material).items()
    )
    return join((card, tag("dl", *facts, class_="facts")))


def _verdict(material: Material) -> list[str]:
    """Return a grade of one or two words, and sentences."""
    text = material.metrics.get("verdict")
    if not material.swaps:
        return [
            "Reconstructions only",
            "This is a model of single instances: it has no codes of groups to swap, "
            "so there is no redatuming error.",
        ]
    if not isinstance(text, str):
        return [
            "No estimate",
            "The redatuming error was not estimated, because the data are not "
            "available, or because fewer than two groups have several instances.",
        ]
    grade, colon, rest = text.partition(": ")
    if not colon or grade not in _GRADES:
        grade, rest = "Result", text
    sentences = [rest[:1].upper() + rest[1:]]
    true = material.number("redatuming_error")
    if true is not None:
        sentences.append(
            f"The data are simulated, so the true error is known: {percent(true)}."
        )
    if material.groups is not None:
        sentences += [f"Note: {each}." for each in material.groups.describe().warnings]
        found = sk.evaluation.confounded_metadata(material.groups)
        if confounded := [name for name in found if name not in NAMES]:
            sentences.append(
                f"Warning: {', '.join(confounded)}: differs between groups more than "
                "within them. If the instances depend on it, the true error is larger "
                "than the estimate."
            )
    return [grade, *sentences]


def _facts(material: Material) -> dict[str, str]:
    """Return the most important numbers by name."""
    facts = {}
    metrics, config = material.metrics, material.run.config
    if (error := material.number("estimated_redatuming_error")) is not None:
        facts["Redatuming error, estimate"] = percent(error)
    low, high = map(material.number, ("estimated_low", "estimated_high"))
    if low is not None and high is not None:
        facts["90 % interval"] = f"{percent(low)} to {percent(high)}"
    if (true := material.number("redatuming_error")) is not None:
        facts["Redatuming error, true"] = percent(true)
    # Next to an estimate, readers would take it for a part of the estimate.
    rest = material.number("reconstruction_error")
    if error is None and rest is not None:
        facts["Reconstruction error"] = percent(rest)
    parts = config.get("groups")
    if isinstance(parts, dict):
        facts["Groups, trained + held out"] = (
            f"{parts.get('train')} + {parts.get('held_out')}"
        )
    elif "groups" in metrics:
        facts["Groups evaluated"] = str(metrics["groups"])
    if (updates := _updates(material)) is not None:
        facts["Updates"] = f"{updates:,.0f}"
    if (seconds := _seconds(material)) is not None:
        facts["Training time"] = duration(seconds)
    return facts


def _seconds(material: Material) -> float | None:
    try:
        return finite(float(material.environment["training_seconds"]))
    except (KeyError, TypeError, ValueError):
        return None


# === Data and training ===


def _data(material: Material) -> Html:
    config, groups = material.run.config, material.groups
    rows: list[tuple[str, str]] = [("source", material.source)]
    parts = config.get("groups")
    if isinstance(parts, dict):
        rows.append(("training groups", str(parts.get("train"))))
        rows.append(("held-out groups", str(parts.get("held_out"))))
    shape = " x ".join(map(str, config["instance_shape"]))
    rows.append(("shape of an instance", shape))
    axis = material.run.axis
    if axis is None and groups is not None:
        axis = sk.data.Axis.of(groups)
    rows.append(("axis", "none" if axis is None else str(axis)))
    if groups is None:
        return section("Data", table("The data of the run", (), rows))
    found = groups.describe()
    sizes = f"{found.smallest} to {found.largest}, median {found.median:g}"
    if found.smallest == found.largest:
        sizes = str(found.largest)
    total = found.variance_between + found.variance_within
    share = found.variance_between / total if total > 0.0 else 0.0
    known = {
        "columns that are constant within groups": groups.group_metadata,
        "columns of instances": groups.instance_metadata,
        "true state": groups.state,
        "true nuisances": groups.nuisance,
    }
    named = {
        title: [name for name in each if name not in NAMES]
        for title, each in known.items()
    }
    own = [
        ("instances per group", sizes),
        ("missing pixels", f"{100.0 * found.missing_pixels:.1f} %"),
        ("variance between these groups", f"{percent(share)} of their total"),
        *((title, ", ".join(each)) for title, each in named.items() if each),
    ]
    content: list[Html] = [
        table("The data of the run", (), rows),
        table(f"The {found.n_groups} {material.part}, evaluated here", (), own),
    ]
    if shared := [k for k in groups.group_metadata if k not in material.state]:
        content.append(
            tag(
                "p",
                f"The same for all instances of a group: {', '.join(shared)}. If one "
                "of these columns is a condition of the measurement, such as the night "
                "or the instrument, its effect counts as state, and the estimate of "
                "the error is too low.",
            )
        )
    return section("Data", *content)


def _training(material: Material) -> Html | None:
    from symae_keras.training.best_weights import AT_START
    from symae_keras.training.checkpoint import read_history

    at_the_start = material.environment.get("best_epoch") == str(AT_START)
    history = material.run.folder / "history.csv"
    try:
        read_bounded(history, _MOST_BYTES)  # the folder is untrusted: it may be a pipe
    except InputError:
        return section("Training", tag("p", AT_THE_START)) if at_the_start else None
    drawn = sk.plotting.plot_history(history)
    drawn.set_size_inches(4.6, 0.75 * drawn.get_figheight())
    config = material.run.config
    rows = read_history(history)
    said = counted(len(rows), "epoch")
    losses = [_number(row.get("val_loss")) for row in rows]
    planned = finite(config.get("updates"))
    updates = _updates(material)
    if updates is not None:
        said += f", {updates:,.0f} updates of the weights"
    if (seconds := _seconds(material)) is not None:
        said += f", {duration(seconds)}"
    if at_the_start:
        curve = AT_THE_START
    elif updates != planned:
        curve = "A first run, with 20 % of the groups held out, chose this number."
    else:
        curve = _curve(losses, None if updates is None else round(updates))
    return section(
        "Training",
        tag("p", f"{said}. {curve}"),
        figure(
            drawn,
            "history",
            f"Learning curves over the epochs. {curve}",
            "Training and validation loss. Noise on the nuisance codes raises the "
            "training loss only.",
        ),
    )


def _updates(material: Material) -> float | None:
    """Return the number of updates; the first versions only wrote the planned one."""
    done = finite(_number(material.environment.get("updates")))
    return finite(material.run.config.get("updates")) if done is None else done


def _number(text: str | None) -> float:
    try:
        return float(text or "nan")
    except ValueError:
        return math.nan


def _curve(losses: list[float], updates: int | None) -> str:
    """Describe the validation loss; `updates` is the number in all epochs."""
    known = np.array([each for each in losses if math.isfinite(each)])
    if len(known) < 2 or not known.min() > 0.0:
        return "There is no validation loss." if not len(known) else ""
    best = int(known.argmin())
    rise = known[-1] / known[best] - 1.0
    if rise > 0.05:
        done = ""
        if updates is not None:
            done = f" ({updates * (best + 1) // len(losses):,} updates)"
        return (
            f"The validation loss was lowest after epoch {best + 1} of {len(known)}"
            f"{done}, and is {percent(rise)} higher at the end."
        )
    tenth = max(1, len(known) // 10)
    if known[-tenth:].mean() < 0.97 * known[-2 * tenth : -tenth].mean():
        longer = "" if updates is None else f", with --updates {2 * updates}"
        return (
            "The validation loss was still falling at the end, so longer training may "
            f"be better{longer}."
        )
    return "The validation loss no longer changes at the end."


# === Next ===


def _next(material: Material) -> Html:
    run = shlex.quote(material.name)
    config = material.run.config
    file = config["data"]["file"]
    data = shlex.quote("my.csv" if file is None else material.source)
    group = group_option(config["data"].get("group"))
    # Without its path, because reports are shared.
    end = recipe_option(config, PurePath(config["recipe"]["source"]).name)
    steps = []
    if material.swaps:
        steps += [
            (
                "Correct your data: all groups under the nuisances of one group, whose "
                "rows you copy to reference.csv.",
                f"symae redatum {run} --coherent-from {data} --nuisance-from "
                f"reference.csv --out corrected.csv{end}",
            ),
            (
                "Write the code of each group, for regression or a map.",
                f"symae encode {run} --data {data} --out codes.csv{end}",
            ),
        ]
        if "tuning" not in config:
            why = "Search for better settings of SymAE, without ground truth."
            steps.append((why, f"symae tune --data {data}{group} --out tuned"))
        why = "Check whether another model is better for these data."
        steps.append((why, f"symae compare --data {data}{group}"))
        if not few_held_out(PurePath(run), config, NEEDED["--state"]):
            why = (
                "Evaluate predictions of networks from the codes, for example of your "
                "own columns."
            )
            steps.append((why, f"symae evaluate {run}{end} --state COLUMN"))
    steps.append(
        (
            "Find instances that are unlike the training data.",
            f"symae anomalies {run} --data new.csv --out strange.csv{end}",
        )
    )
    note = tag("p", "Run the commands in the folder that contains the run folder.")
    return section("Next", note, commands(*steps))


#: Functions for the sections, by name; `None` omits a section.
SECTIONS: Final[dict[str, Callable[[Material], Html | None]]] = {
    "data": _data,
    "training": _training,
    "errors": errors,
    "codes": codes,
    "replicates": replicates,
    "examples": examples,
    "next": _next,
}
