"""Imports, public names, and documentation that agrees with the code."""

from __future__ import annotations

import ast
import importlib
import inspect
import re

import keras
import pytest

import symae_keras
from symae_keras import layers, models
from symae_keras.models import SymAE

_QUIET = """
import sys
import symae_keras
assert symae_keras.__version__
heavy = {"keras", "tensorflow", "jax", "torch", "matplotlib", "sklearn"}
print(sorted(heavy & {name.partition(".")[0] for name in sys.modules}))
"""

CLASSES = [
    *(getattr(layers, name) for name in layers.__all__),
    *(
        public
        for public in (getattr(models, name) for name in models.__all__)
        if inspect.isclass(public) and issubclass(public, keras.Model)
    ),
]


def test_import_is_light_and_silent(run_python) -> None:
    assert run_python(_QUIET).strip() == "[]"


PUBLIC = [each for each in dir(symae_keras) if each != "__version__"]


@pytest.mark.parametrize("name", ["errors", *PUBLIC])
def test_public_names(name) -> None:
    """A public module shows its public names and nothing else."""
    module = importlib.import_module(f"symae_keras.{name}")
    if name != "errors":
        assert name in dir(symae_keras) and getattr(symae_keras, name) is module
    assert dir(module) == sorted(module.__all__)
    for public in module.__all__:
        assert not public.startswith("_")
        assert getattr(module, public).__doc__, public


def test_unknown_name() -> None:
    with pytest.raises(AttributeError, match="'symae_keras' has no attribute 'layer'"):
        symae_keras.layer  # noqa: B018


def _documented(cls) -> dict[str, str]:
    """The text about each argument of a class."""
    doc = inspect.cleandoc(cls.__doc__)
    section = re.search(r"^Args:\n(.*?)(?=^\S|\Z)", doc, re.MULTILINE | re.DOTALL)
    assert section, cls
    entries = re.split(r"^    (\w+): ", section[1], flags=re.MULTILINE)
    return dict(zip(entries[1::2], entries[2::2], strict=True))


def _claimed_default(text: str) -> tuple[bool, object]:
    """Whether the text states a default, and which."""
    match = re.search(
        r"`([^`]+)` \(default\)|Defaults\s+to\s+`?(.+?)`?[.;](?:\s|$)", text
    )
    if match is None:
        return False, None
    literal = match[1] or match[2]
    try:
        return True, ast.literal_eval(literal)
    except (SyntaxError, ValueError):
        return True, literal  # told in words: "the size of the features"


def test_documented_defaults_are_the_defaults() -> None:
    for cls in CLASSES:
        documented = _documented(cls)
        parameters = {
            name: parameter.default
            for name, parameter in inspect.signature(cls.__init__).parameters.items()
            if name not in ("self", "kwargs")
        }
        assert list(documented) == list(parameters), cls
        for name, default in parameters.items():
            claimed, value = _claimed_default(documented[name])
            where = f"{cls.__name__}, {name}"
            if default is inspect.Parameter.empty:
                assert not claimed, where
            elif default is None:
                # None stands for something that only words can tell, or is in the list.
                assert isinstance(value, str | None), where
                assert claimed or "`None`" in documented[name], where
            else:
                assert claimed and value == default, where


def test_the_parser_of_defaults_reads() -> None:
    """Else the test above could pass on nothing."""
    assert _claimed_default("Sizes. Defaults to `(2, 1)`.") == (True, (2, 1))
    assert _claimed_default('`"mean"` (default) or `"max"`.') == (True, "mean")
    assert _claimed_default("Rate. Defaults to 0.5.") == (True, 0.5)
    assert _claimed_default("Whether. Defaults to True; or so.") == (True, True)
    told = "Size. Defaults to the size of the features."
    assert _claimed_default(told) == (True, "the size of the features")
    assert _claimed_default("Size of the code.") == (False, None)
    assert len(_documented(SymAE)) == 12
