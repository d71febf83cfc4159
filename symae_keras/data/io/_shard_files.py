"""Format and writer of the files that `Shards` reads."""

from __future__ import annotations

import dataclasses
import functools
import io
import math
import os
import zlib
from collections.abc import Iterable
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import numpy as np

from symae_keras._utils.files import write_json, written_atomically
from symae_keras._utils.untrusted_files import open_regular, require
from symae_keras.data.check import refuse_rounding
from symae_keras.data.groups import Array, GroupedData
from symae_keras.data.io.arrays import read_archive
from symae_keras.errors import InputError

MANIFEST: Final = "manifest.json"
FORMAT: Final = "symae-shards"
VERSION: Final = 2
#: Fields with a value per pixel, in the order of checksums.
FIELDS: Final = {
    "x": np.dtype("<f4"),
    "pixel_mask": np.dtype("?"),
    "weights": np.dtype("<f4"),
}
#: Prefixes of the names of ids and metadata in an index.
_KNOWN: Final = ("ids", "group/", "instance/")


def name_of(number: int, what: str) -> str:
    """Return the name of a file of a shard; paths are never read from files."""
    return f"shard-{number:05d}.{what}"


def checksum(fields: Iterable[Array]) -> int:
    """Return the CRC-32 of the concatenated fields of one group."""
    return functools.reduce(lambda crc, values: zlib.crc32(values.data, crc), fields, 0)


def damaged(path: Path, reason: object) -> InputError:
    """Return the error for a damaged file."""
    return InputError(f"{path} is damaged: {reason}; convert the data again.")


@dataclasses.dataclass(frozen=True, eq=False)
class Kind:
    """Properties that all groups of a folder have in common."""

    instance_shape: tuple[int, ...]
    #: The fields of `FIELDS` that are present.
    fields: tuple[str, ...]
    #: Names of ids and metadata, with their shape for one group or instance.
    known: dict[str, tuple[int, ...]]
    axis: Array | None
    axis_label: str

    @property
    def instance_bytes(self) -> int:
        """Bytes of one instance."""
        pixels = math.prod(self.instance_shape)
        return pixels * sum(FIELDS[each].itemsize for each in self.fields)

    def refuse_other(self, other: Kind, source: object) -> None:
        """Raise `InputError` if groups of a source have other properties."""
        for own, found in zip(self._texts(), other._texts(), strict=True):
            if own != found:
                raise InputError(
                    f"{source} has {found}, but the previous groups have {own}; "
                    "convert them into separate folders."
                )
        same = (self.axis is None) == (other.axis is None)
        if self.axis is not None and other.axis is not None:
            same = np.allclose(self.axis, other.axis, rtol=1e-6, atol=0)
        if not same:
            raise InputError(
                f"{source} has a different axis from the previous groups; resample "
                "them to one axis."
            )

    def _texts(self) -> tuple[str, str]:
        known = (f"{k} {shape}" if shape else k for k, shape in self.known.items())
        return (
            f"{' and '.join(self.fields)} of the shape {self.instance_shape}",
            ", ".join(known) or "neither ids nor metadata",
        )


# === Reading ===


def read_index(folder: Path, number: int) -> tuple[Kind, dict[str, Array], int]:
    """Read an index: properties of its groups, its arrays by name, and its CRC-32."""
    path = folder / name_of(number, "npz")
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        require(size, str(path))
        content = file.read(size)
    try:
        arrays = read_archive(io.BytesIO(content))
        return _checked_kind(arrays), arrays, zlib.crc32(content)
    except Exception as error:  # damaged archives raise errors of many classes
        reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        raise damaged(path, reason) from None


def _checked_kind(arrays: dict[str, Array]) -> Kind:
    counts, crc32, axis = arrays["counts"], arrays["crc32"], arrays.get("axis")
    shape, label = tuple(arrays["instance_shape"].tolist()), arrays["axis_label"]
    fields = tuple(each for each in FIELDS if each in arrays["fields"])
    known = {key: v for key, v in arrays.items() if key.startswith(_KNOWN)}
    numbers = counts.ndim == 1 and counts.dtype.kind == "i" and len(counts) > 0
    # Python integers do not overflow.
    instances = sum(counts.tolist()) if numbers else 0
    fit = {
        "counts": numbers and counts.min() > 0,
        "crc32": crc32.shape == counts.shape and crc32.dtype == np.uint32,
        "instance_shape": shape and all(type(n) is int and n > 0 for n in shape),
        "fields": "x" in fields and arrays["fields"].tolist() == list(fields),
        "axis": axis is None or axis.shape == shape[:1],
        "axis_label": label.shape == () and label.dtype.kind == "U",
    }
    for key, values in known.items():
        rows = instances if key.startswith("instance/") else len(counts)
        fit[key] = values.shape[:1] == (rows,)
    for key, fits in fit.items():
        if not fits:
            raise InputError(f"its {key} cannot be used")
    shapes = {key: values.shape[1:] for key, values in known.items()}
    return Kind(shape, fields, shapes, axis, str(label))


def map_shard(
    folder: Path, kind: Kind, instances: list[int], version: int, number: int
) -> dict[str, Array]:
    """Map the arrays of a shard, and refuse files that do not match its index.

    `instances` is the number of instances per shard. In version 1, one file holds all
    fields of a group.
    """
    if version == 1:
        size = instances[number] * kind.instance_bytes
        return {"bin": _map(folder / name_of(number, "bin"), (size,), np.dtype("u1"))}
    shape = instances[number], *kind.instance_shape
    return {
        key: _map(folder / name_of(number, f"{key}.npy"), shape, FIELDS[key])
        for key in kind.fields
    }


def _map(path: Path, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    with open_regular(path) as file:
        if path.suffix == ".npy":
            try:
                version = np.lib.format.read_magic(file)
                found = version, *np.lib.format.read_array_header_1_0(file)
            except (ValueError, MemoryError, RecursionError):
                # NumPy's error message would quote arbitrary bytes.
                raise damaged(path, "its header cannot be read") from None
            if found != ((1, 0), shape, False, dtype):
                raise damaged(path, f"its header says {found}, not {shape}, {dtype}")
        size = os.fstat(file.fileno()).st_size
        expected = file.tell() + math.prod(shape) * dtype.itemsize
        if size != expected:
            raise damaged(path, f"it has {size} bytes where {expected} were written")
        # Slices of a plain array take a tenth of the time.
        return np.asarray(np.memmap(file, dtype, "r", file.tell(), shape))


# === Writing ===


class ShardWriter:
    """Writer of groups, part by part, into files that `Shards` reads.

    A shard has about `shard_bytes` bytes. `shard-00000.x.npy` contains the concatenated
    instances of its groups, and `shard-00000.pixel_mask.npy` and
    `shard-00000.weights.npy` contain their masks and weights. The index
    `shard-00000.npz` contains the number of instances and the CRC-32 of each group, ids
    and metadata. The index is written after the other files of a shard, so an
    interrupted job can be resumed after the last complete shard: see `resume`.
    `manifest.json` is written at the end.

    Absent instances are not written. Use the writer as a context manager: it writes the
    manifest on exit, unless an error occurred.

    Args:
        folder: The output folder; it is created if necessary.
        shard_bytes: Approximate size of a shard. Defaults to 256 MiB.

    Example:
    >>> import tempfile
    >>> folder = tempfile.mkdtemp()
    >>> with ShardWriter(folder) as writer:
    ...     for _ in range(3):  # parts need not fit into memory together
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
        self._kind: Kind | None = None
        self._shards: list[dict[str, Any]] = []
        #: Fields, ids and metadata of each group that is not yet written.
        self._pending: list[dict[str, Array]] = []
        self._pending_instances = 0
        self.folder.mkdir(parents=True, exist_ok=True)

    def resume(self) -> int:
        """Resume an interrupted job after its complete shards.

        Returns:
            The number of groups in these shards; continue with the next group.

        Raises:
            InputError: A shard is damaged, or has an earlier format version.
        """
        while (self.folder / name_of(len(self._shards), "npz")).is_file():
            number = len(self._shards)
            self._kind, arrays, crc32 = read_index(self.folder, number)
            instances = [0] * number + [int(arrays["counts"].sum())]
            map_shard(self.folder, self._kind, instances, VERSION, number)
            self._note(len(arrays["counts"]), crc32)
            self.n_groups += len(arrays["counts"])
        return self.n_groups

    def add(self, groups: GroupedData, source: str = "the data") -> None:
        """Add groups, and write the shards that are full.

        Args:
            groups: Groups with the same shape, fields and axis as previous groups.
            source: Name of the groups in error messages.

        Raises:
            InputError: The groups do not match the previous ones, a group has no
                instance, or float32 would round off the differences between values.
        """
        arrays = _arrays_of(groups)
        kind = _kind_of(groups, arrays)
        if self._kind is None:
            self._kind = kind
        self._kind.refuse_other(kind, source)
        empty = np.flatnonzero(groups.counts == 0)
        if len(empty):
            first = groups.called(int(empty[0]))
            raise InputError(
                f"{source}: {len(empty)} of {len(groups)} groups have no present "
                f"instance; the first is {first}; remove these groups."
            )
        refuse_rounding(groups, source)
        for n, there in enumerate(groups.present):
            record = {
                key: values[n][there] if _of_instances(key) else values[n]
                for key, values in arrays.items()
            }
            for key in kind.fields:
                record[key] = np.ascontiguousarray(record[key], FIELDS[key])
            self._pending.append(record)
            self._pending_instances += len(record["x"])
            self.n_groups += 1
            if self._pending_instances * kind.instance_bytes >= self.shard_bytes:
                self._write_shard()

    def _write_shard(self) -> None:
        number, kind = len(self._shards), self._kind
        assert kind is not None  # there are pending groups
        path = self.folder / name_of(number, "npz")
        for there in (path, self.folder / MANIFEST):
            if os.path.lexists(there):
                raise InputError(
                    f"{there} already exists and would be overwritten; call resume() "
                    "to resume an interrupted job, or choose another folder."
                )
        records = self._pending
        for key in kind.fields:
            header = {
                "descr": FIELDS[key].str,
                "fortran_order": False,
                "shape": (self._pending_instances, *kind.instance_shape),
            }
            file = self.folder / name_of(number, f"{key}.npy")
            with written_atomically(file) as partial, partial.open("wb") as stream:
                np.lib.format.write_array_header_1_0(stream, header)
                stream.writelines(record[key].data for record in records)
        index: dict[str, Any] = {
            "instance_shape": np.array(kind.instance_shape),
            "fields": np.array(kind.fields),
            "axis_label": np.array(kind.axis_label),
            "counts": np.array([len(each["x"]) for each in records]),
            "crc32": np.array(
                [checksum(each[key] for key in kind.fields) for each in records],
                "uint32",
            ),
        }
        for key in kind.known:
            join = np.concatenate if _of_instances(key) else np.stack
            index[key] = join([each[key] for each in records])
        if kind.axis is not None:
            index["axis"] = kind.axis
        # The index is written last: a shard with an index is complete.
        buffer = io.BytesIO()
        np.savez(buffer, **index)
        with written_atomically(path) as partial:
            partial.write_bytes(buffer.getvalue())
        self._note(len(records), zlib.crc32(buffer.getvalue()))
        self._pending, self._pending_instances = [], 0

    def _note(self, groups: int, crc32: int) -> None:
        index = name_of(len(self._shards), "npz")
        self._shards.append({"index": index, "groups": groups, "index_crc32": crc32})

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Write the remaining groups and the manifest."""
        if error is not None:
            return
        if self._kind is None:
            raise InputError("There must be at least one group; received none.")
        if self._pending:
            self._write_shard()
        write_json(
            self.folder / MANIFEST,
            {
                "format": FORMAT,
                "version": VERSION,
                "groups": self.n_groups,
                "shards": self._shards,
            },
        )


def _arrays_of(groups: GroupedData) -> dict[str, Array]:
    """Return fields, ids, parameters and metadata, keyed by their names in files."""
    of_groups = {**groups.state, **groups.group_metadata}
    of_instances = {**groups.nuisance, **groups.instance_metadata}
    arrays = {
        **{key: getattr(groups, key) for key in (*FIELDS, "ids")},
        **{f"group/{key}": values for key, values in of_groups.items()},
        **{f"instance/{key}": values for key, values in of_instances.items()},
    }
    return {key: np.asarray(v) for key, v in arrays.items() if v is not None}


def _of_instances(key: str) -> bool:
    return key in FIELDS or key.startswith("instance/")


def _kind_of(groups: GroupedData, arrays: dict[str, Array]) -> Kind:
    for key, values in arrays.items():
        if values.dtype.hasobject:
            raise InputError(
                f"{key} contains Python objects; shards can only hold numbers and text."
            )
    fields = tuple(key for key in FIELDS if key in arrays)
    known = {
        key: values.shape[1 + _of_instances(key) :]
        for key, values in arrays.items()
        if key not in FIELDS
    }
    return Kind(groups.instance_shape, fields, known, groups.axis, groups.axis_label)
