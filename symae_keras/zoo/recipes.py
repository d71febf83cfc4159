"""Recipes by path, or by name for recipes of the package."""

from __future__ import annotations

import ast
import hashlib
import importlib.machinery
import importlib.util
import sys
from collections.abc import Callable
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from symae_keras._utils.presets import preset_folder, preset_names, unknown_preset
from symae_keras._utils.text import one_line
from symae_keras.errors import InputError
from symae_keras.zoo.cards import About, read_about

if TYPE_CHECKING:
    from types import CodeType

    from symae_keras.training import Recipe


class LoadedRecipe(NamedTuple):
    """A recipe, its docstring and its name."""

    recipe: Recipe
    docstring: str
    name: str


def about(name: str) -> About:
    """Return the content of the docstring of a preset's recipe, without running it.

    Example:
    >>> about("symae_exposures").fields["Command"]
    'symae train symae_exposures'
    """
    source = (preset_folder(name) / "recipe.py").read_text(encoding="utf-8")
    return read_about(ast.get_docstring(ast.parse(source)) or "")


def recipe_file(name_or_path: str | PathLike[str]) -> Path:
    """Return the file of a recipe, as an absolute path.

    A preset comes before a file of the same name.

    Raises:
        InputError: There is no such preset and no such file.

    Example:
    >>> recipe_file("symae_exposures").name
    'recipe.py'
    """
    text = str(name_or_path)
    names = preset_names()
    if text in names:
        return (preset_folder(text) / "recipe.py").resolve()
    path = Path(text)
    if path.is_file():
        return path.resolve()
    if path.suffix == ".py":
        raise InputError(f"The recipe file {text} does not exist.")
    if path.is_dir():
        raise InputError(f"{text} is a folder; name the recipe file in it.")
    raise unknown_preset(text, names, "preset and no file")


def recipe_hash(name_or_path: str | PathLike[str]) -> str:
    """Return the SHA-256 of a recipe without its docstring, which does not affect runs.

    Raises:
        InputError: There is no such recipe, or it cannot be read.
    """
    path = recipe_file(name_or_path)
    try:
        source = path.read_bytes()
        lines = source.splitlines(keepends=True)
        first = ast.parse(source).body[:1]
        if ast.get_docstring(ast.Module(first, [])) is not None:
            del lines[first[0].lineno - 1 : first[0].end_lineno]
    except (OSError, SyntaxError, ValueError) as error:
        raise InputError(f"{path} cannot be read: {one_line(error)}.") from None
    return hashlib.sha256(b"".join(lines)).hexdigest()


class _UncachedLoader(importlib.machinery.SourceFileLoader):
    """Run a file without writing a `__pycache__` next to it.

    The folder belongs to the user. In addition, a cached recipe would be outdated after
    an edit that changes neither the size nor the (rounded) time of the file.
    """

    def get_code(self, fullname: str) -> CodeType:
        return self.source_to_code(self.get_data(self.path), self.path)


def load_recipe(name_or_path: str | PathLike[str]) -> LoadedRecipe:
    """Run a recipe file, which defines a docstring and `RECIPE`, and return its recipe.

    A recipe in a file called recipe.py is named after its folder.

    Raises:
        InputError: The recipe does not exist, raises an exception, or has no usable
            `RECIPE`.

    Example:
    >>> recipe, docstring, name = load_recipe("symae_exposures")
    >>> name, recipe.batch_size
    ('symae_exposures', 64)
    """
    from symae_keras.training import Recipe

    path = recipe_file(name_or_path)
    name = path.parent.name if path.name == "recipe.py" else path.stem
    # The module is not named after the file alone: keras.py must not hide Keras.
    module_name = f"symae_keras_recipe_{name}"
    # The loader is given explicitly, because the file may have any suffix.
    loader = _UncachedLoader(module_name, str(path))
    spec = importlib.util.spec_from_loader(module_name, loader)
    assert spec is not None  # because a loader was given
    module = importlib.util.module_from_spec(spec)
    # Dataclasses and pickling look up their module by its name.
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
            f"The recipe {name_or_path} defines no RECIPE; define it, such as "
            "RECIPE = symae_keras.training.Recipe(model=...)."
        )
    if not isinstance(recipe, Recipe):
        raise InputError(
            f"RECIPE of {name_or_path} must be a symae_keras.training.Recipe; "
            f"received an object of class {type(recipe).__name__}."
        )
    return LoadedRecipe(recipe, (module.__doc__ or "").strip(), name)


def call_recipe(name: str, what: str, function: Callable[..., Any], *args: Any) -> Any:
    """Call a function of a recipe; errors are raised with the recipe and the call.

    Raises:
        InputError: The function raised an exception.
    """
    try:
        return function(*args)
    except Exception as error:
        raise InputError(
            f"The recipe {name} failed in {what}: {one_line(error)}."
        ) from error
