"""Presets: trained models that come with the package, or from elsewhere.

A preset is a folder in the form that Keras saves models in (config.json, metadata.json,
model.weights.h5), with a card, README.md. Those of the package also have recipe.py,
which makes them, and metrics.json, which tells how well.
"""

from __future__ import annotations

import builtins
import importlib.util
from os import PathLike
from pathlib import Path
from typing import Final

import keras

from symae_keras.compact import compact_weights
from symae_keras.errors import InputError
from symae_keras.folders import Draft
from symae_keras.presets import (
    one_line,
    preset_folder,
    trained_presets,
    unknown_preset,
)

_HUB: Final = "hf://"
#: What Keras writes into a folder.
SAVED: Final = ("config.json", "metadata.json", "model.weights.h5", "assets")


def list() -> builtins.list[str]:
    """Names of the presets that come with the package, sorted.

    Example:
    >>> "symae_exposures" in list()
    True
    """
    return trained_presets()


def help(name: str) -> None:
    """Print the card of a preset: what it is for, its limits and how well it does.

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
    """The same as a text, in Markdown.

    Args:
        name: One of `list()`.

    Raises:
        InputError: There is no such preset.
    """
    text = (_named(name) / "README.md").read_text()
    # The head is for model hubs.
    return text.split("---\n", 2)[-1].strip()


def load(preset: str | PathLike[str]) -> keras.Model:
    """A trained model, with its weights, not compiled.

    Args:
        preset: A name out of `list()`; or a folder, as `save_preset` makes it; or
            `"hf://user/name"`, a repository of the Hugging Face Hub with the files of
            such a folder, which Keras downloads with the package huggingface_hub.

    Returns:
        The model, ready for `encode`, `reconstruct` and, for groups, `redatum`.

    Raises:
        InputError: There is no such preset, or it cannot be loaded.

    Example:
    >>> model = load("symae_exposures")
    >>> model.instance_shape
    (256,)
    """
    source = str(preset)
    if source.startswith(_HUB):
        _need_hub()
        path = source
    elif Path(preset).is_dir() and source not in list():
        path = str(preset)
        missing = [each for each in SAVED[:3] if not (Path(preset) / each).is_file()]
        if missing:
            raise InputError(
                f"{preset} is not a preset: no {' and no '.join(missing)} in it. "
                "save_preset(model, folder) makes one."
            )
    else:
        path = str(_named(source))
    try:
        return keras.saving.load_model(path, compile=False)
    except Exception as error:
        raise InputError(
            f"The preset {preset} cannot be loaded: {one_line(error)}."
        ) from error


def save_preset(
    model: keras.Model, folder: str | PathLike[str], half: bool = False
) -> Path:
    """Save a model as a preset: a folder that `load` and Keras itself can read.

    The folder is written aside and put in place when it is complete.

    Args:
        model: A built model.
        folder: To be made; one that is there is left alone.
        half: Whether to store matrices and kernels in float16, in half the bytes.
            Defaults to False, so that the model gives the same digits when loaded.

    Returns:
        The folder.

    Raises:
        InputError: The folder is not empty or cannot be made, or the model has no
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
    if not model.built:
        raise InputError(
            f"The model {model.name} is not built, so there are no weights to save; "
            "call it on data first."
        )
    with Draft(folder, (*SAVED, "README.md"), resume=None) as aside:
        keras.saving.save_model(model, aside, zipped=False)
        if half:
            compact_weights(aside / "model.weights.h5")
    return Path(folder)


def push(folder: str | PathLike[str], handle: str) -> str:
    """Upload a preset to the Hugging Face Hub, its card included.

    Args:
        folder: As `save_preset` makes it, or the name of a preset. Write a README.md
            into it, the card, before you share it.
        handle: `"hf://user/name"`; the repository is made if it is not there.

    Returns:
        The address of the repository.

    Raises:
        InputError: The folder is no preset, the handle is no handle, or
            huggingface_hub is not installed.
    """
    if not handle.startswith(_HUB) or handle.count("/") != 3:
        raise InputError(f'handle must be like "hf://user/name"; received {handle!r}.')
    load(folder)  # nothing that cannot be loaded is uploaded
    place = _named(str(folder)) if str(folder) in list() else Path(folder)
    _need_hub()
    import huggingface_hub

    api = huggingface_hub.HfApi(library_name="symae_keras")
    repository = api.create_repo(handle[len(_HUB) :], exist_ok=True)
    api.upload_folder(
        repo_id=repository.repo_id,
        folder_path=str(place),
        commit_message="A preset of symae_keras",
        ignore_patterns=["__pycache__/*"],
    )
    return str(repository)


def _named(name: str) -> Path:
    names = list()
    if name not in names:
        raise unknown_preset(name, names, "preset and no folder")
    return preset_folder(name)


def _need_hub() -> None:
    if importlib.util.find_spec("huggingface_hub") is None:
        raise InputError(
            'The Hugging Face Hub needs huggingface_hub: pip install "symae_keras[hub]"'
        )
