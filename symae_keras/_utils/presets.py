"""Presets: the folders of trained models, found by name, path or handle."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from symae_keras._utils.files import (
    AXIS_FILE,
    CHECKSUMS,
    write_checksums,
    written_atomically,
)
from symae_keras._utils.folders import Draft
from symae_keras._utils.optional import import_optional
from symae_keras._utils.text import did_you_mean, one_line
from symae_keras._utils.untrusted_files import write_stream
from symae_keras.errors import InputError

if TYPE_CHECKING:
    import h5py
    import keras
    import numpy as np

    from symae_keras.data.axis import HasAxis

HUB: Final = "hf://"
#: A repository of the Hugging Face Hub, with an optional branch, tag or commit.
HANDLE: Final = re.compile(r"hf://([\w.-]+/[\w.-]+)(?:@([\w./-]+))?")
#: Files of every preset.
SAVED: Final = ("config.json", "metadata.json", "model.weights.h5")
#: Files that `push` uploads if they exist.
PUSHED: Final = (*SAVED, AXIS_FILE, CHECKSUMS, "README.md", "metrics.json")


# === Names ===


def preset_folder(name: str) -> Path:
    """Return the folder of a preset that comes with the package."""
    return _folder() / name


def _folder() -> Path:
    """Return the folder of presets, in the installed package or the source checkout."""
    package = Path(__file__).parents[1]
    packaged = package / "_zoo"
    return packaged if packaged.is_dir() else package.parent / "zoo"


def preset_names() -> list[str]:
    """Return the names of the recipes that come with the package, sorted.

    Example:
    >>> "symae_exposures" in preset_names()
    True
    """
    return sorted(path.parent.name for path in _folder().glob("*/recipe.py"))


def trained_presets() -> list[str]:
    """Return the names of the presets that come with weights, sorted."""
    return [n for n in preset_names() if (preset_folder(n) / "config.json").exists()]


def unknown_preset(name: str, names: Sequence[str], what: str = "preset") -> InputError:
    """Return the error for an unknown preset; `what` is the kind of the name."""
    known = f"the presets are {', '.join(names)}"
    return InputError(f"There is no {what} {name}; {did_you_mean(name, names, known)}.")


# === Loading and saving ===


def load_preset(preset: str | PathLike[str]) -> keras.Model:
    """Load a preset; see `symae_keras.zoo.load`."""
    # `symae --help` needs the names of presets, but must not import Keras.
    from symae_keras._utils.untrusted_models import load_model

    what = f"The preset {preset}"
    if not str(preset).startswith(HUB):
        return load_model(find_preset(preset), what)
    with tempfile.TemporaryDirectory(prefix="symae-") as folder:
        _download(str(preset), Path(folder))
        return load_model(Path(folder), what)


def save_preset(
    model: keras.Model,
    folder: str | PathLike[str],
    half: bool = False,
    data: HasAxis | None = None,
) -> Path:
    """Save a model as a preset; see `symae_keras.zoo.save_preset`."""
    import keras

    from symae_keras.data.axis import Axis

    if not model.built:
        raise InputError(
            f"The model {model.name} is not built, so there are no weights to save; "
            "call it on data first."
        )
    axis = None if data is None else Axis.of(data)
    with Draft(folder, (*PUSHED, "assets"), resume=None) as partial:
        keras.saving.save_model(model, partial, zipped=False)
        if half:
            compact_weights(partial / "model.weights.h5")
        if axis is not None:
            axis.write(partial)
        write_checksums(partial, (*SAVED, AXIS_FILE))
    return Path(folder)


def find_preset(preset: str | PathLike[str]) -> Path:
    """Return the folder of a preset, given by its name or path."""
    if not Path(preset).is_dir() or str(preset) in trained_presets():
        return named_preset(str(preset))
    missing = [each for each in SAVED if not (Path(preset) / each).exists()]
    if missing:
        raise InputError(
            f"{preset} is not a preset: it contains no {' and no '.join(missing)}. "
            "`model.save_to_preset` makes a preset."
        )
    return Path(preset)


def named_preset(name: str) -> Path:
    """Return the folder of a preset of the package."""
    names = trained_presets()
    if name not in names:
        raise unknown_preset(name, names, "preset and no folder")
    return preset_folder(name)


def _download(handle: str, folder: Path) -> None:
    """Copy the files of a preset from the Hugging Face Hub into a folder."""
    found = HANDLE.fullmatch(handle)
    if found is None:
        raise InputError(
            'A preset of the Hugging Face Hub is named like "hf://user/name" or '
            f'"hf://user/name@revision"; received {handle!r}.'
        )
    hub = import_hub()
    names = (*SAVED, CHECKSUMS)
    try:
        snapshot = hub.snapshot_download(
            repo_id=found[1],
            revision=found[2],
            allow_patterns=[*names],
            library_name="symae_keras",
        )
    # huggingface_hub and its dependencies raise errors of many classes.
    except Exception as error:
        raise InputError(
            f"The preset {handle} cannot be downloaded: {one_line(error)}."
        ) from error
    for name in names:
        if (Path(snapshot) / name).is_file():  # a link into the cache of the package
            with (Path(snapshot) / name).open("rb") as source:
                write_stream(source, folder / name)
        elif name in SAVED:
            raise InputError(f"The preset {handle} has no {name}.")


def import_hub() -> Any:
    """Return the package huggingface_hub, or raise an error."""
    return import_optional("huggingface_hub", "hub", "The Hugging Face Hub")


# === Weights in few bits ===

#: Number of float16 mantissa bits (of ten) that are zeroed for better compression.
_CLEARED = 3
#: Largest change by rounding, relative to the largest number of an array.
_TOLERANCE = 2.0 ** (_CLEARED - 11)


def compact_weights(path: Path) -> None:
    """Store the matrices and kernels of a Keras weights file in few bits, compressed.

    They become float16 numbers whose last three bits are 0. The relative error is at
    most 0.4 %. Keras casts the values to the dtype of each variable, so the file loads
    like any other. Vectors (biases, scales, means) and values outside the float16 range
    are not changed. The file is replaced in one step. Evaluate the model again
    afterwards.
    """
    # Imported here, so that `symae --help` does not load it.
    import h5py

    with (
        written_atomically(path) as partial,
        h5py.File(path) as source,
        h5py.File(partial, "w") as target,
    ):
        _copy(source, target)


def _copy(source: h5py.Group, target: h5py.Group) -> None:
    import h5py
    import numpy as np

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
        # Bytes of equal significance side by side compress better.
        packed = target.create_dataset(
            name, data=values, compression="gzip", compression_opts=9, shuffle=True
        )
        packed.attrs.update(item.attrs)


def _rounded(values: np.ndarray) -> np.ndarray:
    """Return float16 without the last bits, or the values if that is too coarse."""
    import numpy as np

    with np.errstate(over="ignore"):
        bits = values.astype("float16").view("uint16")
    half, last = 1 << (_CLEARED - 1), (1 << _CLEARED) - 1
    # A carry goes into the exponent, which is correct.
    rounded = ((bits + half) & ~np.uint16(last)).view("float16")
    largest = float(np.max(np.abs(values), initial=0.0))
    error = float(np.max(np.abs(rounded.astype("float32") - values), initial=0.0))
    return rounded if error <= _TOLERANCE * largest else values
