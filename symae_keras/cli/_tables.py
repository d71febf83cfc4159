"""Printing of tables to standard output."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table


def print_table(
    headings: Sequence[str], rows: Iterable[Sequence[Any]], n_texts: int = 1
) -> None:
    """Print rows of texts, numbers, or `None` for missing values.

    The first `n_texts` columns contain texts.
    """
    table = Table(box=box.SIMPLE_HEAD)
    for n, heading in enumerate(headings):
        table.add_column(
            heading, justify="left" if n < n_texts else "right", no_wrap=n == 0
        )
    for row in rows:
        table.add_row(*map(_cell, row))
    console = Console(markup=False)
    # Without a terminal, cells need not be shortened.
    Console(markup=False, width=None if console.is_terminal else 160).print(table)


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return value if isinstance(value, str) else f"{value:.4f}"
