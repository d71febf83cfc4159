"""Readers of NumPy and HDF5 files."""

from __future__ import annotations

import functools
import logging
import math
import os
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Final

import numpy as np

from symae_keras._utils.untrusted_files import require
from symae_keras.data.groups import Array, GroupedData
from symae_keras.data.io._assemble import Stored, from_keys, native
from symae_keras.errors import InputError

_OBJECTS = (
    "contains pickled Python objects, which are refused because they can run code; "
    "save numbers, and text as np.array(names, dtype=str)"
)

_RECORDS = "contains records with named fields; save each field under a separate key"


def read_npz(path: Path, group: str | None) -> GroupedData:
    """Read groups from a `.npz` file, or from a `.npy` file that stays on disk."""
    with path.open("rb") as file:
        magic = file.read(2)
        if magic == b"PK":
            with zipfile.ZipFile(file) as archive:
                return from_keys(path, dict(_members(archive)), group)
    if magic != b"\x93N":
        raise ValueError("it does not start with the signature of a NumPy file")
    if group is not None:
        raise InputError(
            f"an .npy file has no names, so there is no {group}; save x and {group} in "
            "a .npz file."
        )
    return from_keys(path, {"x": _mapped(path)}, None)


def read_npy(path: Path) -> Array:
    """Read the array of a `.npy` file into memory."""
    array = _mapped(path)
    require(path.stat().st_size, f"an array of the shape {array.shape}")
    return native(array.read())


def _mapped(path: Path) -> Stored:
    """Describe the array of a `.npy` file, which stays on disk."""
    with path.open("rb") as file:
        array = _stored_in_zip(file, os.fstat(file.fileno()).st_size)
    if isinstance(array, str):
        raise InputError(f"it {array}.")
    read = functools.partial(np.load, path, mmap_mode="r", allow_pickle=False)
    return array._replace(read=read, n_bytes=0)


def read_archive(file: IO[bytes]) -> dict[str, Array]:
    """Read all arrays of an open `.npz` file into memory."""
    with zipfile.ZipFile(file) as archive:
        arrays: dict[str, Stored] = {}
        for name, array in _members(archive):
            if isinstance(array, str):
                raise InputError(f"{name} {array}.")
            arrays[name] = array
        require(sum(each.n_bytes for each in arrays.values()), "an .npz file")
        return {name: array.read() for name, array in arrays.items()}


def _members(archive: zipfile.ZipFile) -> Iterator[tuple[str, Stored | str]]:
    """List the arrays of an archive; a text is the reason why one cannot be read."""
    seen = set()
    for member in archive.infolist():
        name = member.filename.removesuffix(".npy")
        if name in seen:
            raise InputError(f"it contains two arrays {name}; keep one of them.")
        seen.add(name)
        if name == member.filename:
            yield name, "is not an .npy file in the archive"
            continue
        with archive.open(member) as stream:
            array = _stored_in_zip(stream, member.file_size)
        if isinstance(array, Stored):
            read = functools.partial(_read, archive, member)
            array = array._replace(read=read, n_stored=member.compress_size)
        yield name, array


def _stored_in_zip(stream: IO[bytes], n_bytes: int) -> Stored | str:
    """Describe an array from its header, and check the length of the stream."""
    version = np.lib.format.read_magic(stream)
    if version > (2, 0):  # field names with non-Latin letters
        return _RECORDS
    header = np.lib.format.read_array_header_1_0
    if version == (2, 0):
        header = np.lib.format.read_array_header_2_0
    try:
        shape, _, dtype = header(stream)
    except (MemoryError, RecursionError):  # raised by the Python parser
        raise ValueError("the header of an array is nested too deeply") from None
    if dtype.hasobject:
        return _OBJECTS
    if dtype.kind == "V":
        return _RECORDS
    promised, found = math.prod(shape) * dtype.itemsize, n_bytes - stream.tell()
    if promised != found or min(shape, default=0) < 0:
        raise ValueError(
            f"the header of an array gives the shape {shape} and dtype {dtype}, "
            f"{promised} bytes, but {found} bytes follow; the file is damaged, or "
            "holds several arrays where one is expected"
        )
    return Stored(shape, dtype, promised)


def _read(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Array:
    with archive.open(member) as stream:
        array: Array = np.lib.format.read_array(stream, allow_pickle=False)
        stream.read(1)  # at the end, zipfile compares the checksum
    return native(array)


_log = logging.getLogger("symae_keras")

_SIGNATURE: Final = b"\x89HDF\r\n\x1a\n"
_COPY: Final = "; copy the values into a dataset of this file"
#: Maximum length of a chain of soft links.
_LINKS: Final = 16
#: Maximum number of names of a group in messages.
_SHOWN: Final = 9
#: Texts that are read at once.
_ROWS: Final = 256


def read_hdf5(path: Path, group: str | None) -> GroupedData:
    """Read groups from the datasets in the root of an HDF5 file, as in `.npz`.

    The label of the axis is the dataset or attribute `axis_label`, or comes from the
    attribute `units` of the dataset `axis`. References to other files are never
    followed: external links, external storage and virtual datasets raise an error if
    they are needed, and are logged otherwise.
    """
    import h5py

    _note_other_size(path)
    with h5py.File(path, "r") as file:
        arrays = dict(_items(file))
        label = _label(file) if isinstance(arrays.get("axis"), Stored) else None
        if label is not None and "axis_label" not in arrays:
            read = functools.partial(np.asarray, label)
            arrays["axis_label"] = Stored((), np.dtype(str), 0, read)
        return from_keys(path, arrays, group)


def _note_other_size(path: Path) -> None:
    """Log a warning if the file is longer than its superblock says.

    HDF5 itself refuses shorter files. Inserted bytes move data without any other trace.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(96)
        # A user block of 512, 1024, ... bytes may come first.
        start = 512
        while head[:8] != _SIGNATURE and start < size:
            file.seek(start)
            head = file.read(96)
            start *= 2
    if head[:8] != _SIGNATURE or len(head) < 96:
        return
    version = head[8]
    sizes, base = (13, {0: 24, 1: 28}) if version < 2 else (9, {2: 12, 3: 12})
    if head[sizes] != 8 or version not in base:
        return  # HDF5 decides
    place = base[version]
    # Base address, another address, and the end address, eight bytes each.
    first, _, end = struct.unpack_from("<3Q", head, place)
    # Some writers include the user block in the count, others do not.
    if size not in (end, first + end):
        _log.warning(
            "%s: the file may be damaged: %d bytes, of which its header describes %d.",
            path,
            size,
            end,
        )


def _items(file: Any) -> Iterator[tuple[str, Stored | str]]:
    """List the content of the root; a text is the reason why an item cannot be read."""
    import h5py

    for name in map(str, file):
        item = _resolved(file, name)
        if isinstance(item, h5py.Dataset):
            yield name, _stored(item)
        elif isinstance(item, h5py.Group):
            yield name, "is a group; move its datasets to the root of the file"
            for inside in _names(item):
                yield f"{name}/{inside}", "is in a group; move it to the root"
        else:
            yield name, item if isinstance(item, str) else "is not a dataset"


def _names(group: Any) -> list[str]:
    """List the first names in a group and its subgroups."""
    names: list[str] = []

    def note(name: str) -> bool | None:
        names.append(name)
        return True if len(names) == _SHOWN else None  # any value except None stops

    group.visit(note)  # it does not follow links
    return names


def _resolved(place: Any, path: str, links: int = 0) -> Any:
    """Return the object at a path, or the reason why it cannot be read.

    h5py itself would open other files, even to describe a link.
    """
    import h5py

    for name in filter(None, path.split("/")):
        if not isinstance(place, h5py.Group):
            return "is a soft link to nothing"
        if name == ".":
            continue
        key = name.encode("utf-8", "surrogateescape")
        if not place.id.links.exists(key):
            return "is a soft link to nothing"
        kind = place.id.links.get_info(key).type
        if kind == h5py.h5l.TYPE_HARD:
            place = place[name]
            continue
        if kind != h5py.h5l.TYPE_SOFT:
            return "is a link to another file, which is not read" + _COPY
        if links == _LINKS:
            return "is a soft link that leads to itself"
        target = place.id.links.get_val(key).decode("utf-8", "surrogateescape")
        start = place.file if target.startswith("/") else place
        place = _resolved(start, target, links + 1)
    return place


def _stored(item: Any) -> Stored | str:
    """Describe a dataset, or return the reason why it cannot be read."""
    import h5py

    plist = item.id.get_create_plist()
    # Check this first: even reading the shape of the dataset can open other files.
    if plist.get_layout() == h5py.h5d.VIRTUAL:
        return "is a virtual dataset, which may read other files" + _COPY
    if plist.get_external_count():
        return "stores its values in another file, which is not read" + _COPY
    filters = [plist.get_filter(k) for k in range(plist.get_nfilters())]
    for code, *_, name in filters:
        if not h5py.h5z.filter_avail(code):
            called = name.decode("utf-8", "replace") or "(no name)"
            return (
                f"is compressed with the filter {called}, number {code}, which this "
                "h5py does not support; compress it with gzip"
            )
    try:
        dtype = item.dtype
    except TypeError:
        return "has a type that NumPy does not support"
    text = h5py.check_string_dtype(dtype)
    is_text = text is not None and text.length is None
    if item.shape is None or (dtype.kind in "OV" and not is_text):
        return "contains no array of numbers or text"
    if is_text:
        return Stored(item.shape, np.dtype(str), 8 * item.size, lambda: _texts(item))
    stored = item.id.get_storage_size()
    if item.chunks is None and stored < item.nbytes:
        return (
            f"has the shape {item.shape}, {item.nbytes} bytes, but the file contains "
            f"{stored}; the dataset is damaged or was not written completely"
        )
    # Reading also unpacks one chunk, which can be larger than the values.
    chunk = math.prod(item.chunks or (0,)) * dtype.itemsize
    return Stored(
        item.shape, dtype, item.nbytes + chunk, lambda: native(item[()]), stored
    )


def _texts(item: Any) -> Array:
    """Read texts of any length in parts, because files can repeat them at no cost."""
    texts = item.asstr()
    if not item.shape:
        return np.asarray(texts[()], dtype=str)
    parts, longest = [np.zeros((0, *item.shape[1:]), str)], 0
    for start in range(0, len(item), _ROWS):
        part = texts[start : start + _ROWS]
        longest = max(longest, *map(len, part.ravel()), 0)
        require(4 * longest * item.size, f"{item.name}, texts of {longest} letters,")
        parts.append(np.asarray(part, dtype=str))
    return np.concatenate(parts)


def _label(file: Any) -> str | None:
    axis = _resolved(file, "axis")
    for owner in (axis, file):
        if "axis_label" in owner.attrs:
            return _text(owner.attrs["axis_label"])
    units = axis.attrs.get("units")
    return None if units is None else f"axis ({_text(units)})"


def _text(value: Any) -> str:
    if isinstance(value, np.ndarray) and value.size == 1:
        value = value.item()
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
