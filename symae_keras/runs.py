"""Run folders: what is in them, and how they are read back.

A run folder holds model.keras, config.json, history.csv, metrics.json,
environment.json and figures/*.png.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
import json
import platform
import shlex
import sys
from os import PathLike
from pathlib import Path
from typing import Any, Final

import symae_keras
from symae_keras.errors import InputError
from symae_keras.presets import load_recipe, one_line, recipe_hash

#: Names of the figures of a run; which there are depends on model and data.
FIGURES: Final = ("history", "redatuming", "reconstruction", "codes")
#: All that a run ever writes, as patterns of paths in its folder.
RUN_CONTENTS: Final = (
    "model.keras",
    "config.json",
    "history.csv",
    "metrics*.json",
    "environment.json",
    *(f"figures/{name}.png" for name in FIGURES),
)
#: Entries of config.json that are read back, by the entry that they are in.
_CONFIG: Final = {"recipe": ("name", "source", "sha256"), "data": ("file", "sha256")}


def file_hash(path: str | PathLike[str]) -> str:
    """SHA-256 of the bytes of a file.

    Raises:
        InputError: The file cannot be read.
    """
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}.") from None


def environment() -> dict[str, str]:
    """What a run depended on: versions, backend, platform and the command line."""
    import keras

    packages = ("keras", "tensorflow", "numpy")
    command = [Path(sys.argv[0]).name, *sys.argv[1:]]
    return {
        "symae_keras": symae_keras.__version__,
        **{name: importlib.metadata.version(name) for name in packages},
        "backend": keras.config.backend(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "command": shlex.join(command),
    }


@dataclasses.dataclass(frozen=True)
class Run:
    """A complete run folder, read."""

    folder: Path
    config: dict[str, Any]
    model: Any


def run_files(folder: Path) -> list[Path]:
    """Return the files of a run that are in a folder, and none of a user's."""
    return [path for pattern in RUN_CONTENTS for path in folder.glob(pattern)]


def read_config(folder: Path) -> dict[str, Any]:
    """The config.json of a run folder, complete or not.

    Raises:
        InputError: There is none, or it cannot be used.
    """
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text())
        for name, entries in _CONFIG.items():
            for entry in entries:
                config[name][entry]
        for name in ("seed", "train_fraction", "instance_shape"):
            config[name]
    except FileNotFoundError:
        raise InputError(f"{folder} is not a run folder: no config.json.") from None
    except KeyError as error:
        raise InputError(f"{path} has no entry {error}.") from None
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"{path} cannot be read: {one_line(error)}.") from None
    return dict(config)


def load_run(path: str | PathLike[str]) -> Run:
    """Read a complete run folder.

    Args:
        path: The folder, such as `symae train` makes.

    Returns:
        Its `config`, a dict, and its `model`, not compiled.

    Raises:
        InputError: The folder is missing, is not a run folder, holds an unfinished
            run, or its model cannot be loaded.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise InputError(f"The run folder {folder} does not exist.")
    config = read_config(folder)
    file = folder / "model.keras"
    if not file.is_file():
        raise InputError(
            f"{folder} has no model.keras: the run was interrupted, so finish it with "
            "symae train --resume."
        )
    return Run(folder, config, _load_model(file, config))


def _load_model(file: Path, config: dict[str, Any]) -> Any:
    import keras

    source = Path(config["recipe"]["source"])
    # A recipe may have classes of its own, which Keras knows once it has been run.
    if source.is_file() and recipe_hash(source) == config["recipe"]["sha256"]:
        load_recipe(source)
    try:
        return keras.saving.load_model(file, compile=False)
    # Damaged files raise whatever the parser trips over.
    except Exception as error:
        raise InputError(f"{file} cannot be loaded: {one_line(error)}.") from error
