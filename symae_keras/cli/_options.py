"""Common options of commands, and the import of Keras."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from typer.core import TyperCommand, TyperGroup

from symae_keras.errors import InputError

Group = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="The column or key of your data with the group ids; for a folder "
        "of spectra, a regular expression for the file names.",
        show_default="group",
    ),
]
Seed = Annotated[
    int,
    # The largest seed of NumPy's legacy generator, minus 1 for the demo's second seed.
    typer.Option(min=0, max=2**32 - 2, help="Seed of data, weights and sampling."),
]
RunFolder = Annotated[
    Path, typer.Argument(metavar="RUN", help="A run folder from symae train.")
]
TrustedRecipe = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="The recipe of the run, if it defines its own classes, data or scores. "
        "Its code is executed, so only name a file that you trust.",
        show_default="only recipes of the package",
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


class Command(TyperCommand):
    """Command whose help shows no type for flags, which take no value."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the parameters, including --help."""
        return _untyped(super().get_params(ctx))


class Commands(TyperGroup):
    """The same for a group of commands."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the parameters, including --help."""
        return _untyped(super().get_params(ctx))


def _untyped(params: list[Any]) -> list[Any]:
    for each in params:
        if getattr(each, "is_flag", False):
            each.metavar = ""
    return params


class Resampling(StrEnum):
    """Values of the option --axis."""

    LINEAR = "linear"
    FLUX = "flux"


AxisChange = Annotated[
    Resampling | None,
    typer.Option(
        "--axis",
        help="Resampling of data that are on another axis than the model: linear "
        "interpolates, flux averages over each new pixel.",
        show_default="data on another axis are an error",
    ),
]
#: Backends that support training.
_BACKENDS: Final = ("tensorflow", "jax", "torch")


def import_backend() -> None:
    """Import Keras without the messages that TensorFlow prints at any log level.

    Raises:
        InputError: The selected backend is not installed or does not support training.
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
    """Suppress output to file descriptor 2, unless the body fails.

    The message of an `InputError` is sufficient.
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
