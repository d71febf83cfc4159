"""The functions of `symae_keras.zoo`."""

from __future__ import annotations

import builtins
import tempfile
from os import PathLike
from pathlib import Path

import keras

from symae_keras._utils import presets
from symae_keras._utils.presets import HANDLE, PUSHED
from symae_keras._utils.untrusted_files import open_regular, write_stream
from symae_keras._utils.untrusted_models import load_model
from symae_keras.data.axis import Axis, HasAxis
from symae_keras.errors import InputError


def list() -> builtins.list[str]:
    """Return the names of the presets of the package, sorted.

    Example:
    >>> "symae_exposures" in list()
    True
    """
    return presets.trained_presets()


def help(name: str) -> None:
    """Print the card of a preset: intended use, limits and scores.

    Args:
        name: One of `list()`.

    Raises:
        InputError: There is no such preset.

    Example:
    >>> help("symae_exposures")  # doctest: +ELLIPSIS
    # symae_exposures
    ...
    """
    print(card(name))


def card(name: str) -> str:
    """Return the card of a preset as text, in Markdown.

    Args:
        name: One of `list()`.

    Raises:
        InputError: There is no such preset.
    """
    text = (presets.named_preset(name) / "README.md").read_text(encoding="utf-8")
    # The head is for model hubs.
    return text.split("---\n", 2)[-1].strip()


def load(preset: str | PathLike[str]) -> keras.Model:
    """Load a trained model with its weights, not compiled.

    A preset may come from an unknown author: none of its code is executed, and only its
    own files are read. Custom classes must be registered first
    (`keras.saving.register_keras_serializable`).

    Args:
        preset: A name from `list()`; or a folder, as written by `save_preset`; or
            `"hf://user/name"`, a repository of the Hugging Face Hub with the files of
            such a folder, which needs the package huggingface_hub.
            `"hf://user/name@revision"` loads a tag or commit; if it is the hash of a
            commit, its author cannot change it.

    Returns:
        The model, ready for `encode`, `reconstruct` and, for groups, `redatum`.

    Raises:
        InputError: There is no such preset, its files differ from its checksums, or it
            cannot be loaded without running code or reading other files.

    Example:
    >>> model = load("symae_exposures")
    >>> model.instance_shape
    (256,)
    """
    return presets.load_preset(preset)


def axis(preset: str | PathLike[str]) -> Axis | None:
    """Return the axis of the data that a preset was trained on.

    The model expects pixels in this order and unit. To compare the axis of other groups
    with it, use `Axis.check`.

    Args:
        preset: A name from `list()`, or a folder, as written by `save_preset`.

    Returns:
        The axis, or `None` if the data had none.

    Raises:
        InputError: There is no such preset, or its axis cannot be read.

    Example:
    >>> print(axis("symae_tablets"))
    600 to 1792, 597 pixels, wavelength (nm)
    """
    return Axis.read(presets.find_preset(preset))


def save_preset(
    model: keras.Model,
    folder: str | PathLike[str],
    half: bool = False,
    data: HasAxis | None = None,
) -> Path:
    """Save a model as a preset: a folder for `load` and Keras.

    The folder is created under its final name only when it is complete. Its SHA256SUMS
    reveals files that were damaged in transfer.

    Args:
        model: A built model.
        folder: The new folder; an existing one is not changed.
        half: Whether to store matrices and kernels in float16, which needs half the
            bytes. Defaults to False, so that the loaded model gives exactly the same
            results.
        data: The groups that the model was trained on, whose axis is saved with it.
            Defaults to `None`, no axis.

    Returns:
        The folder.

    Raises:
        InputError: The folder is not empty or cannot be created, or the model has no
            weights yet.

    Example:
    >>> import tempfile
    >>> from symae_keras.models import SymAE
    >>> model = SymAE((32,), coherent_dim=2, nuisance_dim=1)
    >>> with tempfile.TemporaryDirectory() as there:
    ...     again = load(save_preset(model, Path(there) / "mine"))
    >>> again.coherent_dim
    2
    """
    return presets.save_preset(model, folder, half, data)


def push(folder: str | PathLike[str], handle: str, private: bool = True) -> str:
    """Upload a preset to the Hugging Face Hub, with its card.

    Only config.json, metadata.json, model.weights.h5, axis.json, SHA256SUMS, README.md
    and metrics.json are uploaded; other files in the folder are ignored.

    Args:
        folder: A folder, as written by `save_preset`, or the name of a preset. Write a
            card, README.md, into it before you share it.
        handle: `"hf://user/name"`; the repository is created if it does not exist.
        private: Whether a new repository is visible only to you. Defaults to True;
            `False` publishes it. An existing repository keeps its visibility.

    Returns:
        The address of the repository.

    Raises:
        InputError: The folder is not a preset, the handle is invalid, or
            huggingface_hub is not installed.
    """
    found = HANDLE.fullmatch(handle)
    if found is None or found[2]:
        raise InputError(f'handle must be like "hf://user/name"; received {handle!r}.')
    place = presets.find_preset(folder)
    # Upload the checked copy.
    with tempfile.TemporaryDirectory(prefix="symae-") as copied:
        for name in PUSHED:
            if (place / name).exists():
                with open_regular(place / name) as source:
                    write_stream(source, Path(copied) / name)
        load_model(Path(copied), f"The preset {folder}")
        api = presets.import_hub().HfApi(library_name="symae_keras")
        repository = api.create_repo(found[1], private=private, exist_ok=True)
        api.upload_folder(
            repo_id=repository.repo_id,
            folder_path=copied,
            commit_message="A preset of symae_keras",
        )
    return str(repository)
