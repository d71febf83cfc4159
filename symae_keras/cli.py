"""The command `symae`.

Nothing heavy is imported here, so that help and errors of usage come at once.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Final

import typer

import symae_keras
from symae_keras.errors import InputError
from symae_keras.folders import Interrupted
from symae_keras.presets import one_line, preset_names

#: The exit code that typer makes of an interruption.
_TYPER_INTERRUPTED: Final = 130

app = typer.Typer(
    name="symae",
    help="Train grouped autoencoders, judge them and make virtual instances.",
    add_completion=False,
    pretty_exceptions_enable=False,
)

Data = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Your data instead of the recipe's: .npz, .npy, .csv, HDF5, FITS, a "
        "folder of spectra, images or shards.",
    ),
]
Group = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="The column or key of your data that tells the group; for a folder of "
        "spectra a regular expression on the names of the files.",
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
Force = Annotated[
    bool, typer.Option("--force", help="Replace the output if it exists.")
]


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


@app.command()
def demo(
    quick: Annotated[
        bool,
        typer.Option("--quick", help="Train for under a minute, to a lower quality."),
    ] = False,
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="The folder to make.")
    ] = Path("symae_demo"),
    seed: Seed = 0,
    force: Force = False,
) -> None:
    """Train SymAE on simulated stellar exposures and compare it with the limit."""
    cost = "under a minute" if quick else "about two minutes"
    print(f"Training two SymAEs on simulated spectra of stars, {cost}.", flush=True)
    start = time.monotonic()
    _import_backend()
    from symae_keras.demo import PRESETS, run_demo
    from symae_keras.tables import print_demo

    metrics = run_demo(out, quick, seed, force)
    print_demo(metrics)
    if quick:
        print(
            f"Quick form: only {metrics['epochs']} epochs, so the errors are larger "
            "than those of the full demo."
        )
    print(f"Done in {time.monotonic() - start:.0f} s.")
    for name in PRESETS:
        print(f"{out / name}: model.keras, metrics.json and figures/*.png")
    print("Next, with your own data: symae train symae_exposures --data my.npz")


@app.command()
def train(
    recipe: Annotated[
        str,
        typer.Argument(
            metavar="PRESET|recipe.py",
            help=f"A preset ({', '.join(preset_names())}) or the path of a recipe.",
        ),
    ],
    data: Data = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="The run folder to make.", show_default="runs/NAME"
        ),
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(min=1, help="Passes over the data.", show_default="the recipe's"),
    ] = None,
    group: Group = None,
    seed: Seed = 0,
    strategy: Annotated[
        str,
        typer.Option(
            help="none, mirrored (the GPUs of this machine), multiworker (machines "
            "named by TF_CONFIG or srun) or auto."
        ),
    ] = "auto",
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with an interrupted run.")
    ] = False,
    force: Force = False,
) -> None:
    """Train a recipe on four fifths of the states and judge it on the rest."""
    _import_backend()
    from symae_keras.jobs.train import train_run
    from symae_keras.tables import print_metrics

    folder, metrics = train_run(
        recipe, data, out, epochs, seed, resume, force, group, strategy
    )
    if metrics is None:
        print(f"{folder} is complete already.")
        return
    print_metrics(metrics)
    print(f"{folder}: model.keras, metrics.json and figures/*.png")


@app.command()
def evaluate(
    run: RunFolder,
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Groups to judge by, written to metrics-NAME.json for NAME.npz.",
            show_default="the held-out part, written to metrics.json",
        ),
    ] = None,
    leakage: Annotated[
        bool,
        typer.Option(help="Probe the codes, where true parameters are known."),
    ] = True,
    group: Group = None,
) -> None:
    """Judge a trained run and write the metrics into its folder."""
    _import_backend()
    from symae_keras.jobs.evaluate import evaluate_run
    from symae_keras.tables import print_leakage, print_metrics

    file, metrics, leaks = evaluate_run(run, data, leakage, group)
    print_metrics(metrics)
    if leaks is not None:
        print_leakage(leaks)
    print(f"Written to {file}")


@app.command()
def redatum(
    run: RunFolder,
    coherent_from: Annotated[
        Path, typer.Option(metavar="A", help="Groups whose states are shown.")
    ],
    nuisance_from: Annotated[
        Path,
        typer.Option(
            metavar="B",
            help="Groups whose nuisances they are shown under; as many, or one group "
            "in either file.",
        ),
    ],
    out: Annotated[
        Path, typer.Option(metavar="FILE", help="The .npz or .csv file to write.")
    ],
    group: Group = None,
    force: Force = False,
) -> None:
    """Make virtual instances: the states of A under the nuisances of B."""
    _import_backend()
    from symae_keras.jobs.redatum import redatum_files

    virtual = redatum_files(run, coherent_from, nuisance_from, out, force, group)
    print(f"{out}: x {virtual.x.shape}")


@app.command()
def anomalies(
    run: RunFolder,
    data: Annotated[
        Path, typer.Option(metavar="FILE", help="Groups to look for anomalies in.")
    ],
    out: Annotated[
        Path, typer.Option(metavar="CSV", help="The table to write, strangest first.")
    ],
    group: Group = None,
    force: Force = False,
) -> None:
    """Find instances that a run reconstructs worse than those it held out."""
    _import_backend()
    from symae_keras.jobs.anomalies import find_anomalies

    found = find_anomalies(run, data, out, force, group)
    rare = int((found.p_value <= 0.01).sum())
    print(
        f"{rare} of {len(found.p_value)} instances have p <= 0.01, where chance would "
        f"make it {0.01 * len(found.p_value):.1f}; {found.n_normal} held-out instances "
        "tell what is normal."
    )
    print(f"{out}: group, instance, score and p_value, strangest first")


@app.command("compare")
def compare_models(
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Grouped data; a fifth of the groups is held out to judge by.",
            show_default="simulated exposures",
        ),
    ] = None,
    models: Annotated[
        str | None,
        typer.Option(
            metavar="A,B,C",
            help="Names of models, or all.",
            show_default="all grouped models and references",
        ),
    ] = None,
    seeds: Annotated[
        int | None,
        typer.Option(
            min=1, help="Trainings of each model.", show_default="3, or 1 with --quick"
        ),
    ] = None,
    encoder: Annotated[
        str, typer.Option(help="Networks of all models: dense, conv1d or conv2d.")
    ] = "dense",
    quick: Annotated[
        bool,
        typer.Option("--quick", help="A quarter of the steps, in a few minutes."),
    ] = False,
    out: Annotated[
        Path,
        typer.Option(
            metavar="DIR", help="The folder to make, or to go on in after a stop."
        ),
    ] = Path("symae_compare"),
    group: Group = None,
) -> None:
    """Train models on the same data and put them into one table and one figure."""
    _import_backend()
    from symae_keras.jobs.compare import compare_run
    from symae_keras.tables import print_comparison

    names = None if models is None else [each.strip() for each in models.split(",")]
    print_comparison(compare_run(out, data, names, seeds, quick, encoder, group))
    print(f"{out}: comparison.md, comparison.csv, rows.csv and the figure")


data_app = typer.Typer(help="Look at data and convert them.")
app.add_typer(data_app, name="data")

Files = Annotated[
    list[Path], typer.Argument(metavar="FILE...", help="Files or folders, in order.")
]


@data_app.command()
def describe(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A file or folder.")],
    group: Group = None,
) -> None:
    """Say what is in a file: sizes, what is missing, variances, warnings."""
    from symae_keras.jobs.sources import describe_file

    print(describe_file(file, group))


@data_app.command()
def convert(
    files: Files,
    out: Annotated[Path, typer.Option(metavar="DIR", help="The folder to make.")],
    group: Group = None,
    shard_mb: Annotated[int, typer.Option(min=1, help="Size of a file in MiB.")] = 256,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with an interrupted conversion.")
    ] = False,
    force: Force = False,
) -> None:
    """Write data into checksummed shards, for sets that do not fit into memory."""
    from symae_keras.jobs.convert import convert

    print(f"{out}: {convert(files, out, group, shard_mb, resume, force)!r}")


@data_app.command()
def verify(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A folder of shards.")],
) -> None:
    """Read all shards once and compare checksums."""
    from symae_keras.data import Shards

    shards = Shards(folder)
    shards.verify()
    print(f"{folder}: {shards!r}, all checksums fit")


def _import_backend() -> None:
    """Import Keras without the notices that TensorFlow prints whatever the level."""
    if "keras" in sys.modules:
        return
    if os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3") != "3":
        import keras  # noqa: F401  # with the notices that the user asked for

        return
    with _stderr_aside():
        import keras  # noqa: F401


@contextlib.contextmanager
def _stderr_aside() -> Iterator[None]:
    """Hide what is written to file descriptor 2, unless the body fails."""
    sys.stderr.flush()
    there = os.dup(2)
    with tempfile.TemporaryFile() as hidden:
        os.dup2(hidden.fileno(), 2)
        try:
            yield
        except BaseException:
            os.dup2(there, 2)
            hidden.seek(0)
            shutil.copyfileobj(hidden, sys.stderr.buffer)
            raise
        finally:
            os.dup2(there, 2)
            os.close(there)


class _Notes(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        _say(f"note: {record.getMessage()}")


def _say(sentence: str) -> None:
    print("symae:", " ".join(sentence.split()), file=sys.stderr, flush=True)


def main(args: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        args: Arguments; `None` takes those of the process.

    Returns:
        0 when done, 2 for unusable input, 1 otherwise.
    """
    args = list(sys.argv[1:] if args is None else args)
    # Taken out here, so that it can be added behind a command that failed.
    debug = "--debug" in args
    args = [each for each in args if each != "--debug"] or ["--help"]
    log, notes = logging.getLogger("symae_keras"), _Notes(logging.WARNING)
    log.addHandler(notes)
    try:
        code = app(args=args, prog_name="symae", standalone_mode=False)
        if code != _TYPER_INTERRUPTED:
            return int(code or 0)
        _say("interrupted")
        return 1
    except Exception as error:
        if debug:
            traceback.print_exc()
        return _report(error)
    finally:
        log.removeHandler(notes)


def _report(error: Exception) -> int:
    """Say in one line what went wrong, and choose the exit code."""
    if isinstance(error, InputError):
        _say(str(error))
        return 2
    # A usage error; its class depends on the version of typer.
    if hasattr(error, "format_message"):
        _say(f"{error.format_message().rstrip('.')}; see symae --help.")
        return 2
    if isinstance(error, Interrupted):
        _say(str(error))
    else:
        _say(f"internal error: {one_line(error)}; see where with --debug")
    return 1


if __name__ == "__main__":
    sys.exit(main())
