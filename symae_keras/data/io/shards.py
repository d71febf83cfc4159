"""Groups on disk that are read as they are needed."""

from __future__ import annotations

import json
import os
import threading
import zlib
from collections import OrderedDict
from os import PathLike
from pathlib import Path
from typing import Any, Final

import numpy as np

from symae_keras.data.groups import Array, Parameters
from symae_keras.data.io._shard_files import FORMAT, MANIFEST, VERSION, Layout
from symae_keras.data.ragged import RaggedGroups
from symae_keras.data.split import group_name
from symae_keras.errors import InputError

_OPEN_FILES: Final = 64
#: What is read of a manifest besides the shards.
_MANIFEST_KEYS: Final = ("instance_shape", "pixel_mask", "weights", "axis_label")


class Shards(RaggedGroups):
    """Groups in the files that `ShardWriter` or `symae data convert` wrote.

    It stands where `GroupedData` does in `batches` and training, but only what a batch
    needs is read, a group at a time, each checked by its CRC-32. Selecting groups
    copies nothing.

    Args:
        folder: The folder, which holds `manifest.json`.

    Raises:
        InputError: The folder holds no complete set of shards.

    Example:
    >>> import tempfile
    >>> from symae_keras.data import GroupedData, ShardWriter
    >>> folder = tempfile.mkdtemp()
    >>> with ShardWriter(folder) as writer:
    ...     writer.add(GroupedData(np.ones((100, 4, 64))))
    >>> shards = Shards(folder)
    >>> shards, shards[:10].load().x.shape
    (100 groups of 4 instances of shape (64,) in 1 file, (10, 4, 64))
    """

    def __init__(self, folder: str | PathLike[str]) -> None:
        self.folder = Path(folder)
        manifest = _read_manifest(self.folder)
        self.layout = Layout(
            tuple(manifest["instance_shape"]),
            manifest["pixel_mask"],
            manifest["weights"],
        )
        self.instance_shape = self.layout.instance_shape
        self.instance_bytes = self.layout.instance_bytes
        self.has_pixel_mask = self.layout.pixel_mask
        self.has_weights = self.layout.weights
        self.axis_label = manifest["axis_label"]
        self._paths = [str(self.folder / each["file"]) for each in manifest["shards"]]
        parts = [
            _read_index(self.folder, shard, self.layout) for shard in manifest["shards"]
        ]
        self.axis = parts[0].get("axis")
        join = {
            key: np.concatenate([each[key] for each in parts])
            for key in parts[0]
            if key not in ("axis", "axis_label", "fields", "instance_shape")
        }
        self._counts = join.pop("counts")
        self._crc = join.pop("crc32")
        self._ids: Array | None = join.pop("ids", None)
        self._metadata = join
        self._shard = np.repeat(np.arange(len(parts)), [len(p["crc32"]) for p in parts])
        starts = [self.layout.offsets(each["counts"])[:-1] for each in parts]
        self._start = np.concatenate(starts)
        #: Where the metadata of the instances of each group begin.
        self._rows = np.cumsum(self._counts) - self._counts
        self._files = _OpenFiles()
        self._choose(np.arange(len(self._counts)))

    def __repr__(self) -> str:
        files = len(self._paths)
        return f"{super().__repr__()} in {files} file{'s' * (files != 1)}"

    @property
    def ids(self) -> Array | None:
        """The name of each group, `(groups,)`, if they have names."""
        return None if self._ids is None else self._ids[self._chosen]

    @property
    def group_metadata(self) -> Parameters:
        """What is known about each group."""
        return {
            key.removeprefix("group/"): value[self._chosen]
            for key, value in self._metadata.items()
            if key.startswith("group/")
        }

    def verify(self) -> None:
        """Read everything once.

        Raises:
            InputError: A record is damaged; the sentence names file and group.
        """
        for each in self._chosen:
            self._record(int(each))

    def _rows_of(
        self, counts: Array, place: Array
    ) -> tuple[dict[str, Array], Parameters]:
        chosen = self._chosen.tolist()
        records = [self._record(each) for each in chosen]
        places = np.split(place, np.cumsum(counts)[:-1])
        pairs = list(zip(records, places, strict=True))
        rows = np.repeat(self._rows[self._chosen], counts) + place
        return (
            {
                key: np.concatenate([record[key][own] for record, own in pairs])
                for key in self.layout.fields
            },
            {
                key.removeprefix("instance/"): values[rows]
                for key, values in self._metadata.items()
                if key.startswith("instance/")
            },
        )

    def _record(self, group: int) -> dict[str, Array]:
        path = self._paths[self._shard[group]]
        count = int(self._counts[group])
        size = count * self.layout.instance_bytes
        try:
            record = self._files.read(path, size, int(self._start[group]))
        except OSError as error:
            raise InputError(
                f"{path} cannot be read: {error.strerror or error}."
            ) from None
        if len(record) != size or zlib.crc32(record) != self._crc[group]:
            name = None if self._ids is None else self._ids[group]
            raise InputError(
                f"{path} is damaged at {group_name(group, name)}: its checksum does "
                "not fit; convert the data again."
            )
        return self.layout.unpack(record, count)


class _OpenFiles:
    """The files that were read last, open until nobody needs them.

    Threads may share them; copies and other processes open files of their own.
    """

    def __init__(self) -> None:
        self._open: OrderedDict[str, int] = OrderedDict()
        self._lock = threading.Lock()

    def read(self, path: str, size: int, start: int) -> bytes:
        """Some bytes of a file."""
        # Or another thread could close the file before it is read.
        with self._lock:
            if path not in self._open:
                if len(self._open) >= _OPEN_FILES:
                    os.close(self._open.popitem(last=False)[1])
                self._open[path] = os.open(path, os.O_RDONLY)
            self._open.move_to_end(path)
            return os.pread(self._open[path], size, start)

    def __del__(self) -> None:
        for file in self._open.values():
            os.close(file)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), ()


def _read_manifest(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    try:
        manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if manifest["format"] != FORMAT or manifest["version"] != VERSION:
            raise InputError(
                f"{path} is of another format, {manifest['format']} "
                f"{manifest['version']}; expected {FORMAT} {VERSION}."
            )
        if not manifest["shards"]:
            raise InputError(f"{path} lists no shards.")
        for key in _MANIFEST_KEYS:
            manifest[key]
        for shard in manifest["shards"]:
            shard["file"], shard["index_crc32"]
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(
            f"{folder} has no {MANIFEST}, so it is no complete set of shards; make "
            "one with symae data convert."
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        # An error of decoding quotes the whole file.
        reason = getattr(error, "reason", error)
        raise InputError(
            f"{path} cannot be read: {type(error).__name__}: {reason}; convert the "
            "data again."
        ) from None
    return manifest


def _read_index(
    folder: Path, shard: dict[str, Any], layout: Layout
) -> dict[str, Array]:
    path = folder / shard["file"]
    index = path.with_suffix(".npz")
    try:
        content = index.read_bytes()
        if zlib.crc32(content) != shard["index_crc32"]:
            raise ValueError("its checksum does not fit")
        with np.load(index, allow_pickle=False) as file:
            arrays = dict(file)
        size = path.stat().st_size
    except (OSError, ValueError) as error:
        raise InputError(
            f"{folder} is damaged at {index.name}: {error}; convert the data again."
        ) from None
    expected = int(layout.offsets(arrays["counts"])[-1])
    if size != expected:
        raise InputError(
            f"{path} has {size} bytes where {expected} were written; convert the data "
            "again."
        )
    return arrays
