"""The files that `Shards` reads: what they hold, and how they are written."""

from __future__ import annotations

import dataclasses
import io
import math
import os
import zlib
from collections.abc import Iterator
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import numpy as np

from symae_keras._utils.files import write_json, written_aside
from symae_keras.data.check import refuse_rounding
from symae_keras.data.groups import Array, GroupedData
from symae_keras.errors import InputError

MANIFEST: Final = "manifest.json"
FORMAT: Final = "symae-shards"
VERSION: Final = 1
#: What names of ids and metadata begin with, in an index.
_KNOWN: Final = ("ids", "group/", "instance/")


@dataclasses.dataclass(frozen=True)
class Layout:
    """What the record of a group holds, one field behind the other.

    `x (count, *instance_shape)` as little-endian float32; if there are any,
    `pixel_mask` of that shape as bytes 0 and 1, and `weights` as float32.

    Args:
        instance_shape: Shape of one instance.
        pixel_mask: Whether pixels are masked.
        weights: Whether pixels have weights.
    """

    instance_shape: tuple[int, ...]
    pixel_mask: bool
    weights: bool

    @property
    def fields(self) -> dict[str, np.dtype[Any]]:
        """Names and types of what there is for each pixel."""
        fields: dict[str, np.dtype[Any]] = {"x": np.dtype("<f4")}
        if self.pixel_mask:
            fields["pixel_mask"] = np.dtype("?")
        if self.weights:
            fields["weights"] = np.dtype("<f4")
        return fields

    @property
    def instance_bytes(self) -> int:
        """Bytes of one instance."""
        each = sum(dtype.itemsize for dtype in self.fields.values())
        return each * math.prod(self.instance_shape)

    def offsets(self, counts: Array) -> Array:
        """Where each record of a file begins, and where the file ends."""
        sizes = counts.astype("int64") * self.instance_bytes
        return np.concatenate([[0], np.cumsum(sizes)])

    def pack(self, arrays: dict[str, Array]) -> bytes:
        """The record of a group."""
        return b"".join(
            np.ascontiguousarray(arrays[name], dtype).tobytes()
            for name, dtype in self.fields.items()
        )

    def unpack(self, record: bytes, count: int) -> dict[str, Array]:
        """What `pack` packed."""
        arrays, start = {}, 0
        shape = (count, *self.instance_shape)
        for name, dtype in self.fields.items():
            values = np.frombuffer(record, dtype, math.prod(shape), start)
            arrays[name] = values.reshape(shape)
            start += values.nbytes
        return arrays


class ShardWriter:
    """Writes groups, a part at a time, into files that `Shards` reads.

    Groups go into files `shard-00000.bin` of about `shard_bytes`, each with an index
    `shard-00000.npz` beside it: instances and CRC-32 of each group, ids, metadata. A
    file is complete once its index is there, so an interrupted job can go on behind the
    last one: see `resume`. `manifest.json` comes last.

    Absent instances are left out. Use it as a context: leaving it writes the manifest,
    unless an error is on its way.

    Args:
        folder: Where to write; made if it is missing.
        shard_bytes: Size at which a file is full. Defaults to 256 MiB.

    Example:
    >>> import tempfile
    >>> folder = tempfile.mkdtemp()
    >>> with ShardWriter(folder) as writer:
    ...     for _ in range(3):  # as many parts as there are, never all in memory
    ...         writer.add(GroupedData(np.ones((100, 4, 64))))
    >>> writer.n_groups
    300
    """

    def __init__(
        self, folder: str | PathLike[str], shard_bytes: int = 256 << 20
    ) -> None:
        if shard_bytes < 1:
            raise InputError(f"shard_bytes must be at least 1; received {shard_bytes}.")
        self.folder = Path(folder)
        self.shard_bytes = shard_bytes
        #: Groups added so far.
        self.n_groups = 0
        self._layout: Layout | None = None
        self._axis: Array | None = None
        self._axis_label = GroupedData.axis_label
        self._known: dict[str, tuple[int, ...]] = {}
        self._shards: list[dict[str, Any]] = []
        self._pending: list[dict[str, Any]] = []
        self._pending_bytes = 0
        self.folder.mkdir(parents=True, exist_ok=True)

    def resume(self) -> int:
        """Take up the complete files of an interrupted job.

        Returns:
            How many groups they hold; go on with those behind them.
        """
        while True:
            file = self.folder / _name(len(self._shards))
            index = file.with_suffix(".npz")
            if not index.is_file() or not file.is_file():
                return self.n_groups
            content = index.read_bytes()
            with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
                groups = len(arrays["counts"])
                self._axis = arrays.get("axis")
                self._axis_label = str(arrays["axis_label"])
                fields = arrays["fields"].tolist()
                shape = tuple(arrays["instance_shape"].tolist())
                self._known = {
                    key: arrays[key].shape[1:]
                    for key in arrays
                    if key.startswith(_KNOWN)
                }
            self._layout = Layout(shape, "pixel_mask" in fields, "weights" in fields)
            self._shards.append(_entry(file, groups, content))
            self.n_groups += groups

    def add(self, groups: GroupedData, source: str = "the data") -> None:
        """Add groups; files that they fill are written.

        Args:
            groups: Groups of the shape, fields and axis of those before.
            source: What to call them in an error.

        Raises:
            InputError: They do not go with those before, a group has no instance, or
                float32 would round off the differences between values.
        """
        layout = Layout(
            groups.instance_shape,
            groups.pixel_mask is not None,
            groups.weights is not None,
        )
        if self._layout is None:
            self._layout = layout
            self._axis, self._axis_label = groups.axis, groups.axis_label
            self._known = _shapes_of_known(groups)
        self._refuse_other(layout, groups, source)
        empty = np.flatnonzero(groups.counts == 0)
        if len(empty):
            first = groups.called(int(empty[0]))
            raise InputError(
                f"{source}: {len(empty)} of {len(groups)} groups have no present "
                f"instance; the first is {first}; leave them out."
            )
        refuse_rounding(groups, source)
        for record in _records(groups, layout):
            self._pending.append(record)
            self._pending_bytes += len(record["bytes"])
            self.n_groups += 1
            if self._pending_bytes >= self.shard_bytes:
                self._write_shard()

    def _refuse_other(self, layout: Layout, groups: GroupedData, source: str) -> None:
        if layout != self._layout:
            raise InputError(
                f"{source} holds {layout}, but the groups before are {self._layout}; "
                "convert them to folders of their own."
            )
        same = (self._axis is None) == (groups.axis is None)
        if self._axis is not None and groups.axis is not None:
            same = np.allclose(self._axis, groups.axis, rtol=1e-6, atol=0)
        if not same:
            raise InputError(
                f"{source} has another axis than the groups before; resample them."
            )
        known = _shapes_of_known(groups)
        if known != self._known:
            raise InputError(
                f"{source} has {_listed(known)}, but the groups before have "
                f"{_listed(self._known)}; convert them to folders of their own."
            )

    def _write_shard(self) -> None:
        file = self.folder / _name(len(self._shards))
        for there in (file.with_suffix(".npz"), self.folder / MANIFEST):
            if os.path.lexists(there):
                raise InputError(
                    f"{there} is there already, and would be replaced; call resume() "
                    "to add to an interrupted job, or name another folder."
                )
        assert self._layout is not None  # something is pending
        index: dict[str, Any] = {
            "instance_shape": np.array(self._layout.instance_shape),
            "fields": np.array(list(self._layout.fields)),
            "axis_label": np.array(self._axis_label),
            "counts": np.array([each["count"] for each in self._pending]),
            "crc32": np.array(
                [zlib.crc32(each["bytes"]) for each in self._pending], "uint32"
            ),
        }
        for key in self._pending[0]["known"]:
            values = [each["known"][key] for each in self._pending]
            join = np.concatenate if key.startswith("instance/") else np.stack
            index[key] = join(values)
        if self._axis is not None:
            index["axis"] = self._axis
        with written_aside(file) as aside, aside.open("wb") as stream:
            stream.writelines(each["bytes"] for each in self._pending)
        # The index comes last: it is what makes a shard complete.
        buffer = io.BytesIO()
        np.savez(buffer, **index)
        with written_aside(file.with_suffix(".npz")) as aside:
            aside.write_bytes(buffer.getvalue())
        self._shards.append(_entry(file, len(self._pending), buffer.getvalue()))
        self._pending, self._pending_bytes = [], 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Write what is left and the manifest."""
        if error is not None:
            return
        if self._layout is None:
            raise InputError("There must be at least one group; received none.")
        if self._pending:
            self._write_shard()
        write_json(
            self.folder / MANIFEST,
            {
                "format": FORMAT,
                "version": VERSION,
                **dataclasses.asdict(self._layout),
                "axis_label": self._axis_label,
                "groups": self.n_groups,
                "shards": self._shards,
            },
        )


def _name(number: int) -> str:
    return f"shard-{number:05d}.bin"


def _entry(file: Path, groups: int, index: bytes) -> dict[str, Any]:
    return {"file": file.name, "groups": groups, "index_crc32": zlib.crc32(index)}


def _all_known(groups: GroupedData) -> dict[str, Array]:
    """Ids, parameters and metadata, by their names in an index."""
    ids = {} if groups.ids is None else {"ids": np.asarray(groups.ids)}
    of_groups = {**groups.state, **groups.group_metadata}
    of_instances = {**groups.nuisance, **groups.instance_metadata}
    return {
        **ids,
        **{f"group/{k}": np.asarray(v) for k, v in of_groups.items()},
        **{f"instance/{k}": np.asarray(v) for k, v in of_instances.items()},
    }


def _shapes_of_known(groups: GroupedData) -> dict[str, tuple[int, ...]]:
    """What is known, and the shape of it for one group or instance."""
    shapes = {}
    for key, values in _all_known(groups).items():
        if values.dtype.hasobject:
            raise InputError(
                f"{key} holds Python objects; shards hold numbers and text."
            )
        shapes[key] = values.shape[1 + key.startswith("instance/") :]
    return shapes


def _listed(known: dict[str, tuple[int, ...]]) -> str:
    each = (f"{key} {shape}" if shape else key for key, shape in known.items())
    return ", ".join(each) or "neither ids nor metadata"


def _records(groups: GroupedData, layout: Layout) -> Iterator[dict[str, Any]]:
    """Each group as bytes, with what is known about it."""
    present, all_known = groups.present, _all_known(groups)
    for n in range(len(groups)):
        there = present[n]
        arrays = {
            name: np.asarray(getattr(groups, name)[n])[there] for name in layout.fields
        }
        known = {
            key: values[n][there] if key.startswith("instance/") else values[n]
            for key, values in all_known.items()
        }
        yield {
            "count": int(there.sum()),
            "bytes": layout.pack(arrays),
            "known": known,
        }
