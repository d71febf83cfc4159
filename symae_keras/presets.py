"""Recipes by name, from those that come with the package, or by path."""

from __future__ import annotations

import difflib
import importlib.util
import sys
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from symae_keras.errors import InputError

if TYPE_CHECKING:
    from symae_keras.training import Recipe


class LoadedRecipe(NamedTuple):
    """A recipe and what is known about it."""

    recipe: Recipe
    docstring: str
    name: str


def _folder() -> Path:
    """The presets: inside an installed package, or beside it in a source checkout."""
    packaged = Path(__file__).with_name("_zoo")
    return packaged if packaged.is_dir() else Path(__file__).parents[1] / "zoo"


def preset_names() -> list[str]:
    """Names of the recipes that come with the package, sorted.

    Example:
    >>> "symae_exposures" in preset_names()
    True
    """
    return sorted(path.parent.name for path in _folder().glob("*/recipe.py"))


def recipe_file(name_or_path: str | PathLike[str]) -> Path:
    """The file of a recipe.

    Args:
        name_or_path: Name of a preset, or path of a recipe file.

    Returns:
        An existing file, as an absolute path.

    Raises:
        InputError: There is no such preset and no such file.

    Example:
    >>> recipe_file("symae_exposures").name
    'recipe.py'
    """
    text = str(name_or_path)
    names = preset_names()
    if text in names:
        return (_folder() / text / "recipe.py").resolve()
    path = Path(text)
    if path.is_file():
        return path.resolve()
    if path.suffix == ".py":
        raise InputError(f"The recipe file {text} does not exist.")
    if path.is_dir():
        raise InputError(f"{text} is a folder; name the recipe file in it.")
    close = difflib.get_close_matches(text, names, 1)
    hint = f"did you mean {close[0]}? The presets" if close else "the presets"
    raise InputError(
        f"There is no preset and no file {text}; {hint} are {', '.join(names)}."
    )


def load_recipe(name_or_path: str | PathLike[str]) -> LoadedRecipe:
    """Run a recipe file and return its recipe.

    Args:
        name_or_path: Name of a preset, or path of a Python file with a docstring and a
            `RECIPE`, a `symae_keras.training.Recipe`.

    Returns:
        `(recipe, docstring, name)`; the name of a file called recipe.py is that of its
        folder.

    Raises:
        InputError: There is no such recipe, it raises when it is run, or it has no
            usable `RECIPE`.

    Example:
    >>> recipe, docstring, name = load_recipe("symae_exposures")
    >>> name, recipe.batch_size
    ('symae_exposures', 16)
    """
    from symae_keras.training import Recipe

    path = recipe_file(name_or_path)
    name = path.parent.name if path.name == "recipe.py" else path.stem
    # Not named after the file alone: a recipe called keras.py must not hide Keras.
    module_name = f"symae_keras_recipe_{name}"
    # A loader by name, because a file need not end in .py to be a recipe.
    loader = importlib.machinery.SourceFileLoader(module_name, str(path))
    spec = importlib.util.spec_from_loader(module_name, loader)
    assert spec is not None  # a loader was given
    module = importlib.util.module_from_spec(spec)
    # Dataclasses and pickling look their module up by its name.
    sys.modules[module_name] = module
    try:
        loader.exec_module(module)
    except Exception as error:
        raise InputError(
            f"The recipe {name_or_path} cannot be run: {one_line(error)}."
        ) from error
    recipe = getattr(module, "RECIPE", None)
    if recipe is None:
        raise InputError(
            f"The recipe {name_or_path} defines no RECIPE; give it one, such as "
            "RECIPE = symae_keras.training.Recipe(model=...)."
        )
    if not isinstance(recipe, Recipe):
        raise InputError(
            f"RECIPE of {name_or_path} must be a symae_keras.training.Recipe; "
            f"received an object of class {type(recipe).__name__}."
        )
    return LoadedRecipe(recipe, (module.__doc__ or "").strip(), name)


def one_line(error: BaseException) -> str:
    """An exception as a clause: its class, unless it speaks for itself, and its text.

    Example:
    >>> one_line(OSError("the disk is full."))
    'OSError: the disk is full'
    """
    # Keras appends pages of context to its messages, after the first paragraph.
    first = str(error).strip().split("\n\n")[0]
    text = " ".join(first.split()).rstrip(".")
    if isinstance(error, InputError):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
