"""Convert data into shards, which are read as they are needed."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.progress import Progress

from symae_keras.data import Shards, ShardWriter
from symae_keras.data.check import clean
from symae_keras.errors import InputError
from symae_keras.folders import (
    CHECKPOINT,
    Draft,
    Interrupted,
    read_json,
    write_json,
)
from symae_keras.jobs.sources import load_unpadded

CONTENTS: Final = (
    "manifest.json",
    "manifest.json.partial",
    "shard-*.bin",
    "shard-*.npz",
    "shard-*.partial",
    CHECKPOINT,
)
#: Bytes that are looked at together.
_BYTES_AT_ONCE: Final = 64 << 20


def convert(
    inputs: Sequence[Path],
    out: Path,
    group: str | None = None,
    shard_mb: int = 256,
    resume: bool = False,
    force: bool = False,
) -> Shards:
    """Write the groups of some files, one file after the other, into shards.

    Args:
        inputs: Files and folders that `load` reads. Each must fit into memory, except
            .npy files, which stay on disk.
        out: The folder to make.
        group: See `load`.
        shard_mb: Size of a shard in MiB.
        resume: Go on with an interrupted conversion.
        force: Replace `out`, or discard an interrupted conversion.

    Returns:
        The shards.

    Raises:
        InputError: Something cannot be read or written; a conversion that has been
            interrupted stays aside.
        Interrupted: The user stopped it.
    """
    draft = Draft(out, CONTENTS, resume, force)
    if draft.complete:
        return Shards(out)
    settings = {
        "inputs": [_fingerprint(each) for each in inputs],
        "group": group,
        "shard_mb": shard_mb,
    }
    progress_file = Path(CHECKPOINT) / "convert.json"
    if draft.resumes and read_json(draft.aside / progress_file) != settings:
        raise InputError(
            f"{draft.aside} was started from other data or settings; give --force "
            "instead of --resume to begin again."
        )
    try:
        with draft as folder:
            (folder / CHECKPOINT).mkdir(exist_ok=True)
            write_json(folder / progress_file, settings)
            try:
                with ShardWriter(folder, shard_mb << 20) as writer:
                    _write(writer, inputs, group)
            except BaseException:
                if not any(folder.glob("shard-*.npz")):  # nothing to go on from
                    shutil.rmtree(folder / CHECKPOINT)
                raise
            shutil.rmtree(folder / CHECKPOINT)
    except KeyboardInterrupt:
        if not draft.resumable:
            raise
        raise Interrupted(
            f"interrupted; {draft.aside} is kept, go on with the same command and "
            "--resume"
        ) from None
    return Shards(out)


def _write(writer: ShardWriter, inputs: Sequence[Path], group: str | None) -> None:
    skip = writer.resume()
    console = Console(stderr=True)
    with Progress(console=console, disable=not console.is_terminal) as bar:
        for n, path in enumerate(inputs):
            groups = load_unpadded(path, group)
            if isinstance(groups, Shards):
                raise InputError(f"{path} holds shards already.")
            task = bar.add_task(path.name, total=len(groups), completed=skip)
            for start, part in groups[skip:].parts(_BYTES_AT_ONCE):
                first = skip + start
                source = f"{path}, groups from {first} on"
                writer.add(clean(part, str(path), first), source)
                bar.update(task, completed=first + len(part))
            skip = max(0, skip - len(groups))
            if not console.is_terminal:
                print(
                    f"{path}: {len(groups)} groups, {n + 1} of {len(inputs)} done",
                    file=sys.stderr,
                    flush=True,
                )


def _fingerprint(path: Path) -> list[Any]:
    """What tells whether a source is still the same, at no cost."""
    try:
        found = path.stat()
    except OSError:
        raise InputError(f"{path} does not exist, or is closed to you.") from None
    return [str(path.resolve()), found.st_size, found.st_mtime_ns]
