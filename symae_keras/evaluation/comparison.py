"""The result of a comparison: rows, tables and a figure."""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np

from symae_keras.evaluation.contenders import CONTENDERS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Headings of the columns, by the attribute of a row.
COLUMNS: Final = {
    "parameters": "parameters",
    "seconds_per_step": "s / step",
    "reconstruction": "reconstruction error",
    "redatuming": "redatuming error",
    "state_from_nuisance": "state from nuisance code",
    "nuisance_from_coherent": "nuisance from coherent code",
    "state_from_coherent": "state from coherent code",
}


@dataclasses.dataclass(frozen=True)
class Row:
    """One model, trained once.

    Attributes:
        model: Name out of `CONTENDERS`.
        seed: Seed of weights, noise and sampler.
        parameters: Trainable numbers; `None` for classical references.
        seconds_per_step: Of training; `None` for classical references.
        reconstruction: Mean squared error over the variance.
        redatuming: The same of virtual instances; `None` where the truth is unknown.
        state_from_nuisance: Leakage: mean score over the parameters of the state of
            probes on one nuisance code (R2 of numbers, accuracy of labels, none below
            0); `None` where no state is known, like those below.
        nuisance_from_coherent: Leakage: the same of the mean nuisance of a group from
            its coherent code.
        state_from_coherent: What the coherent code is for.
    """

    model: str
    seed: int
    parameters: int | None
    seconds_per_step: float | None
    reconstruction: float
    redatuming: float | None
    state_from_nuisance: float | None
    nuisance_from_coherent: float | None
    state_from_coherent: float | None

    @classmethod
    def from_text(cls, values: dict[str, str]) -> Self:
        """A row out of a CSV file."""
        read = {
            name: float(text) if text else None
            for name, text in values.items()
            if name not in ("model", "seed", "parameters")
        }
        parameters = int(values["parameters"]) if values["parameters"] else None
        return cls(
            model=values["model"],
            seed=int(values["seed"]),
            parameters=parameters,
            **read,  # type: ignore[arg-type]
        )


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Rows of a comparison, one for each model and seed.

    Attributes:
        rows: In the order of the models.
    """

    rows: tuple[Row, ...]

    @property
    def models(self) -> list[str]:
        """Names of the models, in order."""
        return list(dict.fromkeys(row.model for row in self.rows))

    def values(self, model: str, column: str) -> list[Any]:
        """What a column holds for a model, seed by seed, where it was measured."""
        found = (getattr(row, column) for row in self.rows if row.model == model)
        return [value for value in found if value is not None]

    def median(self, model: str, column: str) -> float | None:
        """Median over seeds, `None` where nothing was measured."""
        values = self.values(model, column)
        return float(np.median(values)) if values else None

    @property
    def leader(self) -> str | None:
        """The model with the least median redatuming error."""
        errors = {name: self.median(name, "redatuming") for name in self.models}
        known = {name: error for name, error in errors.items() if error is not None}
        return min(known, key=lambda name: known[name]) if known else None

    def table(self) -> tuple[list[str], list[list[str]]]:
        """Headings, and a line of text for each model: median [lowest-highest]."""
        measured = [
            each for each in COLUMNS if any(self.values(m, each) for m in self.models)
        ]
        lines = [
            [
                CONTENDERS[name].title,
                *(_shown(each, self.values(name, each)) for each in measured),
            ]
            for name in self.models
        ]
        return ["model", *(COLUMNS[each] for each in measured)], lines

    def to_markdown(self) -> str:
        """The table in Markdown."""
        headings, lines = self.table()
        rule = ["---", *("---:" for _ in headings[1:])]
        return "".join(f"| {' | '.join(each)} |\n" for each in (headings, rule, *lines))

    def to_csv(self) -> str:
        """Median, lowest and highest of every column as CSV, one line a model."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        parts: Sequence[tuple[str, Any]] = (
            ("median", np.median),
            ("lowest", np.min),
            ("highest", np.max),
        )
        writer.writerow(
            ["model", "seeds", *(f"{c}_{part}" for c in COLUMNS for part, _ in parts)]
        )
        for name in self.models:
            line: list[Any] = [name, sum(row.model == name for row in self.rows)]
            for column in COLUMNS:
                values = self.values(name, column)
                line += [f(values) if values else "" for _, f in parts]
            writer.writerow(line)
        return text.getvalue()

    def plot(self) -> Figure | None:
        """Redatuming against reconstruction error, `None` where the truth is unknown.

        Both axes are logarithmic; a point is the median over seeds.
        """
        names = [m for m in self.models if self.values(m, "redatuming")]
        if not names:
            return None
        from symae_keras.plotting import plot_trade_off

        # Exact reconstructions, such as the mean swap's, have no place on a log axis.
        names = [m for m in names if (self.median(m, "reconstruction") or 0.0) > 1e-6]
        figure = plot_trade_off(
            [self.median(m, "reconstruction") for m in names],
            [self.median(m, "redatuming") for m in names],
            [CONTENDERS[m].title for m in names],
            "reconstruction error / variance",
            "redatuming error / variance",
            groups=[CONTENDERS[m].family for m in names],
            log=True,
        )
        return figure


def _shown(column: str, values: Sequence[float]) -> str:
    if not values:
        return "-"
    if column == "parameters":
        return f"{int(np.median(values)):,}"
    digits = "{:#.2g}" if column == "seconds_per_step" else "{:.4f}"
    if "_from_" in column:
        digits = "{:.2f}"
    median, lowest, highest = (
        digits.format(f(values)) for f in (np.median, np.min, np.max)
    )
    return median if lowest == highest else f"{median} [{lowest}-{highest}]"
