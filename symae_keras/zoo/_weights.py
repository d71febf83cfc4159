"""Saved weights in half the bytes, or less."""

from __future__ import annotations

import os
from pathlib import Path

import h5py
import numpy as np

from symae_keras._utils.files import written_aside

#: How many of float16's ten bits behind the point are cleared, to be packed to nothing.
_CLEARED = 3
#: What rounding may change, relative to the largest number of an array.
_TOLERANCE = 2.0 ** (_CLEARED - 11)


def compact_weights(path: str | os.PathLike[str]) -> None:
    """Store the matrices and kernels of a Keras weights file in few bits, packed.

    They become float16 whose last three bits are 0: numbers to 0.4 %, or better. Keras
    casts what it reads to the dtype of each variable, so that the file is loaded like
    any other. Vectors (biases, scales, means) and what float16 cannot hold stay as they
    are. Measure a network again afterwards.

    Args:
        path: A file `model.weights.h5` as Keras writes it, replaced as a whole.
    """
    path = Path(path)
    with (
        written_aside(path) as aside,
        h5py.File(path) as source,
        h5py.File(aside, "w") as target,
    ):
        _copy(source, target)


def _copy(source: h5py.Group, target: h5py.Group) -> None:
    target.attrs.update(source.attrs)
    for name, item in source.items():
        if isinstance(item, h5py.Group):
            _copy(item, target.create_group(name))
            continue
        values = np.asarray(item)
        if values.ndim < 2:
            source.copy(item, target, name)
            continue
        if values.dtype == np.float32:
            values = _rounded(values)
        # Bytes of equal meaning side by side are packed better.
        packed = target.create_dataset(
            name, data=values, compression="gzip", compression_opts=9, shuffle=True
        )
        packed.attrs.update(item.attrs)


def _rounded(values: np.ndarray) -> np.ndarray:
    """In float16 without its last bits, or as they are where that is too coarse."""
    with np.errstate(over="ignore"):
        bits = values.astype("float16").view("uint16")
    half, last = 1 << (_CLEARED - 1), (1 << _CLEARED) - 1
    # A carry goes into the exponent, as it should.
    rounded = ((bits + half) & ~np.uint16(last)).view("float16")
    largest = float(np.max(np.abs(values), initial=0.0))
    error = float(np.max(np.abs(rounded.astype("float32") - values), initial=0.0))
    return rounded if error <= _TOLERANCE * largest else values
