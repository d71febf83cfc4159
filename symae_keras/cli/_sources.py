"""What the user names with --data, ready for a model."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from symae_keras.cli._run_folder import file_hash
from symae_keras.data import GroupedData, RaggedGroups, Shards, check, load
from symae_keras.data.check import clean
from symae_keras.data.ragged import RaggedRows, UnevenGroups
from symae_keras.errors import InputError

Groups = GroupedData | RaggedGroups


def load_unpadded(
    path: Path, group: str | None = None
) -> GroupedData | RaggedRows | Shards:
    """Load groups, without padding where it would take much more memory than the data.

    Args:
        path: File or folder, see `symae_keras.data.load`.
        group: See there.
    """
    try:
        return load(path, group)
    except UnevenGroups as error:
        assert isinstance(error.groups, RaggedRows)  # shards are not padded on loading
        return error.groups


def read_groups(path: Path, group: str | None = None, min_instances: int = 1) -> Groups:
    """Read and check groups; those in shards stay on disk.

    Args:
        path: File or folder, see `symae_keras.data.load`.
        group: See there.
        min_instances: Present instances that every group must have.

    Raises:
        InputError: The data cannot be used.
    """
    groups = load_unpadded(path, group)
    if not isinstance(groups, Shards):
        return check(groups, min_instances, str(path))
    # Values were looked at when the shards were written.
    few = np.flatnonzero(groups.counts < min_instances)
    if len(few):
        raise InputError(
            f"{path}: {len(few)} of {len(groups)} groups have fewer than "
            f"{min_instances} instances; the first is {groups.called(int(few[0]))} "
            f"with {groups.counts[few[0]]}."
        )
    return groups


def describe_file(path: Path, group: str | None = None) -> str:
    """Describe what is in a file, in a few lines."""
    groups = load_unpadded(path, group)
    if not isinstance(groups, Shards):
        groups = clean(groups, str(path))
    described = str(groups.describe())
    padded = isinstance(groups, GroupedData)
    return described if padded else f"{groups!r}; of a sample:\n{described}"


def in_memory(groups: Groups, source: Path) -> GroupedData:
    """Return groups as padded arrays.

    Args:
        groups: From `read_groups`.
        source: Their file, for errors.

    Raises:
        UnevenGroups: Padding would take much more memory than the data.
    """
    try:
        return groups if isinstance(groups, GroupedData) else groups.load()
    except UnevenGroups as error:
        raise UnevenGroups(f"{source}: {error}", error.groups) from None


def split_groups(
    groups: Groups, fraction: float, seed: int, source: str
) -> tuple[Groups, Groups]:
    """Split by state, with the source in the error."""
    try:
        return groups.split(fraction, seed)
    except InputError as error:
        raise InputError(f"{source}: {error}") from None


def data_hash(path: Path) -> str:
    """SHA-256 of a file, or of the files of a folder and their names.

    The manifest of shards has the checksums of their files, so it stands for them.
    """
    if not path.is_dir():
        return file_hash(path)
    manifest = path / "manifest.json"
    if manifest.is_file():
        return file_hash(manifest)
    digest = hashlib.sha256()
    for file in sorted(each for each in path.rglob("*") if each.is_file()):
        digest.update(f"{file.relative_to(path)} {file_hash(file)}\n".encode())
    return digest.hexdigest()
