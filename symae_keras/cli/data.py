"""`symae data`: describe, convert and verify data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import symae_keras as sk
from symae_keras.cli._options import Files, Force, Group
from symae_keras.cli._sources import describe_file

app = typer.Typer(help="Describe, convert and verify data.")


@app.command()
def describe(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A file or folder.")],
    group: Group = None,
) -> None:
    """Describe a file: sizes, missing values, variances, warnings."""
    print(describe_file(file, group))


@app.command()
def convert(
    files: Files,
    out: Annotated[Path, typer.Option(metavar="DIR", help="The folder to make.")],
    group: Group = None,
    shard_mb: Annotated[int, typer.Option(min=1, help="Size of a file in MiB.")] = 256,
    resume: Annotated[
        bool, typer.Option("--resume", help="Resume an interrupted conversion.")
    ] = False,
    force: Force = False,
) -> None:
    """Write data into checksummed shards, for sets that do not fit into memory."""
    from symae_keras.cli.convert import convert

    print(f"{out}: {convert(files, out, group, shard_mb, resume, force)!r}")


@app.command()
def verify(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A folder of shards.")],
) -> None:
    """Read all shards once and compare checksums."""
    shards = sk.data.Shards(folder)
    shards.verify()
    print(f"{folder}: {shards!r}, all checksums fit")
