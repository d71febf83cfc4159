"""`symae data`: describe, convert and verify data, and predict achievable errors."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

import symae_keras as sk
from symae_keras._utils.folders import Draft, Interrupted
from symae_keras._utils.validation import is_number
from symae_keras.cli._options import (
    Command,
    Commands,
    Force,
    Group,
    Seed,
    import_backend,
)
from symae_keras.cli._progress import ProgressDisplay
from symae_keras.cli._sources import (
    data_hash,
    describe_file,
    load_unpadded,
    padded_sample,
    read_groups,
)
from symae_keras.cli._tables import print_table
from symae_keras.errors import InputError

if TYPE_CHECKING:
    from symae_keras.data import ShardWriter

#: Version 0.1 wrote `.bin` files.
_CONTENTS: Final = ("manifest.json", "shard-[0-9]*.npy", "shard-[0-9]*.bin")
#: A shard with an index is complete; resuming starts after it.
_STATE: Final = ("shard-[0-9]*.npz",)
#: Number of bytes that are processed together.
_BYTES_AT_ONCE: Final = 64 << 20

app = typer.Typer(
    help="Describe, convert and verify data, and predict achievable errors.",
    cls=Commands,
)


@app.command(cls=Command)
def describe(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A file or folder.")],
    group: Group = None,
) -> None:
    """Describe a file: sizes, missing values, variances, warnings."""
    print(describe_file(file, group))


@app.command(cls=Command)
def limit(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A file or folder.")],
    group: Group = None,
    error: Annotated[
        float | None,
        typer.Option(
            metavar="ERROR",
            help="A redatuming error, such as 0.05: also print the number of instances "
            "per group that is needed for it.",
            show_default=False,
        ),
    ] = None,
    seed: Seed = 0,
) -> None:
    """Predict, before training, the redatuming error of the best linear method."""
    if error is not None and not (is_number(error) and error > 0.0):
        raise InputError(
            f"--error must be a positive number, such as 0.05; received {error:g}."
        )
    groups = padded_sample(read_groups(file, group))
    import_backend()
    try:
        found = sk.evaluation.redatuming_limit(groups, seed=seed)
    except InputError as problem:
        raise InputError(f"{file}: {problem}") from None
    rows = zip(found.n_instances, found.errors, found.intervals, strict=True)
    print_table(
        ("instances per group", "predicted error", f"{found.level:.0%} interval"),
        ([str(n), value, f"{low:.4f} to {high:.4f}"] for n, value, (low, high) in rows),
    )
    print(
        f"Of each error, {found.interaction:.4f} is due to nuisances that act "
        f"differently on each state, and {found.noise:.4f} to pixel noise. A "
        "nonlinear model such as SymAE can have a lower error."
    )
    if error is not None:
        needed = found.instances_for(error)
        print(
            f"A linear method cannot achieve an error of {error:g}, with any number of "
            "instances."
            if needed is None
            else f"An error of {error:g} needs {needed} instances per group."
        )
    for warning in found.warnings:
        print(f"warning: {warning}")


@app.command(cls=Command)
def convert(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE...", help="Files or folders, in order."),
    ],
    out: Annotated[Path, typer.Option(metavar="DIR", help="The output folder.")],
    group: Group = None,
    shard_mb: Annotated[int, typer.Option(min=1, help="Size of a file in MiB.")] = 256,
    resume: Annotated[
        bool, typer.Option("--resume", help="Resume an interrupted conversion.")
    ] = False,
    force: Force = False,
) -> None:
    """Write data into checksummed shards, for data that do not fit into memory."""
    made_from: dict[str, Any] = {
        "inputs": len(files),
        **{f"input {n}": _named(path) for n, path in enumerate(files, 1)},
        "group": group,
        "shard_mb": shard_mb,
    }
    draft = Draft(out, _CONTENTS, resume, force, files, made_from, _STATE)
    if not draft.complete:
        try:
            with draft as folder, sk.data.ShardWriter(folder, shard_mb << 20) as writer:
                _write(writer, files, group)
        except KeyboardInterrupt:
            if not draft.resumable:
                raise
            raise Interrupted(
                f"interrupted; {draft.partial} is kept, resume with the same command "
                "and --resume"
            ) from None
    print(f"{out}: {sk.data.Shards(out)!r}")


@app.command(cls=Command)
def verify(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A folder of shards.")],
) -> None:
    """Read all shards and verify their checksums."""
    shards = sk.data.Shards(folder)
    shards.verify()
    print(f"{folder}: {shards!r}, all checksums match")


def _named(path: Path) -> str:
    """Return the name and the checksum of an input."""
    if not path.exists():
        raise InputError(f"{path} does not exist, or cannot be accessed.")
    return f"{path.name}, SHA-256 {data_hash(path)}"


def _write(writer: ShardWriter, inputs: Sequence[Path], group: str | None) -> None:
    from symae_keras.data.check import clean

    skip = writer.resume()
    for path in inputs:
        groups = load_unpadded(path, group)
        total = len(groups)
        with ProgressDisplay(str(path), total) as progress:
            progress.start(min(skip, total))
            for start, part in groups[skip:].parts(_BYTES_AT_ONCE):
                first = skip + start
                source = f"{path}, groups from {first} on"
                writer.add(clean(part, str(path), first), source)
                done = first + len(part)
                progress.update(done, f"{done} of {total} groups done")
        skip = max(0, skip - total)
