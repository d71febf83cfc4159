"""Reader of NumPy's own files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from symae_keras.data.groups import Array, GroupedData
from symae_keras.data.readers.keys import from_keys
from symae_keras.errors import InputError


def read_npz(path: Path, group: str | None) -> GroupedData:
    """Groups from a `.npz` or `.npy` file; an `.npy` file stays on disk until used.

    Raises:
        InputError: The file holds Python objects, or what it holds cannot be used.
    """
    with path.open("rb") as file:
        magic = file.read(2)
        if magic == b"PK":
            file.seek(0)
            with np.load(file, allow_pickle=False) as content:
                arrays = {key: _array(content, key) for key in content.files}
            return from_keys(path, arrays, group)
    if magic != b"\x93N":
        raise ValueError("it does not start like a NumPy file")
    if group is not None:
        raise InputError(
            f"an .npy file has no names, so none is {group}; save x and {group} in a "
            ".npz file."
        )
    try:
        x = np.load(path, mmap_mode="r", allow_pickle=False)
    except ValueError as error:
        if "Python objects" in str(error):
            raise _pickled() from None
        raise
    return from_keys(path, {"x": x}, None)


def _array(content: Mapping[str, Any], key: str) -> Array | None:
    """An array of the archive; `None` for Python objects under a key nobody needs."""
    try:
        return np.asarray(content[key])
    except ValueError as error:
        if "allow_pickle" not in str(error):
            raise
    if key in ("x", "mask", "group", "ids", "pixel_mask", "weights", "axis"):
        raise _pickled()
    return None


def _pickled() -> InputError:
    return InputError(
        "it holds pickled Python objects, which are refused because they can run "
        "code; save plain numeric arrays."
    )
