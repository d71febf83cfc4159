"""Reader of HDF5 files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from symae_keras.data.groups import Array, GroupedData
from symae_keras.data.readers.assemble import native
from symae_keras.data.readers.keys import from_keys


def read_hdf5(path: Path, group: str | None) -> GroupedData:
    """Groups from the datasets in the root of an HDF5 file, under the keys of `.npz`.

    The label of the axis is the dataset or attribute `axis_label`, or comes from the
    attribute `units` of the dataset `axis`.

    Raises:
        InputError: What the file holds cannot be used.
    """
    import h5py

    with h5py.File(path, "r") as file:
        arrays = {str(name): _array(file[name]) for name in file}
        if "axis_label" not in arrays and isinstance(file.get("axis"), h5py.Dataset):
            label = _label(file)
            if label is not None:
                arrays["axis_label"] = np.asarray(label)
    return from_keys(path, arrays, group)


def _array(item: Any) -> Array | None:
    """The values of a dataset; `None` for what is no array of numbers or text."""
    import h5py

    if not isinstance(item, h5py.Dataset) or item.shape is None:
        return None
    if item.chunks is None and not item.is_virtual and not item.external:
        # HDF5 would fill the memory with what a damaged shape promises.
        stored = item.id.get_storage_size()
        if stored < item.nbytes:
            raise OSError(f"{item.name} has the shape {item.shape}, but {stored} bytes")
    if h5py.check_string_dtype(item.dtype) is not None:
        return np.asarray(item.asstr()[()], dtype=str)
    return None if item.dtype.kind in "OV" else native(item[()])


def _label(file: Any) -> str | None:
    for owner in (file["axis"], file):
        if "axis_label" in owner.attrs:
            return _text(owner.attrs["axis_label"])
    units = file["axis"].attrs.get("units")
    return None if units is None else f"axis ({_text(units)})"


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
