"""Commands about the presets that come with the package."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from symae_keras.cli._options import import_backend

app = typer.Typer(help="Trained presets: scores, cards, reproduction.")


@app.callback(invoke_without_command=True)
def presets(context: typer.Context) -> None:
    """List the presets with their scores."""
    if context.invoked_subcommand is not None:
        return
    from symae_keras.cli.zoo import print_presets

    print_presets()


@app.command()
def card(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A preset.")],
) -> None:
    """Print the card of a preset: data, intended use, limits, licence, scores."""
    import_backend()
    from symae_keras import zoo

    zoo.help(name)


@app.command()
def reproduce(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="NAME...", help="Presets.", show_default="all"),
    ] = None,
    quick: Annotated[
        bool,
        typer.Option(
            "--quick", help="An eighth of the epochs, compared with what those gave."
        ),
    ] = False,
    seeds: Annotated[int, typer.Option(min=1, help="Runs of each preset.")] = 1,
    data: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="For recipes that bring no data."),
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
            help="The table to write.",
            show_default="zoo/RESULTS.md, or zoo/RESULTS-quick.md",
        ),
    ] = None,
) -> None:
    """Train presets again and compare them with the metrics that they came with."""
    import_backend()
    from symae_keras.cli.zoo import reproduce_presets

    results = results or Path("zoo") / ("RESULTS-quick.md" if quick else "RESULTS.md")
    if not reproduce_presets(names, out, results, seeds, quick, data):
        raise typer.Exit(1)
