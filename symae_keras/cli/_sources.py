"""Loading of data that a user or a recipe names, for all commands."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import symae_keras as sk
from symae_keras._utils.text import counted, listed
from symae_keras.cli._run_folder import file_hash
from symae_keras.errors import InputError
from symae_keras.zoo.recipes import call_recipe

if TYPE_CHECKING:
    from symae_keras.data import GroupedData, RaggedGroups, RaggedRows, Shards
    from symae_keras.training import Recipe

    Groups: TypeAlias = GroupedData | RaggedGroups

_log = logging.getLogger("symae_keras")
#: With fewer groups, a model can hardly learn.
_LEAST_GROUPS: Final = 10


def describe_file(path: Path, group: str | None = None) -> str:
    """Describe the content of a file in a few lines."""
    from symae_keras.data.check import clean

    groups = load_unpadded(path, group)
    if not isinstance(groups, sk.data.Shards):
        groups = clean(groups, str(path))
    described = str(groups.describe())
    if few := few_groups(int((groups.counts > 1).sum())):
        described += f"\nwarning: {few}"
    padded = isinstance(groups, sk.data.GroupedData)
    return described if padded else f"{groups!r}; of a sample:\n{described}"


def few_groups(n_groups: int) -> str | None:
    """Return a warning if a model can hardly learn from so few groups."""
    if n_groups >= _LEAST_GROUPS:
        return None
    return (
        f"{counted(n_groups, 'group')} with several instances: a model needs about "
        f"{_LEAST_GROUPS} or more, and bands need 45; measure more objects"
    )


def load_unpadded(
    path: Path, group: str | None = None
) -> GroupedData | RaggedRows | Shards:
    """Load groups, unpadded if padding would take much more memory than the data."""
    try:
        return sk.data.load(path, group)
    except sk.data.UnevenGroups as error:
        # Shards are not padded on loading.
        assert isinstance(error.groups, sk.data.RaggedRows)
        return error.groups


def read_groups(path: Path, group: str | None = None, min_instances: int = 1) -> Groups:
    """Read and check groups; those in shards stay on disk.

    Groups with fewer than `min_instances` instances are left out, with a warning of the
    logger `"symae_keras"`, unless all groups have fewer.

    Raises:
        InputError: The data cannot be used, or all groups have too few instances.
    """
    from symae_keras.data.check import clean, refuse_small

    groups = load_unpadded(path, group)
    # Values were checked when the shards were written.
    if not isinstance(groups, sk.data.Shards):
        # Instances without a good pixel count as absent from here on.
        groups = clean(groups, str(path))
    enough = groups.counts >= min_instances
    if min_instances > 1 and enough.any() and not enough.all():
        few = (~enough).nonzero()[0]
        ids = few if groups.ids is None else groups.ids[few]
        _log.warning(
            "%s: %d of %d groups %s fewer than %d instances and %s not used for "
            "training and evaluation: %s",
            path,
            len(few),
            len(groups),
            "has" if len(few) == 1 else "have",
            min_instances,
            "is" if len(few) == 1 else "are",
            listed(map(str, ids)),
        )
        groups = groups[enough]
    if isinstance(groups, sk.data.Shards):
        refuse_small(groups, min_instances, str(path))
        return groups
    return sk.data.check(groups, min_instances, str(path))


def in_memory(groups: Groups, source: Path) -> GroupedData:
    """Return groups as padded arrays.

    Raises:
        UnevenGroups: Padding would take much more memory than the data.
    """
    try:
        return groups if isinstance(groups, sk.data.GroupedData) else groups.load()
    except sk.data.UnevenGroups as error:
        raise sk.data.UnevenGroups(f"{source}: {error}", error.groups) from None


def padded_sample(groups: Groups) -> GroupedData:
    """Return groups unchanged, or a part of sharded groups that fits into memory."""
    return groups if isinstance(groups, sk.data.GroupedData) else groups.sample()


def split_groups(
    groups: Groups, fraction: float, seed: int, source: str
) -> tuple[Groups, Groups]:
    """Split by state, with the source in the error."""
    try:
        return groups.split(fraction, seed)
    except InputError as error:
        raise InputError(f"{source}: {error}") from None


def train_and_held_out(
    groups: Groups, config: dict[str, Any], source: str
) -> tuple[Groups, GroupedData | None]:
    """Split groups according to the config of a run; `None` if it holds out none."""
    fraction = config["train_fraction"]
    if fraction == 1.0:
        return groups, None
    train, held_out = split_groups(groups, fraction, config["seed"], source)
    return train, padded_sample(held_out)


def data_hash(path: Path) -> str:
    """Return the SHA-256 of a file, or of the files of a folder and their names.

    For shards, the manifest is sufficient, because it contains their checksums.
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


def find_groups(recipe: Recipe, config: dict[str, Any]) -> Groups:
    """Load or simulate the groups that the config of a run names.

    Raises:
        InputError: There are no data, or they cannot be used.
    """
    file, name = config["data"]["file"], config["recipe"]["name"]
    if file is not None:
        return read_groups(Path(file), config["data"].get("group"), min_instances=2)
    if recipe.data is None:
        raise InputError(
            f"The recipe {name} provides no data; specify a file with --data."
        )
    groups = call_recipe(name, "data()", recipe.data, config["seed"])
    if not isinstance(groups, sk.data.GroupedData):
        raise InputError(
            f"data() of the recipe {name} must return symae_keras.data.GroupedData; "
            f"received an object of class {type(groups).__name__}."
        )
    return sk.data.check(
        groups, min_instances=2, source=f"the data of the recipe {name}"
    )
