"""Reader of idx files, the format of MNIST and similar data sets."""

from __future__ import annotations

import gzip
import math
import zlib
from os import PathLike
from pathlib import Path
from typing import Final

import numpy as np

from symae_keras._utils.untrusted_files import require
from symae_keras.data.groups import Array
from symae_keras.errors import InputError

_PREFIX: Final = {"train": "train", "test": "t10k"}
#: Two zero bytes, the code of unsigned bytes, and the number of axes.
_MAGIC: Final = b"\x00\x00\x08"


def load_idx(folder: str | PathLike[str], split: str = "train") -> tuple[Array, Array]:
    """Read images and labels from a folder of idx files in the MNIST format.

    The files are `train-images-idx3-ubyte` and `train-labels-idx1-ubyte`, or `t10k-...`
    for the test split, uncompressed or ending in `.gz`. `images.idx3` is accepted
    instead of `images-idx3`.

    Args:
        folder: The folder with the files.
        split: `"train"` or `"test"`.

    Returns:
        Images `(rows, height, width)` uint8 and labels `(rows,)` uint8.

    Raises:
        InputError: A file is missing, damaged, not an idx file, or does not match the
            other file; the message names the file.

    Example:
    >>> import pathlib, struct, tempfile
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> images = struct.pack(">4B3i", 0, 0, 8, 3, 2, 28, 28) + bytes(2 * 28 * 28)
    >>> _ = (folder / "train-images-idx3-ubyte").write_bytes(images)
    >>> labels = struct.pack(">4Bi", 0, 0, 8, 1, 2) + bytes([7, 2])
    >>> _ = (folder / "train-labels-idx1-ubyte").write_bytes(labels)
    >>> images, labels = load_idx(folder)
    >>> images.shape, labels
    ((2, 28, 28), array([7, 2], dtype=uint8))
    """
    if split not in _PREFIX:
        raise InputError(f'split must be "train" or "test"; received {split!r}.')
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder; expected one with idx files.")
    image_path = _find(folder, f"{_PREFIX[split]}-images", 3)
    label_path = _find(folder, f"{_PREFIX[split]}-labels", 1)
    images, labels = _read(image_path, 3), _read(label_path, 1)
    if len(images) != len(labels):
        raise InputError(
            f"{label_path} contains {len(labels)} labels for the {len(images)} images "
            f"in {image_path.name}; expected one label per image."
        )
    return images, labels


def _find(folder: Path, stem: str, axes: int) -> Path:
    names = [
        f"{stem}{mark}idx{axes}-ubyte{end}" for end in ("", ".gz") for mark in "-."
    ]
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise InputError(f"{folder} has no file {names[0]}, nor {names[0]}.gz.")


def _read(path: Path, axes: int) -> Array:
    start = 4 + 4 * axes
    try:
        opening = gzip.open if path.suffix == ".gz" else open
        with opening(path, "rb") as file:
            header = file.read(start)
            shape = _shape(path, axes, header)
            expected = math.prod(shape)
            require(expected, f"{path}, of the shape {shape} by its header,")
            # Read one more byte to detect a file that is too long.
            content = bytearray(file.read(expected + 1))
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path} cannot be read: {error}.") from None
    if len(content) != expected:
        found = len(content) if len(content) < expected else f"more than {expected}"
        raise InputError(
            f"{path} contains {found} values, but its header gives the shape {shape}, "
            f"{expected} values; the file is damaged."
        )
    return np.frombuffer(content, np.uint8).reshape(shape)


def _shape(path: Path, axes: int, header: bytes) -> tuple[int, ...]:
    if header[:4] != _MAGIC + bytes([axes]) or len(header) < 4 + 4 * axes:
        raise InputError(
            f"{path} is not an idx file of unsigned bytes with {axes} axes: its first "
            f"bytes are {header[:4].hex(' ') or 'missing'}, expected "
            f"{(_MAGIC + bytes([axes])).hex(' ')} and {axes} lengths."
        )
    shape = tuple(int(n) for n in np.frombuffer(header, ">u4", axes, offset=4))
    if 0 in shape:
        raise InputError(f"{path} is empty: its header gives the shape {shape}.")
    return shape
