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
    """An array that fills its file, or member of a zip file, exactly."""
    stream = io.BytesIO(content)
    try:
        array = np.load(stream, allow_pickle=False)
    except Exception as error:
        raise Seen(str(error)) from None
    need(isinstance(array, np.ndarray), "no array")
    need(stream.tell() == len(content), "bytes behind the array")
    if array.dtype.kind == "b":
        need(np.isin(array.view("u1"), (0, 1)).all(), "a bool that is neither 0 nor 1")
    return np.asarray(array)


def npy(path: Path) -> Reading:
    """`x` alone."""
    return from_keys({"x": npy_array(path.read_bytes())})


def zip_members(content: bytes) -> dict[str, bytes]:
    """Contents of a zip file whose checksums and sizes fit."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as file:
            infos = file.infolist()
            need(len({each.filename for each in infos}) == len(infos), "a name twice")
            return {each.filename: file.read(each) for each in infos}
    except Seen:
        raise
    except Exception as error:
        raise Seen(str(error)) from None


def npz(path: Path) -> Reading:
    """Named arrays."""
    inside = zip_members(path.read_bytes())
    arrays = {
        name.removesuffix(".npy"): npy_array(body) for name, body in inside.items()
    }
    need(len(arrays) == len(inside), "a name twice")
    return from_keys(arrays)


def hdf5_arrays(content: bytes, everything: bool = False) -> dict[str, Array]:
    """Datasets whose types are plain and whose data are there and nobody else's.

    Args:
        content: The bytes of the file.
        everything: Whether datasets in groups count, too, and any name.
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
                    need(everything, f"{name} is no dataset")
                    continue
                need(item.shape is not None, f"{name} is empty")
                if item.chunks is None and item.size:
                    start, size = item.id.get_offset(), item.id.get_storage_size()
                    # A text of any length is stored as 16 bytes that point to it.
                    each = 16 if item.dtype.hasobject else item.dtype.itemsize
                    fits = start is not None and size == item.size * each
                    need(fits, f"size of {name}")
                    ranges.append((start, start + size))
                if h5py.check_string_dtype(item.dtype) is not None:
                    arrays[name] = np.asarray(item.asstr()[()], dtype=str)
                    continue
                plain = h5py.h5t.py_create(item.dtype, logical=True)
                need(item.id.get_type().equal(plain), f"{name} is of an odd type")
                values = item[()]
                if values.dtype.kind == "b":
                    need(np.isin(values.view("u1"), (0, 1)).all(), f"bools of {name}")
                arrays[name] = np.asarray(values.astype(values.dtype.newbyteorder("=")))
        need(_end(content) == len(content), "bytes behind the end")
    except Seen:
        raise
    except Exception as error:
        raise Seen(str(error)) from None
    ranges.sort()
    for (_, stop), (start, _) in zip(ranges, ranges[1:], strict=False):
        need(stop <= start, "datasets overlap")
    need(not ranges or ranges[-1][1] <= len(content), "data behind the end")
    return arrays


def _end(content: bytes) -> int:
    """The size of an HDF5 file, as its superblock states it."""
    place = 40 if content[8] < 2 else 28
    (end,) = struct.unpack_from("<Q", content, place)
    return int(end)


def hdf5(path: Path) -> Reading:
    """Named datasets."""
    return from_keys(hdf5_arrays(path.read_bytes()))
