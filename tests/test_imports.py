"""Imports among the modules of the package point one way."""

from __future__ import annotations

import ast
import graphlib
from collections.abc import Iterator
from pathlib import Path

import pytest

import symae_keras

#: Each part imports only parts to its left; `__init__` is the package itself.
LAYERS = [
    *("errors", "_utils", "data", "classical"),
    *("layers", "losses", "metrics", "models", "export", "distribute"),
    *("training", "evaluation", "plotting", "callbacks", "zoo"),
    *("__init__", "cli"),
]

#: Imports inside functions that may point to the right, and why.
UPWARD_WHEN_CALLED = {
    ("_utils.presets", "data.axis"): "`save_to_preset` writes the axis of the data",
    ("evaluation.comparison", "plotting"): "`Comparison.plot` draws its own table",
}

_PACKAGE = Path(symae_keras.__file__).parent


def _name(path: Path) -> str:
    parts = path.relative_to(_PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[1:] and parts[-1] == "__init__" else parts)


MODULES = {_name(path): path for path in _PACKAGE.rglob("*.py")}


def _imports(
    node: ast.AST, in_function: bool = False
) -> Iterator[tuple[ast.Import | ast.ImportFrom, bool]]:
    """Import statements, but those for type checkers; whether a function has each."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child, in_function
        function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)
        yield from _imports(child, in_function or function)


def _modules_of(statement: ast.Import | ast.ImportFrom) -> Iterator[str]:
    """Modules of the package that an import statement loads."""
    if isinstance(statement, ast.Import):
        full = [each.name for each in statement.names]
    else:
        assert statement.level == 0, "relative imports are not followed here"
        full = [f"{statement.module}.{each.name}" for each in statement.names]
    for name in full:
        root, _, inner = name.partition(".")
        if root == "symae_keras":
            # What is no module is a name out of one.
            known = inner if inner in MODULES else inner.rpartition(".")[0]
            yield known or "__init__"


def _graph(when_called: bool) -> dict[str, set[str]]:
    """Modules that each module imports at once, or only when a function is called."""
    return {
        name: {
            module
            for statement, in_function in _imports(ast.parse(path.read_text("utf-8")))
            if in_function == when_called
            for module in _modules_of(statement)
        }
        - {name}
        for name, path in MODULES.items()
    }


def _upward(graph: dict[str, set[str]]) -> set[tuple[str, str]]:
    """Imports between parts of the package that do not point to the left."""
    place = {name: n for n, name in enumerate(LAYERS)}

    def part(module: str) -> str:
        return module.partition(".")[0]

    return {
        (module, other)
        for module, others in graph.items()
        for other in others
        if part(module) != part(other) and place[part(module)] < place[part(other)]
    }


def test_every_part_has_a_place() -> None:
    assert {name.partition(".")[0] for name in MODULES} <= set(LAYERS)


@pytest.mark.parametrize("when_called", [False, True])
def test_no_cycle(when_called) -> None:
    """Not even through imports inside of functions."""
    graph = _graph(when_called=False)
    if when_called:
        later = _graph(when_called=True)
        graph = {name: graph[name] | later[name] for name in graph}
    graphlib.TopologicalSorter(graph).prepare()  # raises CycleError, with the cycle


def test_imports_point_one_way() -> None:
    assert _upward(_graph(when_called=False)) == set()
    assert _upward(_graph(when_called=True)) == set(UPWARD_WHEN_CALLED)


def test_imports_are_read() -> None:
    """Else the tests above could pass on nothing."""
    source = """
from symae_keras.data import GroupedData, groups
if TYPE_CHECKING:
    from symae_keras.zoo import load
def function():
    from symae_keras import __version__, models
"""
    found = [
        (module, in_function)
        for statement, in_function in _imports(ast.parse(source))
        for module in _modules_of(statement)
    ]
    assert found == [
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
