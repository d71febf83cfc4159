"""The functions of `symae_keras.zoo`."""

from __future__ import annotations

import builtins
import tempfile
from os import PathLike
from pathlib import Path
from typing import Final

import keras

from symae_keras._utils import presets
from symae_keras._utils.files import CHECKSUMS
from symae_keras._utils.presets import HANDLE, SAVED
from symae_keras._utils.untrusted_files import open_regular, write_stream
from symae_keras._utils.untrusted_models import load_model
from symae_keras.data.axis import AXIS_FILE, Axis, HasAxis
from symae_keras.errors import InputError

#: What `push` uploads, where it is there.
PUSHED: Final = (*SAVED, AXIS_FILE, CHECKSUMS, "README.md", "metrics.json")


def list() -> builtins.list[str]:
    """Names of the presets that come with the package, sorted.

    Example:
    >>> "symae_exposures" in list()
    True
    """
    return presets.trained_presets()


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
    text = (presets.named_preset(name) / "README.md").read_text(encoding="utf-8")
    # The head is for model hubs.
    return text.split("---\n", 2)[-1].strip()


def load(preset: str | PathLike[str]) -> keras.Model:
    """Load a trained model with its weights, not compiled.

    A preset may come from a stranger: no code of it runs, and no file but its own is
    read. Classes of your own must be registered before
    (`keras.saving.register_keras_serializable`).

    Args:
        preset: A name out of `list()`; or a folder, as `save_preset` makes it; or
            `"hf://user/name"`, a repository of the Hugging Face Hub with the files of
            such a folder, which needs the package huggingface_hub. With
            `"hf://user/name@revision"` it is the state at a tag or commit, which
            others cannot change if it is the hash of a commit.

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

    The model expects its pixels in that order and unit; `Axis.check` compares the axis
    of other groups with it.

    Args:
        preset: A name out of `list()`, or a folder, as `save_preset` makes it.

    Returns:
        The axis, or `None` where the data had none.

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
    """Save a model as a preset: a folder that `load` and Keras itself can read.

    The folder is written aside and put in place when it is complete. Its SHA256SUMS
    shows files that were damaged on their way.

    Args:
        model: A built model.
        folder: To be made; one that is there is left alone.
        half: Whether to store matrices and kernels in float16, in half the bytes.
            Defaults to False, so that the model gives the same digits when loaded.
        data: The groups that the model was trained on, whose axis is saved with it.
            Defaults to `None`, no axis.

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
    return presets.save_preset(model, folder, half, data)


def push(folder: str | PathLike[str], handle: str, private: bool = True) -> str:
    """Upload a preset to the Hugging Face Hub, its card included.

    Only config.json, metadata.json, model.weights.h5, axis.json, SHA256SUMS, README.md
    and metrics.json are uploaded, whatever else is in the folder.

    Args:
        folder: As `save_preset` makes it, or the name of a preset. Write a README.md
            into it, the card, before you share it.
        handle: `"hf://user/name"`; the repository is made if it is not there.
        private: Whether a repository that is made is visible to you only. Defaults to
            True; `False` publishes it. A repository that exists stays as it is.

    Returns:
        The address of the repository.

    Raises:
        InputError: The folder is no preset, the handle is no handle, or
            huggingface_hub is not installed.
    """
    found = HANDLE.fullmatch(handle)
    if found is None or found[2]:
        raise InputError(f'handle must be like "hf://user/name"; received {handle!r}.')
    place = presets.find_preset(folder)
    # What is checked is what is uploaded.
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
