"""Readers of folders of images."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import numpy as np

from symae_keras.data.grouping import bag_by_label
from symae_keras.data.groups import Array, GroupedData
from symae_keras.data.idx import load_idx
from symae_keras.data.readers.assemble import from_rows
from symae_keras.data.readers.sentences import unreadable
from symae_keras.errors import InputError

_SUFFIXES: Final = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
_BAG_SIZE: Final = 20


def read_images(path: Path, group: str | None) -> GroupedData:
    """Groups from sub-folders: a sub-folder is a group, its images the instances.

    Raises:
        InputError: A sub-folder has no images, or a file is no image or differs from
            the first one in size or mode.
    """
    _refuse_group(group, "the names of the sub-folders")
    images: list[Array] = []
    ids, files = [], []
    first = ""
    for folder in sorted(f for f in path.iterdir() if not f.name.startswith(".")):
        inside = sorted(f for f in folder.iterdir() if not f.name.startswith("."))
        if not inside:
            raise InputError(f"the sub-folder {folder.name} is empty; remove it.")
        for file in inside:
            name = f"{folder.name}/{file.name}"
            images.append(_read(file, name))
            first = first or name
            if _kind(images[-1]) != _kind(images[0]):
                raise InputError(
                    f"{name} is an image of {_kind(images[-1])}, but {first} one of "
                    f"{_kind(images[0])}; bring all to one size and mode."
                )
            ids.append(folder.name)
            files.append(file.name)
    x = np.stack(images)
    if x.dtype == np.uint8:
        x = x.astype("float32") / np.float32(255)
    return from_rows(path, x, np.array(ids), metadata={"file": np.array(files)})


def read_idx(path: Path, group: str | None) -> GroupedData:
    """Bags of training images that share a label, from MNIST-format idx files.

    Raises:
        InputError: A file is missing or damaged.
    """
    _refuse_group(group, "the labels")
    try:
        return bag_by_label(*load_idx(path), bag_size=_BAG_SIZE)
    except InputError as error:
        # `load` puts the folder in front.
        sentence = str(error).removeprefix(str(path)).lstrip(f"{os.sep} ")
        raise InputError(sentence) from None


def _read(file: Path, name: str) -> Array:
    """The pixels of an image, channels last."""
    from PIL import Image, UnidentifiedImageError

    if file.suffix.lower() not in _SUFFIXES:
        raise InputError(
            f"{name} is no image; expected files that end in {', '.join(_SUFFIXES)}."
        )
    try:
        with Image.open(file) as image:
            # Colours of a palette are numbers without an order.
            pixels = np.asarray(image.convert("RGB") if image.mode == "P" else image)
    except UnidentifiedImageError:
        raise InputError(f"{name} cannot be read: it is no image.") from None
    except Exception as error:
        raise unreadable(name, error) from error
    return pixels[..., None] if pixels.ndim == 2 else pixels


def _kind(pixels: Array) -> str:
    height, width, channels = pixels.shape
    return f"{width} x {height} pixels, {channels} x {pixels.dtype}"


def _refuse_group(group: str | None, why: str) -> None:
    if group is not None:
        raise InputError(f"{why} are the groups; leave group= out, here {group!r}.")
