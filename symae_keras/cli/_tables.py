"""Results as tables on standard output."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from symae_keras.evaluation import Comparison, Leakage


def _print_table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column(columns[0])
    for name in columns[1:]:
        table.add_column(name, justify="right")
    for label, *values in rows:
        table.add_row(label, *("-" if v is None else f"{v:.4f}" for v in values))
    Console(markup=False).print(table)


def print_demo(metrics: dict[str, Any]) -> None:
    """The table of the demo."""
    labels = {"conditional": "conditional encoder", "original": "original encoder"}
    test = metrics["test"]
    print(
        f"Mean squared errors over the variance, for {test['states']} new stars of "
        f"{test['instances']} exposures:"
    )
    _print_table(
        ("", "reconstruction error", "redatuming error"),
        [
            (labels.get(k, k), v.get("reconstruction_error"), v["redatuming_error"])
            for k, v in metrics["errors"].items()
        ],
    )


def print_metrics(metrics: dict[str, Any]) -> None:
    """Errors of a run."""
    rows = {
        "reconstruction_error": "reconstruction error",
        "redatuming_error": "redatuming error",
        "mean_swap_error": "the same by linear mean swap",
    }
    print(
        f"{metrics['data']}, {metrics['groups']} groups with {metrics['instances']} "
        "instances:"
    )
    _print_table(
        ("", "error / variance"),
        [(label, metrics[name]) for name, label in rows.items() if name in metrics],
    )
    if not metrics["swaps_codes"]:
        print("No redatuming error: this is a model of single instances.")
    elif "redatuming_error" not in metrics:
        print("No redatuming error, because the truth is known of simulations only.")


def print_leakage(leaks: Leakage) -> None:
    """Scores of the probes, a row a parameter."""
    print("What probes read from the codes, R2 of numbers or accuracy of labels:")
    coherent = {**leaks.nuisance_from_coherent, **leaks.state_from_coherent}
    _print_table(
        ("", "nuisance code", "coherent code", "chance"),
        [
            (name, leaks.state_from_nuisance.get(name), coherent[name], chance)
            for name, chance in leaks.chance.items()
        ],
    )


def print_comparison(result: Comparison) -> None:
    """The table of a comparison, medians over seeds [lowest-highest]."""
    headings, lines = result.table()
    seeds = max(sum(row.model == name for row in result.rows) for name in result.models)
    spread = f", medians over {seeds} seeds [lowest-highest]" if seeds > 1 else ""
    print(f"Errors are mean squares over the variance, scores R2 or accuracy{spread}:")
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column(headings[0], no_wrap=True)
    for name in headings[1:]:
        table.add_column(name, justify="right")
    for line in lines:
        table.add_row(*line)
    # Where there is no terminal to fit, nothing should be cut.
    console = Console(markup=False)
    Console(markup=False, width=None if console.is_terminal else 160).print(table)
