"""Groups on disk that are read when they are needed."""

from __future__ import annotations

import functools
import math
from os import PathLike
from pathlib import Path
from typing import Any, Final

import numpy as np

from symae_keras._utils.untrusted_files import parse_json, read_bounded
from symae_keras.data.groups import Array, Parameters
from symae_keras.data.io._shard_files import (
    FIELDS,
    FORMAT,
    MANIFEST,
    VERSION,
    checksum,
    damaged,
    map_shard,
    name_of,
    read_index,
)
from symae_keras.data.ragged import RaggedGroups
from symae_keras.data.split import group_name
from symae_keras.errors import InputError

_MANIFEST_BYTES: Final = 64 << 20
#: Number of shards whose files are open at once.
_OPEN: Final = 64


class Shards(RaggedGroups):
    """Groups in files that `ShardWriter` or `symae data convert` wrote.

    `Shards` replaces `GroupedData` in `batches` and training. The files are
    memory-mapped, and only the data of a batch are read. The CRC-32 of each group is
    checked when the group is first read. Selecting groups copies nothing. Do not
    truncate files in use: the operating system kills a process that reads past their
    end.

    Args:
        folder: The folder with `manifest.json`. Folders written by version 0.1 are
            supported.

    Raises:
        InputError: The folder does not contain a complete set of shards.

    Example:
    >>> import tempfile
    >>> from symae_keras.data import GroupedData, ShardWriter
    >>> folder = tempfile.mkdtemp()
    >>> with ShardWriter(folder) as writer:
    ...     writer.add(GroupedData(np.ones((100, 4, 64))))
    >>> shards = Shards(folder)
    >>> shards, shards[:10].load().x.shape
    (100 groups of 4 instances of shape (64,) in 1 shard, (10, 4, 64))
    """

    def __init__(self, folder: str | PathLike[str]) -> None:
        self.folder = Path(folder)
        version, entries = _read_manifest(self.folder)
        kinds, parts = [], []
        for number, entry in enumerate(entries):
            path = self.folder / name_of(number, "npz")
            kind, arrays, crc32 = read_index(self.folder, number)
            if entry != (len(arrays["counts"]), crc32):
                raise damaged(path, "its checksum or its number of groups is wrong")
            kinds.append(kind)
            parts.append(arrays)
            kinds[0].refuse_other(kind, path)
        self._kind = kind = kinds[0]
        self.axis, self.axis_label = kind.axis, kind.axis_label
        self.instance_shape = kind.instance_shape
        self.instance_bytes = kind.instance_bytes
        self.has_pixel_mask = "pixel_mask" in kind.fields
        self.has_weights = "weights" in kind.fields
        self._known = {
            key: np.concatenate([each[key] for each in parts])
            for key in ("counts", "crc32", *kind.known)
        }
        self._counts = self._known["counts"]
        self._checked = np.zeros(len(self._counts), bool)
        counts = [each["counts"] for each in parts]
        self._shard = np.repeat(np.arange(len(parts)), [len(each) for each in counts])
        #: Start of each group in its shard, and of its metadata in those of all groups.
        self._start = np.concatenate([_starts(each) for each in counts])
        self._rows = _starts(self._counts)
        self._files = self.folder, kind, [int(each.sum()) for each in counts], version
        self.__setstate__({})
        for number in range(len(parts)):
            self._arrays(number)  # raises an error if a file does not match its index
        self._choose(np.arange(len(self._counts)))

    def __getstate__(self) -> dict[str, Any]:
        return {key: v for key, v in self.__dict__.items() if key != "_arrays"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        # Copies, such as those in other processes, map the files again.
        self.__dict__ |= state
        mapped = functools.partial(map_shard, *self._files)
        self._arrays = functools.lru_cache(_OPEN)(mapped)

    def __repr__(self) -> str:
        shards = len(self._files[2])
        return f"{super().__repr__()} in {shards} shard{'s' * (shards != 1)}"

    @property
    def ids(self) -> Array | None:
        """The name of each group, `(groups,)`, if they have names."""
        return self._known["ids"][self._chosen] if "ids" in self._known else None

    @property
    def group_metadata(self) -> Parameters:
        """Metadata of each group."""
        return self._metadata("group/", self._chosen)

    def verify(self) -> None:
        """Read all groups once and check them.

        Raises:
            InputError: A group is damaged; the message names the file and the group.
        """
        self._checked[self._chosen] = False
        for each in self._chosen:
            self._record(int(each))

    def _metadata(self, prefix: str, rows: Array) -> Parameters:
        return {
            key.removeprefix(prefix): values[rows]
            for key, values in self._known.items()
            if key.startswith(prefix)
        }

    def _rows_of(
        self, counts: Array, place: Array
    ) -> tuple[dict[str, Array], Parameters]:
        records = [self._record(each) for each in self._chosen.tolist()]
        places = np.split(place, np.cumsum(counts)[:-1])
        pairs = list(zip(records, places, strict=True))
        rows = np.repeat(self._rows[self._chosen], counts) + place
        return (
            {
                key: np.concatenate([record[key][own] for record, own in pairs])
                for key in self._kind.fields
            },
            self._metadata("instance/", rows),
        )

    def _record(self, group: int) -> dict[str, Array]:
        record = self._mapped(group)
        if not self._checked[group]:
            if checksum(record.values()) != self._known["crc32"][group]:
                name = self._known["ids"][group] if "ids" in self._known else None
                path = self.folder / name_of(self._shard[group], "*")
                where = group_name(group, name)
                raise damaged(path, f"the checksum of {where} is wrong")
            self._checked[group] = True
        return record

    def _mapped(self, group: int) -> dict[str, Array]:
        first, count = int(self._start[group]), int(self._counts[group])
        arrays = self._arrays(int(self._shard[group]))
        if "bin" not in arrays:
            return {key: each[first : first + count] for key, each in arrays.items()}
        # Version 1: the fields of a group are concatenated.
        start, shape = first * self.instance_bytes, (count, *self.instance_shape)
        record = {}
        for key in self._kind.fields:
            stop = start + math.prod(shape) * FIELDS[key].itemsize
            record[key] = arrays["bin"][start:stop].view(FIELDS[key]).reshape(shape)
            start = stop
        return record


def _starts(counts: Array) -> Array:
    return np.cumsum(counts) - counts


def _read_manifest(folder: Path) -> tuple[int, list[tuple[object, object]]]:
    """Return the format version, and the groups and the CRC-32 of each index."""
    path = folder / MANIFEST
    if not path.exists():
        raise InputError(
            f"{folder} has no {MANIFEST}, so it is not a complete set of shards; make "
            "one with symae data convert."
        )
    content = read_bounded(path, _MANIFEST_BYTES)
    try:
        manifest = parse_json(content)
        found = manifest["format"], manifest["version"]
        entries = [(each["groups"], each["index_crc32"]) for each in manifest["shards"]]
        groups, listed = manifest["groups"], sum(each for each, _ in entries)
    except (ValueError, KeyError, TypeError) as error:
        # A decoding error would quote the whole file.
        reason = f"{type(error).__name__}: {getattr(error, 'reason', error)}"
        raise damaged(path, reason) from None
    if found not in ((FORMAT, 1), (FORMAT, VERSION)):
        raise InputError(
            f"{path} is of another format, {found[0]} {found[1]}; expected {FORMAT} "
            f"{VERSION}."
        )
    if not entries or groups != listed:
        raise damaged(path, f"its shards have {listed} groups, not {groups}")
    return found[1], entries
