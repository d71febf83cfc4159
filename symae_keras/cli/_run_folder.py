"""Run folders: their content, and functions to read them.

A run folder contains model.keras, config.json, history.csv, metrics.json,
environment.json, report.html, figures/*.png and, for data with an axis, axis.json.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import importlib.metadata
import logging
import math
import os
import platform
import shlex
import sys
from os import PathLike
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, Final

import symae_keras as sk
from symae_keras._utils.files import AXIS_FILE
from symae_keras._utils.presets import preset_names
from symae_keras._utils.text import one_line
from symae_keras._utils.untrusted_files import parse_json, read_bounded
from symae_keras.errors import InputError
from symae_keras.zoo.recipes import load_recipe, recipe_hash

if TYPE_CHECKING:
    from symae_keras.data import Axis
    from symae_keras.training import Recipe

_log = logging.getLogger("symae_keras")

#: Names of the figures of a run; which of them exist depends on model and data.
FIGURES: Final = ("history", "redatuming", "reconstruction", "codes")
#: The report, which is self-contained.
REPORT: Final = "report.html"
#: All possible files of a run, as patterns of paths in its folder.
RUN_CONTENTS: Final = (
    "model.keras",
    AXIS_FILE,
    "config.json",
    "history.csv",
    "metrics*.json",
    "environment.json",
    REPORT,
    *(f"figures/{name}.png" for name in FIGURES),
)
#: Entries of config.json that are read back, with their types.
_CONFIG: Final[dict[str, Any]] = {
    "recipe": {"name": str, "source": str, "sha256": str},
    "data": {"file": str | None, "sha256": str | None},
    "seed": int,
    "train_fraction": float | int,
    "instance_shape": list,
}
#: What is said if training made a model with a linear backbone only worse.
AT_THE_START: Final = (
    "No epoch had a lower validation loss than the linear model from which training "
    "started, so the weights are those of the linear model."
)
#: What is said if no groups are held out, and there are few of them.
CHOOSES_UPDATES: Final = (
    "So many updates can overfit so few groups. A first run holds out 20 % of them "
    "and finds out how many are enough; the second run trains on all groups."
)
#: Held-out groups that options need. The modules that determine them load Keras.
NEEDED: Final = {"--bands": 9, "--state": 20}
_MAX_CONFIG_BYTES: Final = 1 << 20
_REMEDY: Final = (
    "specify the recipe that registers it with --recipe FILE, if you trust it, "
    "because its code is executed"
)


def file_hash(path: str | PathLike[str]) -> str:
    """Return the SHA-256 of the bytes of a file.

    Raises:
        InputError: The file cannot be read.
    """
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}.") from None


def environment() -> dict[str, str]:
    """Return versions, backend, platform and the command line of this process."""
    import keras

    packages = ("keras", "tensorflow", "numpy")
    command = [Path(sys.argv[0]).name, *sys.argv[1:]]
    return {
        "symae_keras": sk.__version__,
        **{name: importlib.metadata.version(name) for name in packages},
        "backend": keras.config.backend(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "command": shlex.join(command),
    }


@dataclasses.dataclass(frozen=True)
class Run:
    """Contents of a complete run folder; its model is not compiled."""

    folder: Path
    config: dict[str, Any]
    model: Any
    axis: Axis | None = None
    recipe: Recipe | None = None
    """The recipe that the user named, or that of a preset of the package. `None` for
    other recipes, whose code is not executed."""


def run_files(folder: Path) -> list[Path]:
    """Return the files of a run that are in a folder, and its data.

    No output may replace them. Other files of the user in the folder are left out.
    """
    files = [path for pattern in RUN_CONTENTS for path in folder.glob(pattern)]
    with contextlib.suppress(InputError):  # refused when the run is read
        data = read_config(folder)["data"]["file"]
        files += [] if data is None else [Path(data)]
    return files


def read_config(folder: Path) -> dict[str, Any]:
    """Read the config.json of a run folder, complete or not.

    Raises:
        InputError: The file is missing or cannot be used.
    """
    path = folder / "config.json"
    if not os.path.lexists(path):
        raise InputError(f"{folder} is not a run folder: no config.json.")
    content = read_bounded(path, _MAX_CONFIG_BYTES)
    try:
        config = parse_json(content)
        _check_entries(config, _CONFIG)
        _check_entries({"group": config["data"].get("group")}, {"group": str | None})
        if not 0 <= config["seed"] < 2**32:
            raise InputError(f"the entry seed is {config['seed']}")
    except KeyError as error:
        raise InputError(f"{path} has no entry {error}.") from None
    except ValueError as error:
        raise InputError(f"{path} cannot be read: {one_line(error)}.") from None
    return dict(config)


def _check_entries(content: Any, expected: dict[str, Any]) -> None:
    if not isinstance(content, dict):
        raise InputError("expected an object with entries")
    for name, kind in expected.items():
        value = content[name]
        if isinstance(kind, dict):
            _check_entries(value, kind)
        # In Python, a bool is also an int.
        elif not isinstance(value, kind) or isinstance(value, bool):
            raise InputError(f"the entry {name} is a {type(value).__name__}")


def group_counts(config: dict[str, Any]) -> tuple[int, int] | None:
    """Return the numbers of training and held-out groups; `None` for old runs."""
    parts = config.get("groups")
    if not isinstance(parts, dict):
        return None
    train, held_out = parts.get("train"), parts.get("held_out")
    if not isinstance(train, int) or not isinstance(held_out, int):
        return None
    return train, held_out


def few_held_out(folder: PurePath, config: dict[str, Any], needed: int) -> str | None:
    """Return a clause with a remedy if a run held out too few groups, or `None`."""
    counts = group_counts(config)
    if counts is None or counts[1] >= needed:
        return None
    share = math.ceil(20 * needed / max(sum(counts), 1)) / 20
    remedy = f"train with --held-out {share:g}"
    if share > 0.5:
        remedy = f"train on at least {2 * needed} groups, with --held-out 0.5"
    return (
        f"needs at least {needed} held-out groups, but {folder} has {counts[1]}; "
        f"{remedy}"
    )


def refuse_few_held_out(folder: Path, option: str, remedy: str = "") -> None:
    """Raise an error if a run held out too few groups for an option.

    It needs no Keras, whose import takes seconds.
    """
    if not folder.is_dir():
        return  # refused when it is read
    if few := few_held_out(folder, read_config(folder), NEEDED[option]):
        raise InputError(f"{option} {few}{remedy}.")


def load_run(
    path: str | PathLike[str], recipe: str | PathLike[str] | None = None
) -> Run:
    """Read a complete run folder, which may come from an unknown author.

    The recipe that is named in the folder is not executed, unless it belongs to the
    package. A recipe that the user names is executed: it registers its classes and
    provides data and scores.

    Raises:
        InputError: The folder is missing, is not a run folder, contains an incomplete
            run, or its model cannot be loaded without running code.
    """
    from symae_keras._utils.untrusted_models import load_model

    folder = Path(path)
    if not folder.is_dir():
        raise InputError(f"The run folder {folder} does not exist.")
    config = read_config(folder)
    file = folder / "model.keras"
    if not os.path.lexists(file):
        raise InputError(
            f"{folder} has no model.keras: the run was interrupted; complete it with "
            "symae train --resume."
        )
    trusted = _trusted_recipe(config, recipe)
    model, axis = load_model(file, remedy=_REMEDY), sk.data.Axis.read(folder)
    return Run(folder, config, model, axis, trusted)


def _trusted_recipe(
    config: dict[str, Any], named: str | PathLike[str] | None
) -> Recipe | None:
    """Run a recipe that the user names, or the preset named in the config."""
    recorded = config["recipe"]
    source = recorded["source"] if named is None else named
    if named is None and source not in preset_names():
        return None
    if recipe_hash(source) != recorded["sha256"]:
        _log.warning("the recipe %s has changed since the run was created", source)
    return load_recipe(source).recipe


def recorded_data(run: Run) -> Path | None:
    """Return the training data of a run; `None` if the recipe provided them.

    Raises:
        InputError: The path is not absolute, or not that of a file or folder.
    """
    file = run.config["data"]["file"]
    if file is None:
        return None
    # Unlike the functions of pathlib, these accept any text.
    if not os.path.isabs(file) or not (os.path.isfile(file) or os.path.isdir(file)):
        raise InputError(
            f"{run.folder} was trained on {file!r}, which is not the absolute path of "
            "a file or folder on this machine; specify the data with --data."
        )
    return Path(file)
