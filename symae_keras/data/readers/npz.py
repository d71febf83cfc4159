"""Reader of NumPy's own files."""

from __future__ import annotations

import functools
import math
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np

from symae_keras.data.groups import Array, GroupedData
from symae_keras.data.readers.assemble import native
from symae_keras.data.readers.keys import Stored, from_keys
from symae_keras.data.readers.memory import require
from symae_keras.errors import InputError

_OBJECTS = (
    "holds pickled Python objects, which are refused because they can run code; save "
    "numbers, and text as np.array(names, dtype=str)"
)

_RECORDS = "holds records with named fields; save each field under a key of its own"


def read_npz(path: Path, group: str | None) -> GroupedData:
    """Groups from a `.npz` or `.npy` file; an `.npy` file stays on disk until used.

    Raises:
        InputError: The file holds Python objects, or what it holds cannot be used.
    """
    with path.open("rb") as file:
        magic = file.read(2)
        if magic == b"PK":
            with zipfile.ZipFile(file) as archive:
                return from_keys(path, dict(_members(archive)), group)
    if magic != b"\x93N":
        raise ValueError("it does not start like a NumPy file")
    if group is not None:
        raise InputError(
            f"an .npy file has no names, so none is {group}; save x and {group} in a "
            ".npz file."
        )
    return from_keys(path, {"x": _mapped(path)}, None)


def read_npy(path: Path) -> Array:
    """Read the array of a `.npy` file into memory.

    Raises:
        InputError: It cannot be used, or is too large.
    """
    array = _mapped(path)
    require(path.stat().st_size, f"an array of the shape {array.shape}")
    return native(array.read())


def _mapped(path: Path) -> Stored:
    """Describe the array of a `.npy` file, which stays on disk."""
    with path.open("rb") as file:
        array = _stored(file, os.fstat(file.fileno()).st_size)
    if isinstance(array, str):
        raise InputError(f"it {array}.")
    read = functools.partial(np.load, path, mmap_mode="r", allow_pickle=False)
    return array._replace(read=read, n_bytes=0)


def _members(archive: zipfile.ZipFile) -> Iterator[tuple[str, Stored | str]]:
    """List the arrays of an archive; a text says why one cannot be read."""
    seen = set()
    for member in archive.infolist():
        name = member.filename.removesuffix(".npy")
        if name in seen:
            raise InputError(f"it holds two arrays {name}; keep one.")
        seen.add(name)
        if name == member.filename:
            yield name, "is no .npy file in the archive"
            continue
        with archive.open(member) as stream:
            array = _stored(stream, member.file_size)
        if isinstance(array, Stored):
            read = functools.partial(_read, archive, member)
            array = array._replace(read=read, n_stored=member.compress_size)
        yield name, array


def _stored(stream: IO[bytes], n_bytes: int) -> Stored | str:
    """Describe an array from its header, if the stream has the right length.

    Args:
        stream: What starts with the header.
        n_bytes: Length of the stream.

    Raises:
        ValueError: The stream is shorter or longer.
    """
    version = np.lib.format.read_magic(stream)
    if version > (2, 0):  # names of fields in letters that are not Latin
        return _RECORDS
    header = np.lib.format.read_array_header_1_0
    if version == (2, 0):
        header = np.lib.format.read_array_header_2_0
    try:
        shape, _, dtype = header(stream)
    except (MemoryError, RecursionError):  # of the parser of Python
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
        stream.read(1)  # at the end, where the checksum of the member is compared
    return native(array)
