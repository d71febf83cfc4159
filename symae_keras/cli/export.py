"""Write a model of a run into a file that is served without this package."""

from __future__ import annotations

from pathlib import Path

from symae_keras.cli._run_folder import load_run, run_files
from symae_keras.errors import InputError
from symae_keras.export import (
    FORMATS,
    Exported,
    check_endpoint,
    check_target,
    export_model,
)


def export_run(
    path: Path,
    format: str = "saved_model",
    endpoint: str | None = None,
    out: Path | None = None,
    force: bool = False,
    recipe: Path | None = None,
) -> Exported:
    """Export a method of the model of a run.

    Args:
        path: The run folder.
        format: See `symae_keras.export.export_model`.
        endpoint: See there.
        out: What to make. `None` names it after run and endpoint, in the current
            folder, such as `run-redatum.onnx`.
        force: Replace `out`.
        recipe: See `symae_keras.cli._run_folder.load_run`.

    Returns:
        What was written.

    Raises:
        InputError: The run, an argument or `out` cannot be used, or a package is
            missing; nothing has been written.
    """
    inputs = run_files(path)
    # Looked at first: reading the run takes seconds.
    if out is not None:
        check_target(out, format, force, inputs)
    model = load_run(path, recipe).model
    try:
        endpoint = check_endpoint(model, endpoint)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    if out is None:
        out = Path(f"{path.resolve().name}-{endpoint}{FORMATS.get(format, '')}")
        check_target(out, format, force, inputs)
    return export_model(model, out, format, endpoint, force)
