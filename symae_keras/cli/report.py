"""`symae report`: a page about a run that opens without a network."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from rich.console import Console

import symae_keras as sk
from symae_keras._utils.files import (
    check_writable,
    refuse_inputs,
    write_text,
)
from symae_keras._utils.markers import write_listed
from symae_keras._utils.text import one_line
from symae_keras._utils.untrusted_files import parse_json, read_bounded
from symae_keras.cli._html import is_sealed, join, page, tag
from symae_keras.cli._options import (
    Group,
    RunFolder,
    State,
    TrustedRecipe,
    import_backend,
)
from symae_keras.cli._run_folder import (
    REPORT,
    Run,
    load_run,
    run_files,
)
from symae_keras.cli._sources import padded_sample
from symae_keras.cli.evaluate import (
    both_parts,
    groups_for,
    measure_run,
    probe_state,
    refuse_state,
    trained_on,
)
from symae_keras.errors import InputError

if TYPE_CHECKING:
    from symae_keras.cli._report_material import Material
    from symae_keras.cli._sources import Groups
    from symae_keras.data import GroupedData

_log = logging.getLogger("symae_keras")
#: Maximum size of metrics.json and environment.json in bytes.
_MOST_BYTES: Final = 1 << 20


def report(
    run: RunFolder,
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Groups for the evaluation.",
            show_default="the held-out part",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="HTML",
            help="The output file. An unmodified older report is replaced; any other "
            "file is not.",
            show_default="report.html in the run folder",
        ),
    ] = None,
    state: State = None,
    group: Group = None,
    recipe: TrustedRecipe = None,
) -> None:
    """Write a page about a run, with its quality, limits and next steps."""
    import_backend()
    path = out or run / REPORT
    _check(path, run, data)
    found = load_run(run, recipe)
    with Console(stderr=True).status("Evaluating the run"):
        material = _material(found, data, group, state)
        text = _page(material)
    write = write_listed if out is None else write_text
    write(path, text)
    print(f"{path}: open it in a browser")


def _check(path: Path, run: Path, data: Path | None) -> None:
    """Raise an error if the file exists and is not an unmodified older report."""
    if path.suffix.lower() != ".html":
        raise InputError(f"--out must end in .html; received {path}.")
    own = [file for file in run_files(run) if file.name != REPORT]
    refuse_inputs(path, [*own, *([data] if data else [])])
    if path.is_symlink() or (path.exists() and not is_sealed(path)):
        raise InputError(
            f"{path} exists and is not an unmodified report of symae, so it is not "
            "replaced; move it or choose another --out."
        )
    check_writable(path)


def _material(
    run: Run, data: Path | None, group: str | None, state: list[str] | None
) -> Material:
    """Evaluate a run, as far as its data are available."""
    from symae_keras.cli._report_material import Material

    stored: dict[str, Any] = {}
    train: Groups | None = None
    held_out = groups = None
    if data is not None:
        held_out = groups = groups_for(run, data, group)
    else:
        stored = _entries(run.folder / "metrics.json")
        try:
            train, held_out = both_parts(run)
            groups = padded_sample(train) if held_out is None else held_out
        except InputError as error:
            _log.warning("the report has no sections that need data: %s", error)
    columns: tuple[str, ...] = ()
    if state:
        if groups is None:
            raise InputError(f"--state needs the data of {run.folder}; give --data.")
        columns = tuple(state)
        if data is None:
            refuse_state(run, groups, state)
        probe_state(run, groups, state, linear=True)
    metrics = stored
    if groups is not None:
        # Scores of the recipe are stored.
        metrics = stored | measure_run(run.model, None, train or groups, held_out)
    if data is not None:
        metrics["data"] = data.name
        if known := trained_on(run, data, metrics["groups"]):
            metrics["verdict"] = known
    return Material(
        run=run,
        name=run.folder.resolve().name,
        metrics=metrics,
        environment=_entries(run.folder / "environment.json"),
        train=None if train is None else padded_sample(train),
        groups=groups,
        trained_on=data is None and held_out is None and groups is not None,
        state=columns,
    )


def write_report(
    folder: Path,
    run: Run,
    parts: tuple[Groups, GroupedData | None],
    metrics: dict[str, Any],
) -> None:
    """Write the report of a run after its training.

    If the report cannot be written, it is left out with a warning of the logger
    `"symae_keras"`, so that the trained model is not lost.

    Args:
        folder: The run folder, complete except for the report.
        run: The run.
        parts: Training groups and held-out groups, `None` if there are none.
        metrics: The result of `measure_run`.
    """
    from symae_keras.cli._report_material import Material

    try:
        train = padded_sample(parts[0])
        material = Material(
            run=run,
            # Runs are written to a draft folder.
            name=folder.name.removesuffix(".partial"),
            metrics=metrics,
            environment=_entries(folder / "environment.json"),
            train=train,
            groups=train if parts[1] is None else parts[1],
            trained_on=parts[1] is None,
            state=(),
        )
        write_text(folder / REPORT, _page(material))
    # Figures and disks can fail in many ways.
    except Exception as error:
        _log.warning("no report: %s", one_line(error))


def _entries(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file, empty if it cannot be read."""
    try:
        # The folder may come from an unknown author.
        content = parse_json(read_bounded(path, _MOST_BYTES))
    except (InputError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _page(material: Material) -> str:
    from symae_keras.cli._report_sections import SECTIONS, heading

    content = [heading(material)]
    for name, make in SECTIONS.items():
        try:
            made = make(material)
        except Exception as error:
            _log.warning("the report has no section %s: %s", name, one_line(error))
            continue
        if made is not None:
            content.append(made)
    environment = material.environment
    made_by = ", ".join(
        f"{name} {environment[name]}"
        for name in ("symae_keras", "keras", "backend", "python")
        if name in environment
    )
    footer = tag("p", f"Trained with {made_by}.") if made_by else tag("p", "")
    kind = type(material.run.model).__name__
    return page(
        title=f"Report on {material.name}",
        subtitle=f"{kind}, recipe {material.run.config['recipe']['name']}, "
        f"data: {material.source}",
        body=join(content),
        footer=footer,
        version=sk.__version__,
    )
