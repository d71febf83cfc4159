"""Strict reference readers of NumPy, zip and HDF5 files."""

from __future__ import annotations

import io
import struct
import zipfile
from pathlib import Path

import numpy as np
from fuzz_reference import (
    Array,
    Reading,
    Seen,
    from_keys,
    need,
)


def npy_array(content: bytes) -> Array:
    """Read an array that exactly fills its file, or its member of a zip file."""
    stream = io.BytesIO(content)
    try:
        array = np.load(stream, allow_pickle=False)
    except Exception as error:
        raise Seen(str(error)) from None
    need(isinstance(array, np.ndarray), "not an array")
    need(stream.tell() == len(content), "bytes after the array")
    if array.dtype.kind == "b":
        need(np.isin(array.view("u1"), (0, 1)).all(), "a bool that is neither 0 nor 1")
    return np.asarray(array)


def npy(path: Path) -> Reading:
    """Read a file that contains only `x`."""
    return from_keys({"x": npy_array(path.read_bytes())})


def zip_members(content: bytes) -> dict[str, bytes]:
    """Return the contents of a zip file with correct checksums and sizes."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as file:
            infos = file.infolist()
            need(len({each.filename for each in infos}) == len(infos), "duplicate name")
            return {each.filename: file.read(each) for each in infos}
    except Seen:
        raise
    except Exception as error:
        raise Seen(str(error)) from None


def npz(path: Path) -> Reading:
    """Read named arrays."""
    inside = zip_members(path.read_bytes())
    arrays = {
        name.removesuffix(".npy"): npy_array(body) for name, body in inside.items()
    }
    need(len(arrays) == len(inside), "duplicate name")
    return from_keys(arrays)


def hdf5_arrays(content: bytes, everything: bool = False) -> dict[str, Array]:
    """Read datasets that have plain types and complete, non-overlapping data.

    Args:
        content: The bytes of the file.
        everything: Whether to include datasets in groups, and any name.
    """
    import h5py

    known = ("x", "mask", "ids", "pixel_mask", "weights", "axis", "group")
    arrays, ranges = {}, []
    try:
        with h5py.File(io.BytesIO(content), "r") as file:
            names: list[str] = []
            file.visit(names.append)
            for name in names:
                item = file[name]
                if not everything and name not in known:
                    continue
                if not isinstance(item, h5py.Dataset):
                    need(everything, f"{name} is not a dataset")
                    continue
                need(item.shape is not None, f"{name} is empty")
                if item.chunks is None and item.size:
                    start, size = item.id.get_offset(), item.id.get_storage_size()
                    # A text of variable length is stored as a 16-byte reference.
                    each = 16 if item.dtype.hasobject else item.dtype.itemsize
                    fits = start is not None and size == item.size * each
                    need(fits, f"size of {name}")
                    ranges.append((start, start + size))
                if h5py.check_string_dtype(item.dtype) is not None:
                    arrays[name] = np.asarray(item.asstr()[()], dtype=str)
                    continue
                plain = h5py.h5t.py_create(item.dtype, logical=True)
                need(item.id.get_type().equal(plain), f"{name} has an unusual type")
                values = item[()]
                if values.dtype.kind == "b":
                    need(np.isin(values.view("u1"), (0, 1)).all(), f"bools of {name}")
                arrays[name] = np.asarray(values.astype(values.dtype.newbyteorder("=")))
        need(_end(content) == len(content), "bytes after the end")
    except Seen:
        raise
    except Exception as error:
        raise Seen(str(error)) from None
    ranges.sort()
    for (_, stop), (start, _) in zip(ranges, ranges[1:], strict=False):
        need(stop <= start, "datasets overlap")
    need(not ranges or ranges[-1][1] <= len(content), "data after the end")
    return arrays


def _end(content: bytes) -> int:
    """Return the size of an HDF5 file that its superblock states."""
    place = 40 if content[8] < 2 else 28
    (end,) = struct.unpack_from("<Q", content, place)
    return int(end)


def hdf5(path: Path) -> Reading:
    """Read named datasets."""
    return from_keys(hdf5_arrays(path.read_bytes()))
