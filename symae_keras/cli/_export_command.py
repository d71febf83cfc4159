"""The command that exports models."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from symae_keras.cli._options import (
    Force,
    RunFolder,
    TrustedRecipe,
    import_backend,
    stderr_aside,
)

if TYPE_CHECKING:
    from symae_keras.export import Specs


def export(
    run: RunFolder,
    format: Annotated[
        str, typer.Option(help="saved_model, onnx or tflite (LiteRT).")
    ] = "saved_model",
    endpoint: Annotated[
        str | None,
        typer.Option(
            help="encode, reconstruct or redatum.",
            show_default="redatum, or reconstruct for a model of single instances",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            help="The folder, .onnx or .tflite file to make.",
            show_default="RUN-ENDPOINT here",
        ),
    ] = None,
    force: Force = False,
    recipe: TrustedRecipe = None,
) -> None:
    """Write a model into a file that other programs can serve."""
    import_backend()
    from symae_keras.cli.export import export_run

    # Converters and runtimes write remarks there that are no one's concern.
    with stderr_aside():
        done = export_run(run, format, endpoint, out, force, recipe)
    print(
        f"{done.path}: {done.endpoint}, compared with Keras in its own runtime: "
        f"within {done.difference:.0e} of the largest output"
    )
    _print_specs("takes", done.inputs)
    _print_specs("gives", done.outputs)


def _print_specs(verb: str, specs: Specs) -> None:
    for name, (shape, dtype) in specs.items():
        grouped = len([n for n in shape if n is None]) > 1
        free = iter(("batch", "instances") if grouped else ("batch",))
        sizes = ", ".join(next(free) if n is None else str(n) for n in shape)
        print(f"  {verb} {name} ({sizes}) {dtype}")
