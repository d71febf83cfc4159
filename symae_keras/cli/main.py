"""The command `symae`.

Nothing slow is imported here, so that help and usage errors appear immediately.
"""

from __future__ import annotations

import contextlib
import errno
import io
import logging
import signal
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from typing import Annotated, Final

import typer

import symae_keras
from symae_keras._utils.files import disk_error
from symae_keras._utils.folders import Interrupted
from symae_keras._utils.text import one_line
from symae_keras.cli import data, zoo
from symae_keras.cli._options import Command, Commands
from symae_keras.cli.adapt import adapt
from symae_keras.cli.anomalies import anomalies
from symae_keras.cli.compare import compare
from symae_keras.cli.demo import demo
from symae_keras.cli.encode import encode
from symae_keras.cli.evaluate import evaluate
from symae_keras.cli.explore import explore
from symae_keras.cli.export import export
from symae_keras.cli.redatum import redatum
from symae_keras.cli.report import report
from symae_keras.cli.train import train
from symae_keras.cli.transfer import transfer
from symae_keras.cli.tune import tune
from symae_keras.errors import InputError

#: The exit code of typer for an interruption.
_TYPER_INTERRUPTED: Final = 130

#: Errors in names that the user gave, as opposed to errors of the machine.
_OF_NAMES: Final = (
    errno.ENAMETOOLONG,
    errno.ENOENT,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.EACCES,
    errno.EPERM,
    errno.ELOOP,
    errno.EINVAL,
    errno.EROFS,
)

app = typer.Typer(
    name="symae",
    help="Train grouped autoencoders, evaluate them and create virtual instances.",
    add_completion=False,
    cls=Commands,
    pretty_exceptions_enable=False,
)

for command in (
    *(demo, train, tune, evaluate, report),
    *(redatum, adapt, transfer, encode, anomalies, compare, explore, export),
):
    app.command(cls=Command)(command)
app.add_typer(data.app, name="data")
app.add_typer(zoo.app, name="zoo")


def _version(asked: bool) -> None:
    if asked:
        print(f"symae_keras {symae_keras.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_version, is_eager=True, help="Print the version."
        ),
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of an error.")
    ] = False,
) -> None:
    pass


class _Notes(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        _say(f"note: {record.getMessage()}")


def _say(sentence: str) -> None:
    print("symae:", " ".join(sentence.split()), file=sys.stderr, flush=True)


def main(args: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        args: Arguments; `None` uses those of the process.

    Returns:
        0 for success, 2 for unusable input, 1 otherwise.
    """
    args = list(sys.argv[1:] if args is None else args)
    # Removed here, so that it can be appended to a failed command.
    debug = "--debug" in args
    args = [each for each in args if each != "--debug"] or ["--help"]
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A group called "Šárka" must not cause an error in an ASCII locale.
            stream.reconfigure(errors="backslashreplace")
    log, notes = logging.getLogger("symae_keras"), _Notes(logging.WARNING)
    log.addHandler(notes)
    try:
        with _terminated_as_interrupted():
            code = app(args=args, prog_name="symae", standalone_mode=False)
        if code != _TYPER_INTERRUPTED:
            return int(code or 0)
        _say("interrupted")
        return 1
    except KeyboardInterrupt:
        _say("interrupted")
        return 1
    except Exception as error:
        if debug:
            traceback.print_exc()
        return _report(error)
    finally:
        log.removeHandler(notes)


@contextlib.contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """Raise KeyboardInterrupt at SIGTERM, which schedulers send before SIGKILL."""
    main_thread = threading.current_thread() is threading.main_thread()
    if not main_thread or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _report(error: Exception) -> int:
    """Print the error in one line, and return the exit code."""
    if isinstance(error, InputError):
        _say(str(error))
        return 2
    # A usage error; its class depends on the version of typer.
    if hasattr(error, "format_message"):
        where = getattr(getattr(error, "ctx", None), "command_path", "symae")
        _say(f"{error.format_message().rstrip('.')}; see {where} --help.")
        return 2
    if isinstance(error, Interrupted):
        _say(str(error))
    elif isinstance(error, MemoryError):
        _say(
            "there is not enough memory for these data; use fewer groups or pixels, "
            "or write them into shards with symae data convert"
        )
    elif (reason := disk_error(error)) is not None:
        _say(f"the disk is full: {reason}; free space and try again")
    elif isinstance(error, OSError) and error.filename is not None:
        _say(f"{error.filename}: {error.strerror}; choose another file or folder.")
        return 2 if error.errno in _OF_NAMES else 1
    else:
        _say(f"internal error: {one_line(error)}; for the traceback, add --debug")
    return 1
