"""Options that several commands have, and the import of Keras."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

import typer

from symae_keras.errors import InputError

Group = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="The column or key of your data that holds the group ids; for a folder "
        "of spectra, a regular expression on the file names.",
        show_default="group",
    ),
]
Seed = Annotated[
    int,
    # The largest seed that NumPy's legacy generator takes, less the demo's next one.
    typer.Option(min=0, max=2**32 - 2, help="Seed of data, weights and sampling."),
]
RunFolder = Annotated[
    Path, typer.Argument(metavar="RUN", help="A run folder made by symae train.")
]
TrustedRecipe = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="The recipe that made the run, if it has classes, data or scores of its "
        "own. Its code runs, so name only a file that you trust.",
        show_default="recipes of the package only",
    ),
]
State = Annotated[
    list[str] | None,
    typer.Option(
        metavar="COLUMN",
        help="A column of your data that describes the state, such as a concentration: "
        "probes predict it from both codes. Can be given several times.",
        show_default=False,
    ),
]
Force = Annotated[
    bool, typer.Option("--force", help="Replace the output if it exists.")
]


class Resampling(StrEnum):
    """Values of the option --axis."""

    LINEAR = "linear"
    FLUX = "flux"


AxisChange = Annotated[
    Resampling | None,
    typer.Option(
        "--axis",
        help="Resample data that are on another axis than the model: linear "
        "interpolates, flux averages over each new pixel.",
        show_default="other axes are an error",
    ),
]
#: Backends that can train.
_BACKENDS: Final = ("tensorflow", "jax", "torch")


def import_backend() -> None:
    """Import Keras without the messages that TensorFlow prints at any log level.

    Raises:
        InputError: The backend that the user chose is not installed or cannot train.
    """
    if "keras" in sys.modules:
        return
    chosen = os.environ.get("KERAS_BACKEND", "")
    remedy = (
        f"set it to one of {', '.join(_BACKENDS)}, or unset it to use TensorFlow"
        if chosen
        else 'correct "backend" in keras.json, or set KERAS_BACKEND=tensorflow'
    )
    if chosen and chosen not in _BACKENDS:
        raise InputError(f"KERAS_BACKEND is {chosen}, which cannot train; {remedy}.")
    verbose = os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3") != "3"
    try:
        with contextlib.nullcontext() if verbose else stderr_aside():
            import keras
    except (ImportError, ValueError) as error:
        which = f"KERAS_BACKEND is {chosen}, which" if chosen else "The Keras backend"
        reason = " ".join(str(error).split()).rstrip(".")
        raise InputError(
            f"{which} cannot be imported ({reason}); install it, or {remedy}."
        ) from error
    if keras.config.backend() not in _BACKENDS:
        raise InputError(
            f"The Keras backend is {keras.config.backend()}, which cannot train; "
            f"{remedy}."
        )


@contextlib.contextmanager
def stderr_aside() -> Iterator[None]:
    """Hide what is written to file descriptor 2, unless the body fails.

    An `InputError` speaks for itself.
    """
    sys.stderr.flush()
    there = os.dup(2)
    with tempfile.TemporaryFile() as hidden:
        os.dup2(hidden.fileno(), 2)
        try:
            yield
        except InputError:
            raise
        except BaseException:
            os.dup2(there, 2)
            hidden.seek(0)
            shutil.copyfileobj(hidden, sys.stderr.buffer)
            raise
        finally:
            os.dup2(there, 2)
            os.close(there)
