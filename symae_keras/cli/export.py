"""`symae export`: write a model of a run into a file for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import symae_keras as sk
from symae_keras.cli._options import (
    Force,
    RunFolder,
    TrustedRecipe,
    import_backend,
    stderr_aside,
)
from symae_keras.cli._run_folder import load_run, run_files
from symae_keras.cli._tables import print_table
from symae_keras.errors import InputError

if TYPE_CHECKING:
    from symae_keras.export import Exported


def export(
    run: RunFolder,
    format: Annotated[
        str, typer.Option(help="saved_model, onnx or tflite (LiteRT).")
    ] = "saved_model",
    endpoint: Annotated[
        str | None,
        typer.Option(
            help="encode, decode, reconstruct or redatum.",
            show_default="redatum, or reconstruct for a model of single instances",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            help="The output folder, or .onnx or .tflite file.",
            show_default="RUN-ENDPOINT here",
        ),
    ] = None,
    force: Force = False,
    recipe: TrustedRecipe = None,
) -> None:
    """Write a model into a file that other programs can serve."""
    import_backend()
    # Converters and runtimes print messages that are not relevant to the user.
    with stderr_aside():
        done = _export(run, format, endpoint, out, force, recipe)
    print(
        f"{done.path}: {done.endpoint}, compared with Keras in its own runtime: "
        f"within {done.difference:.0e} of the largest output"
    )
    sides = {"input": done.inputs, "output": done.outputs}
    print_table(
        ("", "name", "shape", "dtype"),
        [
            (side, name, _named(name, shape), dtype)
            for side, specs in sides.items()
            for name, (shape, dtype) in specs.items()
        ],
        n_texts=4,
    )


def _export(
    run: Path,
    format: str,
    endpoint: str | None,
    out: Path | None,
    force: bool,
    recipe: Path | None,
) -> Exported:
    inputs = run_files(run)
    # Checked first, because reading the run takes seconds.
    if out is not None:
        sk.export.check_target(out, format, force, inputs)
    model = load_run(run, recipe).model
    try:
        endpoint = sk.export.check_endpoint(model, endpoint)
    except InputError as error:
        raise InputError(f"{run}: {error}") from None
    if out is None:
        suffix = sk.export.FORMATS.get(format, "")
        out = Path(f"{run.resolve().name}-{endpoint}{suffix}")
        sk.export.check_target(out, format, force, inputs)
    return sk.export.export_model(model, out, format, endpoint, force)


def _named(name: str, shape: tuple[int | None, ...]) -> str:
    """Return a shape with the names of its free axes."""
    kind, _, role = name.partition("_")
    # The two kinds of groups that `redatum` takes may have different sizes.
    instances = f"{kind}_instances" if role in ("from", "mask") else "instances"
    grouped = shape.count(None) > 1
    free = iter(("batch", instances) if grouped else ("batch",))
    return f"({', '.join(next(free) if n is None else str(n) for n in shape)})"
