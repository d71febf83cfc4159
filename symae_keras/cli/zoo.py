"""`symae zoo`: list presets, print their cards, and train them again."""

from __future__ import annotations

import dataclasses
import json
import operator
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Annotated, Final

import typer

import symae_keras as sk
from symae_keras._utils.files import check_writable, refuse_inputs, written_atomically
from symae_keras._utils.presets import preset_folder, trained_presets, unknown_preset
from symae_keras.cli._options import Command, Commands, import_backend
from symae_keras.cli._tables import print_table
from symae_keras.cli.train import train_run
from symae_keras.errors import InputError
from symae_keras.zoo.cards import Measured, spread
from symae_keras.zoo.recipes import about, load_recipe

if TYPE_CHECKING:
    from symae_keras.training import Recipe

_TITLE: Final = "# Presets, trained again"
_HEADINGS: Final = tuple(
    "preset metric obtained reference agrees minutes command".split()
)
#: Share of the epochs of a recipe in quick mode.
QUICK: Final = 1 / 8
#: Tolerance of errors and decibels, as a share of the reference.
RELATIVE: Final = 0.25
#: Tolerance of scores, whose maximum is 1.
ABSOLUTE: Final = 0.05

app = typer.Typer(help="Trained presets: scores, cards, reproduction.", cls=Commands)


@app.callback(invoke_without_command=True)
def presets(context: typer.Context) -> None:
    """List the presets with their scores."""
    if context.invoked_subcommand is not None:
        return
    rows = []
    for name in trained_presets():
        measured = Measured.read(preset_folder(name))
        scores = "\n".join(
            f"{metric.replace('_', ' ')} {spread(values)}"
            for metric, values in measured.reference.items()
        )
        rows.append((name, about(name).title, scores))
    headings = ("preset", "description", "scores on held-out data, over seeds")
    print_table(headings, rows, n_texts=3)
    print("In Python: symae_keras.zoo.load(NAME). More: symae zoo card NAME")


@app.command(cls=Command)
def card(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A preset.")],
) -> None:
    """Print the card of a preset: data, intended use, limits, licence, scores."""
    import_backend()
    sk.zoo.help(name)


@app.command(cls=Command)
def reproduce(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="NAME...", help="Presets.", show_default="all"),
    ] = None,
    quick: Annotated[
        bool,
        typer.Option(
            "--quick",
            help="Train for one eighth of the epochs, and compare with the recorded "
            "metrics of this mode.",
        ),
    ] = False,
    seeds: Annotated[int, typer.Option(min=1, help="Number of runs per preset.")] = 1,
    data: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="For recipes that provide no data."),
    ] = None,
    out: Annotated[
        Path,
        typer.Option(
            metavar="DIR", help="Folder of the runs; complete ones are not repeated."
        ),
    ] = Path("runs/zoo"),
    results: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="The output table.",
            show_default="zoo/RESULTS.md, or zoo/RESULTS-quick.md",
        ),
    ] = None,
) -> None:
    """Train presets again and compare them with their recorded metrics."""
    import_backend()
    known = trained_presets()
    names = list(dict.fromkeys(names or known))
    for name in names:
        if name not in known:
            raise unknown_preset(name, known)
    results = results or Path("zoo") / ("RESULTS-quick.md" if quick else "RESULTS.md")
    if results.is_dir():
        raise InputError(f"{results} is a folder; name the file to write.")
    refuse_inputs(results, [data] if data else [])
    if os.path.lexists(results) and not _is_results_table(results):
        raise InputError(
            f"{results} exists and is not a table of this command, so it is not "
            "replaced; give another file with --results."
        )
    for path in (out, results):
        check_writable(path)
    done, skipped = _reproduce_all(names, out, seeds, quick, data)
    with written_atomically(results) as partial:
        rows = [*_rows(done), *_other_rows(results, [each.name for each in done])]
        partial.write_text(_results_table(rows, skipped), encoding="utf-8")
    if done:
        cells = [[cell.strip("*`") for cell in row] for row in _rows(done)]
        print_table(_HEADINGS, cells, n_texts=2)
    for name, reason in skipped.items():
        print(f"{name} was not trained: {reason}")
    agreed = sum(each.agreed for each in done)
    print(f"{agreed} of {len(done)} presets agree; {results}")
    if agreed < len(done):
        raise typer.Exit(1)


@dataclasses.dataclass(frozen=True)
class Reproduced:
    """Recorded and obtained metrics of a preset that was trained again."""

    name: str
    measured: Measured
    obtained: Mapping[str, list[float]]
    """Obtained metrics by name, one value per seed."""
    seconds: list[float]
    quick: bool
    command: str
    """The command that reproduces it."""

    def reference(self, metric: str) -> list[float]:
        """Return the recorded values, one per seed."""
        if self.quick:
            return [self.measured.quick[metric]]
        return self.measured.reference[metric]

    def agrees(self, metric: str) -> bool:
        """Return whether all obtained values are near the recorded range."""
        low, high = min(self.reference(metric)), max(self.reference(metric))
        return all(
            low - tolerance(metric, low) <= value <= high + tolerance(metric, high)
            for value in self.obtained[metric]
        )

    @property
    def agreed(self) -> bool:
        """True if all metrics agree."""
        return all(self.agrees(metric) for metric in self.obtained)


def tolerance(metric: str, reference: float) -> float:
    """Return how much a metric may differ from its reference.

    Example:
    >>> tolerance("redatuming_error", 0.04), tolerance("class_from_coherent", 0.99)
    (0.01, 0.05)
    """
    if metric.endswith(("_error", "_db")):
        return RELATIVE * abs(reference)
    return ABSOLUTE


def metrics_of(run: Path) -> dict[str, float]:
    """Return the errors and scores in the metrics.json of a run."""
    content = json.loads((run / "metrics.json").read_text("utf-8"))
    return {name: value for name, value in content.items() if isinstance(value, float)}


def seconds_of(run: Path) -> float:
    """Return the training time of a run."""
    environment = json.loads((run / "environment.json").read_text("utf-8"))
    return float(environment["training_seconds"])


def quick_epochs(recipe: Recipe) -> int:
    """Return the number of epochs in quick mode."""
    return max(1, round(QUICK * (recipe.epochs or sk.training.EPOCHS)))


def run_preset(
    name: str, seed: int, quick: bool, out: Path, data_file: Path | None = None
) -> Path:
    """Train a preset's recipe, or use a complete run, and return its folder."""
    epochs = quick_epochs(load_recipe(name).recipe) if quick else None
    folder = out / f"{name}-{'quick' if quick else seed}"
    return train_run(name, data_file, folder, epochs, seed, resume=True)[0]


def _reproduce_all(
    names: Sequence[str], out: Path, seeds: int, quick: bool, data_file: Path | None
) -> tuple[list[Reproduced], dict[str, str]]:
    """Train presets; return them, and for others, without data, the reason."""
    measured = {name: Measured.read(preset_folder(name)) for name in names}
    done, skipped = [], {}
    for name in names:
        recipe = load_recipe(name).recipe
        file = data_file if recipe.data is None else None
        reason = _missing_data(recipe, file)
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


def _missing_data(recipe: Recipe, file: Path | None) -> str | None:
    """Return the reason if the data of a recipe are not available."""
    if recipe.data is None:
        return "provides no data; give them with --data" if file is None else None
    try:
        recipe.data(0)
    except InputError as error:
        return str(error)
    return None


def _is_results_table(path: Path) -> bool:
    """Return whether a file was written by `_results_table`."""
    try:
        with path.open("rb") as file:
            return file.readline().rstrip() == _TITLE.encode()
    except OSError:
        return False


def _rows(done: Sequence[Reproduced]) -> list[tuple[str, ...]]:
    """Return one row per metric; the first row of a preset has its command."""
    rows: list[tuple[str, ...]] = []
    for each in done:
        named = (each.name, f"{median(each.seconds) / 60:.1f}", f"`{each.command}`")
        for metric, values in each.obtained.items():
            name, minutes, command = named
            named = (each.name, "", "")
            agrees = "yes" if each.agrees(metric) else "**no**"
            both = spread(values), spread(each.reference(metric))
            label = metric.replace("_", " ")
            rows.append((name, label, *both, agrees, minutes, command))
    return rows


def _other_rows(path: Path, names: Sequence[str]) -> list[tuple[str, ...]]:
    """Return the rows of an earlier table, except for those of some presets."""
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").splitlines()
    rows = [
        tuple(cell.strip() for cell in line.strip("|").split("|"))
        for line in lines
        if line.startswith("| ")
    ]
    return [row for row in rows if row[0] not in (*names, _HEADINGS[0], "---")]


def _results_table(
    results: Sequence[tuple[str, ...]], skipped: Mapping[str, str]
) -> str:
    """Return RESULTS.md: obtained and reference values, cost, spread and command."""
    first = operator.itemgetter(0)  # rows of one preset keep their order
    rows = (_HEADINGS, ("---", "---", "---:", "---:", "---", "---:", "---"))
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
        *(f"| {' | '.join(row)} |" for row in (*rows, *sorted(results, key=first))),
        "",
        "<!-- --8<-- [end:table] -->",
    ]
    if skipped:
        lines += ["", "Not trained:", ""]
        lines += [f"- {name}: {reason}" for name, reason in skipped.items()]
    return "\n".join(lines) + "\n"
