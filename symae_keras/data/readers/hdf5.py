"""Reader of HDF5 files."""

from __future__ import annotations

import functools
import logging
import math
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np

from symae_keras.data.groups import Array, GroupedData
from symae_keras.data.readers.assemble import native
from symae_keras.data.readers.keys import Stored, from_keys
from symae_keras.data.readers.memory import require

_log = logging.getLogger("symae_keras")

_SIGNATURE: Final = b"\x89HDF\r\n\x1a\n"
_COPY: Final = "; copy the values into a dataset of this file"
#: Soft links that are followed behind each other.
_LINKS: Final = 16
#: Names in a group that are mentioned.
_SHOWN: Final = 9
#: Texts that are read together.
_ROWS: Final = 256


def read_hdf5(path: Path, group: str | None) -> GroupedData:
    """Groups from the datasets in the root of an HDF5 file, under the keys of `.npz`.

    The label of the axis is the dataset or attribute `axis_label`, or comes from the
    attribute `units` of the dataset `axis`. No other file is read, whatever this one
    refers to: external links and storage and virtual datasets are refused where they
    are needed, and reported where they are not.

    Raises:
        InputError: What the file holds cannot be used.
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
    """Warn where the file is longer than its superblock says.

    A shorter one is refused by HDF5 itself. Bytes that were inserted or added move data
    without any other trace.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(96)
        # A block of the user's own bytes may stand before: 512, 1024, ... of them.
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
    # Base address, an address of something else, and the end, each of eight bytes.
    first, _, end = struct.unpack_from("<3Q", head, place)
    # Some writers count the block of the user in, others do not.
    if size not in (end, first + end):
        _log.warning(
            "%s: the file may be damaged: %d bytes, of which its header describes %d.",
            path,
            size,
            end,
        )


def _items(file: Any) -> Iterator[tuple[str, Stored | str]]:
    """List the content of the root; a text says why an item cannot be read."""
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
            yield name, item if isinstance(item, str) else "is no dataset"


def _names(group: Any) -> list[str]:
    """List the first names in a group and in the groups below it."""
    names: list[str] = []

    def note(name: str) -> bool | None:
        names.append(name)
        return True if len(names) == _SHOWN else None  # anything but None stops

    group.visit(note)  # it follows no links
    return names


def _resolved(place: Any, path: str, links: int = 0) -> Any:
    """Find the object at a path, or say in a text why it cannot be read.

    h5py itself would open other files on the way, even to describe a link.
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
    """Describe a dataset, or say in a text why it cannot be read."""
    import h5py

    plist = item.id.get_create_plist()
    # Before anything is asked of the dataset: its shape alone can open other files.
    if plist.get_layout() == h5py.h5d.VIRTUAL:
        return "is a virtual dataset, which may read other files" + _COPY
    if plist.get_external_count():
        return "keeps its values in another file, which is not read" + _COPY
    filters = [plist.get_filter(k) for k in range(plist.get_nfilters())]
    for code, *_, name in filters:
        if not h5py.h5z.filter_avail(code):
            called = name.decode("utf-8", "replace") or "(no name)"
            return (
                f"is packed with the filter {called}, number {code}, which h5py does "
                "not have here; pack it with gzip"
            )
    try:
        dtype = item.dtype
    except TypeError:
        return "has a type that NumPy does not have"
    text = h5py.check_string_dtype(dtype)
    is_text = text is not None and text.length is None
    if item.shape is None or (dtype.kind in "OV" and not is_text):
        return "holds no array of numbers or text"
    if is_text:
        return Stored(item.shape, np.dtype(str), 8 * item.size, lambda: _texts(item))
    stored = item.id.get_storage_size()
    if item.chunks is None and stored < item.nbytes:
        return (
            f"has the shape {item.shape}, {item.nbytes} bytes, of which the file holds "
            f"{stored}; it is damaged or was never written in full"
        )
    # One chunk is unpacked beside the values, and can be larger than these.
    chunk = math.prod(item.chunks or (0,)) * dtype.itemsize
    return Stored(
        item.shape, dtype, item.nbytes + chunk, lambda: native(item[()]), stored
    )


def _texts(item: Any) -> Array:
    """Read texts of any length, part by part, because a file can repeat one at no cost.

    Raises:
        InputError: They are too large.
    """
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
