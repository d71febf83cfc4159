"""Groups on disk that are read as they are needed."""

from __future__ import annotations

import json
import os
import threading
import zlib
from collections import OrderedDict
from os import PathLike
from pathlib import Path
from typing import Any, Final, Self

import numpy as np

from symae_keras.data.grouping import padding
from symae_keras.data.groups import Array, GroupedData, Parameters
from symae_keras.data.shard_files import FORMAT, MANIFEST, VERSION, Layout
from symae_keras.data.split import KnownGroups
from symae_keras.errors import InputError

_OPEN_FILES: Final = 64
#: What is read of a manifest besides the shards.
_MANIFEST_KEYS: Final = ("instance_shape", "pixel_mask", "weights", "axis_label")
#: What `sample` takes into memory unless told otherwise.
SAMPLE_BYTES: Final = 256 << 20


class Shards(KnownGroups):
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
    >>> from symae_keras.data import ShardWriter, batches
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
        self.axis_label: str = manifest["axis_label"]
        self._paths = [str(self.folder / each["file"]) for each in manifest["shards"]]
        parts = [
            _read_index(self.folder, shard, self.layout) for shard in manifest["shards"]
        ]
        self.axis: Array | None = parts[0].get("axis")
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
        self._files = _OpenFiles()
        self._choose(np.arange(len(self._counts)))

    def _choose(self, chosen: Array) -> None:
        """Select groups; what batches ask for again and again is computed once."""
        self._chosen = chosen
        #: Instances of each group, `(groups,)`.
        self.counts: Array = self._counts[chosen]
        #: Instances of the largest group.
        self.n_instances = int(self.counts.max(initial=0))
        #: 0 where nothing is masked, 1 where instances are, 2 where pixels are.
        self.masks = 2
        if not (self.layout.pixel_mask or self.layout.weights):
            self.masks = int((self.counts < self.n_instances).any())

    def __repr__(self) -> str:
        least, most = self.counts.min(initial=self.n_instances), self.n_instances
        sizes = f"{most}" if least == most else f"{least} to {most}"
        files = len(self._paths)
        return (
            f"{len(self)} groups of {sizes} instances of shape {self.instance_shape} "
            f"in {files} file{'s' * (files != 1)}"
        )

    # === Sizes and masks ===

    def __len__(self) -> int:
        return len(self._chosen)

    @property
    def n_groups(self) -> int:
        """Number of groups."""
        return len(self)

    @property
    def ids(self) -> Array | None:
        """The name of each group, `(groups,)`, if they have names."""
        return None if self._ids is None else self._ids[self._chosen]

    @property
    def instance_shape(self) -> tuple[int, ...]:
        """Shape of one instance."""
        return self.layout.instance_shape

    @property
    def present(self) -> Array:
        """True = present, `(groups, instances)`; padding comes last."""
        return np.arange(self.n_instances) < self.counts[:, None]

    @property
    def mean_weight(self) -> float | None:
        """Mean weight of good pixels in a sample, `None` where there are no weights."""
        return self.sample().mean_weight if self.layout.weights else None

    @property
    def group_metadata(self) -> Parameters:
        """What is known about each group."""
        return {
            key.removeprefix("group/"): value[self._chosen]
            for key, value in self._metadata.items()
            if key.startswith("group/")
        }

    @property
    def known(self) -> Parameters:
        """What is known of each group."""
        return self.group_metadata

    # === Selection ===

    def __getitem__(self, index: Any) -> Self:
        """Select groups by slice, index array or boolean array; nothing is read."""
        if isinstance(index, (int, np.integer)):
            index = [range(len(self))[index]]
        part = object.__new__(type(self))
        part.__dict__ |= self.__dict__
        part._choose(self._chosen[index])
        return part

    # === Reading ===

    def gather(self, group: Array, place: Array) -> tuple[Array, Array, Array | None]:
        """Some instances of some groups, for batches; see `GroupedData.gather`."""
        shape = (*place.shape, *self.instance_shape)
        x = np.zeros(shape, "float32")
        good = np.zeros(shape if self.masks == 2 else place.shape, bool)
        weights = np.zeros(shape, "float32") if self.layout.weights else None
        for row, (each, places) in enumerate(zip(group, place, strict=True)):
            record = self._read(int(self._chosen[each]))
            there = places < len(record["x"])
            chosen = places[there]
            x[row, there] = record["x"][chosen]
            good[row, there] = True
            if "pixel_mask" in record:
                good[row, there] &= record["pixel_mask"][chosen]
            if weights is not None:
                weights[row, there] = record["weights"][chosen]
                good[row, there] &= weights[row, there] > 0
        return x, good.reshape(good.shape + (1,) * (x.ndim - good.ndim)), weights

    def load(self) -> GroupedData:
        """All chosen groups in memory, padded, with a mask where they are ragged."""
        records = [self._read(int(each)) for each in self._chosen]
        group = np.repeat(np.arange(len(self)), self.counts)
        _, mask, pad = padding(group, len(group))
        padded = {
            key: pad(np.concatenate([each[key] for each in records]))
            for key in records[0]
        }
        rows = np.concatenate([[0], np.cumsum(self._counts)])
        own = [slice(rows[n], rows[n + 1]) for n in self._chosen]
        known = {
            key.removeprefix("instance/"): pad(
                np.concatenate([value[each] for each in own])
            )
            for key, value in self._metadata.items()
            if key.startswith("instance/")
        }
        return GroupedData(
            padded["x"],
            mask=mask,
            ids=self.ids,
            pixel_mask=padded.get("pixel_mask"),
            weights=padded.get("weights"),
            group_metadata=self.group_metadata,
            instance_metadata=known,
            axis=self.axis,
            axis_label=self.axis_label,
        )

    def sample(self, n_bytes: int = SAMPLE_BYTES, seed: int = 0) -> GroupedData:
        """As many groups as fit, drawn at random, in memory.

        Args:
            n_bytes: About how much memory to fill.
            seed: Seed of the draw.
        """
        size = max(1, self.n_instances * self.layout.instance_bytes)
        count = min(len(self), max(2, n_bytes // size))
        chosen = np.random.default_rng(seed).permutation(len(self))[:count]
        return self[np.sort(chosen)].load()

    def verify(self) -> None:
        """Read everything once.

        Raises:
            InputError: A record is damaged; the sentence names file and group.
        """
        for each in self._chosen:
            self._read(int(each))

    def _read(self, group: int) -> dict[str, Array]:
        """The record of a group, all of its instances."""
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
            raise InputError(
                f"{path} is damaged at group {group}: its checksum does not fit; "
                "convert the data again."
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
        manifest: dict[str, Any] = json.loads(path.read_text())
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
        raise InputError(f"{path} cannot be read: {error!r}.") from None
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
