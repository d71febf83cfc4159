"""Checks and memory limits for untrusted weights."""

from __future__ import annotations

import contextlib
import functools
import math
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import h5py
import keras

from symae_keras.errors import InputError

#: A file may always expand to this many bytes, ...
_EXPANSION_FLOOR: Final = 64 << 20
#: ... and otherwise to this multiple of its size.
MAX_EXPANSION: Final = 100
#: Filters that are part of every HDF5 library: gzip, shuffle and Fletcher's checksum.
_FILTERS: Final = {h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE, 3}


class WeightsSize(NamedTuple):
    """Sizes of the contents of a weights file."""

    values: int
    """Number of values in all arrays."""
    arrays: int
    """Arrays."""


def expands_too_much(size: int, stored: int) -> bool:
    """Return whether an implausible size in memory is claimed by stored bytes."""
    return size > max(_EXPANSION_FLOOR, MAX_EXPANSION * stored)


def check_weights(path: Path) -> WeightsSize:
    """Check a file of weights in Keras's format, without reading any array.

    The file must contain only arrays of numbers, no links and no data in other files.
    The claimed size must not be much larger than the file. Pass a private copy, so that
    nobody can change it between this check and its use.
    """
    values = arrays = size = 0
    with h5py.File(path, "r") as file:
        seen = {_address(file)}
        groups = [file]
        while groups:
            group = groups.pop()
            for name in group:
                where = f"{group.name.rstrip('/')}/{name}"[:200]
                link = group.get(name, getlink=True)
                if not isinstance(link, h5py.HardLink):
                    raise InputError(f"its weights contain the link {where!r}")
                item = group[name]
                # Hard links may form a cycle.
                if _address(item) in seen:
                    raise InputError(f"its weights contain {where!r} twice")
                seen.add(_address(item))
                if isinstance(item, h5py.Group):
                    groups.append(item)
                    continue
                count = _count(item, where)
                values += count
                size += count * item.dtype.itemsize
                arrays += 1
    stored = path.stat().st_size
    if expands_too_much(size, stored):
        raise InputError(
            f"its weights claim {size:,} bytes in memory, but the file has {stored:,}"
        )
    return WeightsSize(values, arrays)


def _address(item: h5py.Group | h5py.Dataset) -> tuple[int, int]:
    info = h5py.h5o.get_info(item.id)
    return info.fileno, info.addr


def _count(item: h5py.Dataset | h5py.Datatype, where: str) -> int:
    """Check an array and return the number of its values."""
    if not isinstance(item, h5py.Dataset):
        raise InputError(f"its weights contain {where!r}, which is not an array")
    creation = item.id.get_create_plist()
    # Checked before the shape, which HDF5 may look up in the other files.
    if creation.get_layout() == h5py.h5d.VIRTUAL or creation.get_external_count():
        raise InputError(f"the values of its weights {where!r} are in another file")
    filters = {creation.get_filter(n)[0] for n in range(creation.get_nfilters())}
    if not filters <= _FILTERS:
        raise InputError(f"its weights {where!r} need a filter other than gzip")
    dtype = item.dtype
    # Keras stores bfloat16, which HDF5 does not support, as plain bytes.
    plain = dtype.names is None and dtype.subdtype is None and dtype.itemsize <= 8
    if dtype.kind not in "biufV" or not plain or item.shape is None:
        raise InputError(f"its weights {where!r} are not an array of numbers")
    return math.prod(item.shape)


#: A layer, or a weight of any size, counts as this many values.
_EACH: Final = 1000
#: A model may have this many times the weights that its file contains, for example
#: copies that are replaced while the model is built, ...
_FACTOR: Final = 4
#: ... and this many values more.
_SPARE: Final = 2_000_000
_one_at_a_time = threading.RLock()


@contextlib.contextmanager
def weights_within(size: WeightsSize) -> Iterator[None]:
    """Raise if a model has more layers and weights than its file can fill.

    A config of a few bytes may request a layer of terabytes, which Keras would allocate
    before it reads the weights. Only layers that this thread makes are counted.
    """
    left = _SPARE + _FACTOR * (size.values + _EACH * size.arrays)
    owner = threading.get_ident()
    refused = InputError(
        f"its config asks for many more weights than the {size.values:,} numbers in "
        "its weights file"
    )

    def spend(cost: int) -> None:
        nonlocal left
        if threading.get_ident() != owner:
            return
        left -= cost
        if left < 0:
            raise refused

    with _one_at_a_time:
        stock_new, stock_add = keras.Layer.__new__, keras.Layer.add_weight

        def new(cls: type[keras.Layer], *args: Any, **kwargs: Any) -> keras.Layer:
            spend(_EACH)
            return stock_new(cls, *args, **kwargs)

        @functools.wraps(stock_add)
        def add_weight(self: keras.Layer, *args: Any, **kwargs: Any) -> Any:
            shape = kwargs.get("shape", args[0] if args else None)
            spend(_EACH + (0 if shape is None else abs(math.prod(shape))))
            return stock_add(self, *args, **kwargs)

        keras.Layer.__new__ = staticmethod(new)
        keras.Layer.add_weight = add_weight
        try:
            yield
        except Exception as error:
            # Keras replaces errors in a constructor with its own.
            if left < 0:
                raise refused from error
            raise
        finally:
            keras.Layer.__new__ = staticmethod(stock_new)
            keras.Layer.add_weight = stock_add
