"""What `symae zoo` prints and writes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from rich import box
from rich.console import Console
from rich.markdown import Markdown
from rich.table import Table

from symae_keras._utils.files import check_writable, refuse_inputs, written_aside
from symae_keras.errors import InputError
from symae_keras.zoo.cards import Measured, spread
from symae_keras.zoo.recipes import (
    about,
    preset_folder,
    trained_presets,
    unknown_preset,
)


def print_presets() -> None:
    """One line a preset: what it is, its size and its scores."""
    table = Table(box=box.SIMPLE_HEAD)
    for title in ("preset", "what it is", "scores on data held out, over seeds"):
        table.add_column(title)
    for name in trained_presets():
        measured = Measured.read(preset_folder(name))
        scores = "\n".join(
            f"{metric.replace('_', ' ')} {spread(values)}"
            for metric, values in measured.reference.items()
        )
        table.add_row(name, about(name).title, scores)
    console = Console(markup=False)
    Console(markup=False, width=None if console.is_terminal else 140).print(table)
    print("In Python: symae_keras.zoo.load(NAME). More: symae zoo card NAME")


def reproduce_presets(
    names: Sequence[str] | None,
    out: Path,
    results: Path,
    seeds: int,
    quick: bool,
    data_file: Path | None,
) -> bool:
    """Train presets again, print the table and write it.

    Args:
        names: Of presets; `None` or none for all.
        out: Folder of the runs.
        results: File of the table; an earlier table is replaced.
        seeds: Runs of each.
        quick: Whether to train the quick form.
        data_file: For recipes that bring no data.

    Returns:
        Whether all that was trained agrees with its reference.

    Raises:
        InputError: A name is unknown, or a file cannot be written.
    """
    from symae_keras.cli.reproduce import is_results_table, reproduce, results_table

    known = trained_presets()
    names = list(dict.fromkeys(names or known))
    for name in names:
        if name not in known:
            raise unknown_preset(name, known)
    if results.is_dir():
        raise InputError(f"{results} is a folder; name the file to write.")
    refuse_inputs(results, [data_file] if data_file else [])
    if os.path.lexists(results) and not is_results_table(results):
        raise InputError(
            f"{results} is there and is no table of this command, so it is not "
            "replaced; name another file with --results."
        )
    for path in (out, results):
        check_writable(path)
    done, skipped = reproduce(names, out, seeds, quick, data_file)
    with written_aside(results) as aside:
        aside.write_text(results_table(done, skipped), encoding="utf-8")
    if done:
        table = results_table(done, {}).partition("\n\n")[2]
        Console(markup=False).print(Markdown(table))
    for name, reason in skipped.items():
        print(f"{name} was not trained: {reason}")
    agreed = sum(each.agreed for each in done)
    print(f"{agreed} of {len(done)} presets agree; {results}")
    return agreed == len(done)
