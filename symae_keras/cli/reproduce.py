"""Train the recipes of presets again and compare with what was measured for them."""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any, Final

from symae_keras.cli.train import train_run
from symae_keras.errors import InputError
from symae_keras.training import EPOCHS, Recipe
from symae_keras.zoo.cards import Measured, spread
from symae_keras.zoo.recipes import load_recipe, preset_folder

_log = logging.getLogger("symae_keras")

_TITLE: Final = "# Presets, trained again"
#: Share of the epochs of a recipe that its quick form has.
QUICK: Final = 1 / 8
#: What may differ: errors and decibels by this share of the reference ...
RELATIVE: Final = 0.25
#: ... scores, of 1 at most, by this much.
ABSOLUTE: Final = 0.05


@dataclasses.dataclass(frozen=True)
class Reproduced:
    """A preset trained again.

    Attributes:
        name: Of the preset.
        measured: What is shipped with it.
        obtained: Metrics by name, one a seed.
        seconds: Training of each run took.
        quick: Whether the quick form was trained.
        command: That did it.
    """

    name: str
    measured: Measured
    obtained: Mapping[str, list[float]]
    seconds: list[float]
    quick: bool
    command: str

    def reference(self, metric: str) -> list[float]:
        """What was measured, one a seed."""
        if self.quick:
            return [self.measured.quick[metric]]
        return self.measured.reference[metric]

    def agrees(self, metric: str) -> bool:
        """Whether each obtained value is near one of the reference's range."""
        low, high = min(self.reference(metric)), max(self.reference(metric))
        return all(
            low - tolerance(metric, low) <= value <= high + tolerance(metric, high)
            for value in self.obtained[metric]
        )

    @property
    def agreed(self) -> bool:
        """Whether all metrics agree."""
        return all(self.agrees(metric) for metric in self.obtained)


def tolerance(metric: str, reference: float) -> float:
    """By how much a metric may differ from its reference.

    Example:
    >>> tolerance("redatuming_error", 0.04), tolerance("class_from_coherent", 0.99)
    (0.01, 0.05)
    """
    if metric.endswith(("_error", "_db")):
        return RELATIVE * abs(reference)
    return ABSOLUTE


def metrics_of(run: Path) -> dict[str, float]:
    """The numbers in the metrics.json of a run: errors and scores."""
    content: dict[str, Any] = json.loads(
        (run / "metrics.json").read_text(encoding="utf-8")
    )
    return {name: value for name, value in content.items() if isinstance(value, float)}


def seconds_of(run: Path) -> float:
    """Seconds that the training of a run took."""
    environment = json.loads((run / "environment.json").read_text(encoding="utf-8"))
    return float(environment["training_seconds"])


def quick_epochs(recipe: Recipe) -> int:
    """Epochs of the quick form of a recipe."""
    return max(1, round(QUICK * (recipe.epochs or EPOCHS)))


def run_preset(
    name: str, seed: int, quick: bool, out: Path, data_file: Path | None = None
) -> Path:
    """Train a preset's recipe, or find the run that is complete already.

    Args:
        name: Of the preset.
        seed: Of the run.
        quick: Whether to train for an eighth of the epochs.
        out: Folder of the runs.
        data_file: For recipes that bring no data.

    Returns:
        The run folder.
    """
    epochs = quick_epochs(load_recipe(name).recipe) if quick else None
    folder = out / f"{name}-{'quick' if quick else seed}"
    return train_run(name, data_file, folder, epochs, seed, resume=True)[0]


def reproduce(
    names: Sequence[str],
    out: Path,
    seeds: int = 1,
    quick: bool = False,
    data_file: Path | None = None,
) -> tuple[list[Reproduced], dict[str, str]]:
    """Train presets again, one after the other.

    Args:
        names: Of presets.
        out: Folder of the runs; those that are complete there are not trained again.
        seeds: Runs of each, with the seeds 0, 1, ...; the quick form has one.
        quick: Whether to train for an eighth of the epochs and compare with what that
            gave.
        data_file: For recipes that bring no data.

    Returns:
        What was trained, and the reason for each preset that could not be, for want of
        data.

    Raises:
        InputError: A name is unknown, or something else is wrong than the data of a
            preset that are not to be had.
    """
    measured = {name: Measured.read(preset_folder(name)) for name in names}
    done, skipped = [], {}
    for name in names:
        recipe = load_recipe(name).recipe
        file = data_file if recipe.data is None else None
        if recipe.data is None and file is None:
            skipped[name] = "brings no data; give them with --data"
            continue
        if recipe.data is not None:
            reason = _missing_data(recipe)
            if reason is not None:
                skipped[name] = reason
                continue
        obtained: dict[str, list[float]] = {}
        seconds = []
        for seed in range(1 if quick else seeds):
            folder = run_preset(name, seed, quick, out, file)
            found = metrics_of(folder)
            seconds.append(seconds_of(folder))
            for metric in measured[name].reference:
                if metric in found:
                    obtained.setdefault(metric, []).append(found[metric])
        options = " --quick" if quick else f" --seeds {seeds}" * (seeds > 1)
        command = f"symae zoo reproduce {name}{options}"
        if file is not None:
            command += f" --data {file.name}"
        done.append(Reproduced(name, measured[name], obtained, seconds, quick, command))
    return done, skipped


def _missing_data(recipe: Recipe) -> str | None:
    """Why the data of a recipe are not to be had, if so."""
    assert recipe.data is not None
    try:
        recipe.data(0)
    except InputError as error:
        return str(error)
    return None


def is_results_table(path: Path) -> bool:
    """Return whether a file is one that `results_table` made."""
    try:
        with path.open("rb") as file:
            return file.readline().rstrip() == _TITLE.encode()
    except OSError:
        return False


def results_table(done: Sequence[Reproduced], skipped: Mapping[str, str]) -> str:
    """RESULTS.md: obtained beside reference, with cost, spread and command."""
    lines = [
        _TITLE,
        "",
        f"Errors and decibels agree within {100 * RELATIVE:.0f} % of the range of the "
        f"reference, scores within {ABSOLUTE}. Medians over seeds [lowest, highest]; "
        "minutes are of one run on the machine that made this table. All fields are "
        "generated.",
        "",
        "<!-- --8<-- [start:table] -->",
        "",
        "| preset | metric | obtained | reference | agrees | minutes | command |",
        "| --- | --- | ---: | ---: | --- | ---: | --- |",
    ]
    for each in done:
        minutes = f"{median(each.seconds) / 60:.1f}"
        for n, metric in enumerate(each.obtained):
            first = n == 0
            lines.append(
                f"| {each.name if first else ''} | {metric.replace('_', ' ')} "
                f"| {spread(each.obtained[metric])} | {spread(each.reference(metric))} "
                f"| {'yes' if each.agrees(metric) else '**no**'} "
                f"| {minutes if first else ''} "
                f"| {f'`{each.command}`' if first else ''} |"
            )
    lines += ["", "<!-- --8<-- [end:table] -->"]
    if skipped:
        lines += ["", "Not trained:", ""]
        lines += [f"- {name}: {reason}" for name, reason in skipped.items()]
    return "\n".join(lines) + "\n"
