"""Imports, public names, and documented defaults that agree with the code."""

from __future__ import annotations

import ast
import graphlib
import importlib
import importlib.metadata
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import keras
import pytest
from packaging.specifiers import SpecifierSet

import symae_keras
from symae_keras import layers, models
from symae_keras.evaluation import leakage
from symae_keras.models import SymAE

# === Installation ===

CONSTRAINTS = Path(__file__).resolve().parent.parent / "constraints.txt"


def test_pins_support_the_oldest_python() -> None:
    """Each pin that is installed here also installs with Python 3.11.0."""
    pins = dict(re.findall(r"^([\w.-]+)==(\S+)$", CONSTRAINTS.read_text(), re.M))
    newer = [
        each.name
        for each in importlib.metadata.distributions()
        if pins.get(each.name) == each.version
        and not SpecifierSet(each.metadata["Requires-Python"] or "").contains("3.11.0")
    ]
    assert newer == []


# === Imports ===

#: Each part only imports parts to its left; `__init__` is the package itself.
LAYERS = [
    *("errors", "_utils", "data", "classical"),
    *("layers", "losses", "metrics", "models", "export", "distribute"),
    *("training", "evaluation", "adaptation", "plotting", "callbacks", "zoo"),
    "sklearn",
    *("__init__", "cli"),
]

#: Allowed imports to the right inside functions, with the reason.
UPWARD_WHEN_CALLED = {
    ("_utils.presets", "data.axis"): "`save_to_preset` writes the axis of the data",
    ("evaluation.comparison", "plotting"): "`Comparison.plot` draws its own table",
    ("training", "evaluation.tuning"): "`training.tune` needs the estimate",
}

_PACKAGE = Path(symae_keras.__file__).parent


def _name(path: Path) -> str:
    parts = path.relative_to(_PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[1:] and parts[-1] == "__init__" else parts)


#: Without the recipes of presets, which an installed package contains.
MODULES = {
    _name(path): path
    for path in _PACKAGE.rglob("*.py")
    if _PACKAGE / "_zoo" not in path.parents
}


def _imports(node: ast.AST, in_function: bool = False) -> Iterator[tuple[str, bool]]:
    """Return modules of the package that code imports, and whether inside a function.

    Imports for type checkers do not count.
    """
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        full = []
        if isinstance(child, ast.Import):
            full = [each.name for each in child.names]
        elif isinstance(child, ast.ImportFrom):
            assert child.level == 0, "relative imports are not followed here"
            full = [f"{child.module}.{each.name}" for each in child.names]
        for name in full:
            root, _, inner = name.partition(".")
            if root == "symae_keras":
                # A name that is not a module is imported from one.
                known = inner if inner in MODULES else inner.rpartition(".")[0]
                yield known or "__init__", in_function
        function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)
        yield from _imports(child, in_function or function)


def _graph(when_called: bool) -> dict[str, set[str]]:
    """Return the modules that each module imports, at once or only inside functions."""
    graph = {}
    for name, path in MODULES.items():
        found = _imports(ast.parse(path.read_text("utf-8")))
        graph[name] = {module for module, later in found if later == when_called}
        graph[name] -= {name}
    return graph


def _upward(graph: dict[str, set[str]]) -> set[tuple[str, str]]:
    """Return imports between parts of the package that do not point to the left."""
    place = {name: n for n, name in enumerate(LAYERS)}

    def part(module: str) -> str:
        return module.partition(".")[0]

    return {
        (module, other)
        for module, others in graph.items()
        for other in others
        if part(module) != part(other) and place[part(module)] < place[part(other)]
    }


@pytest.mark.parametrize("when_called", [False, True])
def test_no_cycle(when_called) -> None:
    """Check this also for imports inside functions."""
    graph = _graph(when_called=False)
    if when_called:
        later = _graph(when_called=True)
        graph = {name: graph[name] | later[name] for name in graph}
    graphlib.TopologicalSorter(graph).prepare()  # raises CycleError, with the cycle


def test_imports_point_one_way() -> None:
    assert {name.partition(".")[0] for name in MODULES} <= set(LAYERS)
    assert _upward(_graph(when_called=False)) == set()
    assert _upward(_graph(when_called=True)) == set(UPWARD_WHEN_CALLED)


def test_imports_are_read() -> None:
    """Check that the tests above cannot pass on an empty list."""
    source = """
from symae_keras.data import GroupedData, groups
if TYPE_CHECKING:
    from symae_keras.zoo import load
def function():
    from symae_keras import __version__, models
"""
    assert list(_imports(ast.parse(source))) == [
        *(("data", False), ("data.groups", False)),
        *(("__init__", True), ("models", True)),
    ]
    found = _upward({"layers.noise": {"models"}, "cli.main": {"models.base", "data"}})
    assert found == {("layers.noise", "models")}


def test_data_and_classical_load_no_backend(run_python) -> None:
    light = [
        f"symae_keras.{name}"
        for name in MODULES
        if name == "classical" or name.partition(".")[0] == "data"
    ]
    code = (
        "import importlib, sys, warnings; warnings.simplefilter('error')\n"
        "for name in sys.argv[1:]: importlib.import_module(name)\n"
        "sys.modules['symae_keras.data'].simulate_exposures(2, 2)\n"
        "print({'keras', 'tensorflow', 'jax', 'torch'} & {*sys.modules})"
    )
    assert run_python(code, *light).strip() == "set()"


def test_import_is_light_and_silent(run_python) -> None:
    code = (
        "import sys, symae_keras; assert symae_keras.__version__\n"
        "heavy = {'keras', 'tensorflow', 'jax', 'torch', 'matplotlib', 'sklearn'}\n"
        "print(heavy & {name.partition('.')[0] for name in sys.modules})"
    )
    assert run_python(code).strip() == "set()"


# === Public names ===

PUBLIC = list(symae_keras._MODULES)


@pytest.mark.parametrize("name", ["errors", *PUBLIC])
def test_public_names(name) -> None:
    """A public module exports its public names and nothing else."""
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


# === Documented defaults ===

#: Layers and models, which document every argument and its default.
CLASSES = [
    public
    for module in (layers, models)
    for public in (getattr(module, name) for name in module.__all__)
    if inspect.isclass(public) and issubclass(public, keras.Layer | keras.Model)
]
#: A default that is documented in words, such as "the size of the features".
WORDS = object()


def _documented(thing) -> dict[str, str]:
    """Return the text about each argument of a class or function."""
    doc = inspect.getdoc(thing) or ""
    section = re.search(r"^Args:\n(.*?)(?=^\S|\Z)", doc, re.MULTILINE | re.DOTALL)
    entries = re.split(r"^    (\w+): ", section[1] if section else "", flags=re.M)
    return dict(zip(entries[1::2], entries[2::2], strict=True))


def _claims(text: str) -> list[object]:
    """Return the default in the text, if any."""
    match = re.search(
        r"`([^`]+)` \(default\)|Defaults\s+to\s+`?(.+?)`?[.;](?:\s|$)", text
    )
    try:
        return [ast.literal_eval(match[1] or match[2])] if match else []
    except (SyntaxError, ValueError):
        return [WORDS]


def test_layers_and_models_document_all_defaults() -> None:
    for cls in CLASSES:
        documented = _documented(cls)
        parameters = {
            name: parameter.default
            for name, parameter in inspect.signature(cls.__init__).parameters.items()
            if name not in ("self", "kwargs")
        }
        assert list(documented) == list(parameters), cls
        for name, default in parameters.items():
            claims, where = _claims(documented[name]), f"{cls.__name__}, {name}"
            if default is inspect.Parameter.empty:
                assert not claims, where
            elif default is None:
                # None is described in words, or is listed above.
                assert claims in ([WORDS], [None]) or "`None`" in documented[name], (
                    where
                )
            else:
                assert claims == [default], where


def test_other_documented_defaults_are_the_defaults() -> None:
    stated, wrong = 0, []
    for name in set(PUBLIC) - {"layers", "models"}:
        module = importlib.import_module(f"symae_keras.{name}")
        for thing in filter(callable, (getattr(module, n) for n in module.__all__)):
            claims = {k: _claims(text) for k, text in _documented(thing).items()}
            claims = {k: v for k, v in claims.items() if v and v != [WORDS]}
            stated += bool(claims)
            # An exception has no signature and no defaults.
            parameters = inspect.signature(thing).parameters if claims else {}
            wrong += [
                f"{thing.__name__}: {argument} is documented as {value!r}"
                for argument, (value,) in claims.items()
                if parameters[argument].default != value
            ]
    assert wrong == []
    assert stated > 20  # else it could pass on nothing


def test_defaults_are_read_from_docstrings() -> None:
    """Check that the tests above cannot pass on an empty list."""
    assert _claims("Sizes. Defaults to `(2, 1)`.") == [(2, 1)]
    assert _claims('`"mean"` (default) or `"max"`.') == ["mean"]
    assert _claims("Rate. Defaults to 0.5.") == [0.5]
    assert _claims("Whether. Defaults to True; or so.") == [True]
    assert _claims("Size. Defaults to the size of the features.") == [WORDS]
    assert _claims("Size of the code.") == []
    assert len(_documented(SymAE)) == 13
    assert _claims(_documented(leakage)["train"]) == [0.7]
