"""Documentation: code blocks run, and commands and options exist."""

from __future__ import annotations

import ast
import importlib
import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import typer

import symae_keras
from symae_keras import cli
from symae_keras._utils.presets import preset_names
from symae_keras.data import simulate_exposures, tfds

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = {
    path.relative_to(ROOT).as_posix(): path
    for path in (ROOT / "README.md", *sorted(DOCS.glob("*.md")))
    if path.exists()
}
pytestmark = pytest.mark.skipif(not DOCS.exists(), reason="docs are not in the sdist")

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.S | re.M)


def blocks(page: Path, language: str = "python") -> list[str]:
    return [
        text
        for kind, text in _FENCE.findall(page.read_text(encoding="utf-8"))
        if kind == language
    ]


# === Python ===


@pytest.fixture
def quick(
    monkeypatch, tmp_path, tf, short_probes, few_donors, eager, unarranged
) -> None:
    """Train at most two epochs, untraced, in an empty folder."""
    fit_as_ever = keras.Model.fit

    def fit(self, *args, epochs=1, **kwargs):
        kwargs["verbose"] = 0
        return fit_as_ever(self, *args, epochs=min(epochs, 2), **kwargs)

    monkeypatch.setattr(keras.Model, "fit", fit)
    # Nor do small data get as many passes per epoch as 2000 updates need.
    for where in ("symae_keras.training", "symae_keras.training.fit"):
        monkeypatch.setattr(f"{where}.MIN_UPDATES", 0)
    monkeypatch.setattr(tfds, "simulate_exposures", _few_stars)
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))
    monkeypatch.chdir(tmp_path)


def _few_stars(n_states: int, *args: Any, **kwargs: Any) -> Any:
    return simulate_exposures(min(n_states, 110), *args, **kwargs)


def _groups() -> dict[str, Any]:
    return {"groups": simulate_exposures(n_states=70, n_instances=8)}


def _file() -> dict[str, Any]:
    symae_keras.data.save(**_groups(), path="spectra.npz")
    return {}


def _labelled() -> dict[str, Any]:
    x, labels = symae_keras.data.simulate_labelled_shapes(24, size=(16, 16))
    parts = {"x": x[:16], "labels": labels[:16]}
    return {**parts, "new": x[16:], "new_labels": labels[16:]}


def _instances() -> dict[str, Any]:
    return {
        "your_encoder": keras.layers.Dense(8),
        "instances": np.ones((2, 5, 64), "float32"),
        "mask": np.ones((2, 5), bool),
    }


#: Variables that readers define themselves.
GIVEN: dict[str, Callable[[], dict[str, Any]]] = {
    "docs/overview.md": _instances,
    "docs/results.md": lambda: {"sk": symae_keras},
    "docs/scaling.md": _groups,
    "docs/segmentation.md": _labelled,
    "docs/stellar.md": _file,
}
#: Sizes that take long, and their replacements in the test.
SMALLER = {
    "327_680": "2_048",
    "n_states=1000, n_instances=16": "n_states=60, n_instances=8",
    "n_states=200": "n_states=60",
    "GroupKFold(3)": "GroupKFold(2)",
    "budget_s=60, n_trials=2": "budget_s=15, n_trials=1",
}
#: Needs JAX and several devices; `tests/test_jax_parallel.py` has a similar test.
NOT_HERE = "keras.distribution.set_distribution"
#: Packages that pages need.
NEEDED = {"docs/uses.md": "constriction"}
#: Pages with a separate test; the last needs files and runtimes of `symae export`.
APART = {"docs/start.md", "docs/timelapse.md", "docs/serving.md"}


def test_blocks_are_python_and_their_imports_are_there() -> None:
    """Check the code blocks without running them."""
    missing = []
    for name, page in PAGES.items():
        for block in blocks(page):
            for node in ast.walk(ast.parse(block, name)):
                module = getattr(node, "module", None) or ""
                if module.startswith("symae_keras"):
                    there = importlib.import_module(module)
                    names = [each.name for each in node.names]
                    missing += [(name, n) for n in names if not hasattr(there, n)]
    assert missing == []


@pytest.mark.large
# Readers who omit `shuffle=False` get a warning; pages may do so.
@pytest.mark.filterwarnings("ignore:`shuffle=True` was passed:UserWarning")
# `quick` changes `compile`, which Keras reports when it copies a compiled model.
@pytest.mark.filterwarnings("ignore:`compile\\(\\)` was not called as part:UserWarning")
# Layers without weights have nothing to quantize, which Keras reports.
@pytest.mark.filterwarnings("ignore:.*`quantize` method:UserWarning")
@pytest.mark.parametrize(
    "name", [name for name in PAGES if name not in APART and blocks(PAGES[name])]
)
def test_blocks_run_one_after_the_other(name, quick) -> None:
    if name in NEEDED:
        pytest.importorskip(NEEDED[name], reason=f"{name} needs it")
    # Classes that are registered under their module's name, such as data sets.
    names: dict[str, Any] = {"__name__": f"page_{PAGES[name].stem}"}
    names |= GIVEN[name]() if name in GIVEN else {}
    run = [block for block in blocks(PAGES[name]) if NOT_HERE not in block]
    for block in run:
        for size, smaller in SMALLER.items():
            block = block.replace(size, smaller)
        exec(compile(block, name, "exec"), names)


def test_one_block_alone_is_left_out() -> None:
    left = [name for name in PAGES for b in blocks(PAGES[name]) if NOT_HERE in b]
    assert left == ["docs/scaling.md"]


@pytest.mark.large
def test_start_leads_from_a_table_to_virtual_spectra(quick, capsys) -> None:
    """Run Python and commands of the page in order, as a new user would."""
    names: dict[str, Any] = {}
    done = []
    page = PAGES["docs/start.md"].read_text(encoding="utf-8")
    for kind, text in _FENCE.findall(page):
        if kind == "python":
            exec(compile(text, "start.md", "exec"), names)
        for line in text.splitlines():
            if kind == "bash" and line.startswith("symae "):
                assert cli.main(shlex.split(line)[1:]) == 0, capsys.readouterr().err
                done.append(line.split()[1])
    assert done == ["data", "train", "redatum"]
    printed = capsys.readouterr().out
    # The page shows this part of the output.
    assert "400 groups of 8 instances of shape (256,), 3200 instances in all" in printed
    assert "variance between groups 0.019, within groups 0.014 (of 0.032)" in printed
    assert "held-out part, 80 groups with 640 instances:" in printed
    figures = {path.name for path in Path("run/figures").iterdir()}
    assert figures >= {"redatuming.png", "history.png"}
    assert names["virtual"].shape == names["truth"].shape == (8, 256)


@pytest.mark.large
def test_the_time_lapse_recipe_measures_a_number_per_star() -> None:
    names: dict[str, Any] = {}
    for block in blocks(PAGES["docs/timelapse.md"]):
        exec(compile(block, "timelapse.md", "exec"), names)
    assert names["measured"].shape == (20,)
    # After so few steps the error is large, but the result is the same.
    assert np.abs(names["measured"]).mean() < 0.3


# === Commands ===


def commands(page: Path) -> Iterator[tuple[str, bool]]:
    """Return commands of a page, and whether each is a separate line of code."""
    text = page.read_text(encoding="utf-8")
    fenced = "\n".join(b for kind, b in _FENCE.findall(text) if kind == "bash")
    rest = _FENCE.sub("", text)
    indented = "\n".join(re.findall(r"^    (.*)$", rest, re.M))
    for line in f"{fenced}\n{indented}".replace("\\\n", " ").splitlines():
        for part in line.split("&&"):
            # A launcher for several machines may precede a command.
            found = re.match(r"\s*(?:srun )?(symae|python) (.*)", part)
            if found:
                yield f"{found[1]} {found[2]}", True
    for span in re.findall(r"`((?:symae\s|python\sbenchmarks/)[^`]*)`", rest):
        yield " ".join(span.split()), False


COMMANDS = {
    f"{name}: {line}": (line, whole)
    for name, page in PAGES.items()
    for line, whole in commands(page)
}


def test_commands_are_found() -> None:
    lines = [line for line, _ in COMMANDS.values()]
    assert "symae demo" in lines
    assert len([line for line in lines if line.startswith("symae ")]) > 30


def test_command_line_takes_them() -> None:
    refused = {}
    for where, (line, whole) in COMMANDS.items():
        try:
            _take(shlex.split(line, comments=True), whole)
        except Exception as error:
            refused[where] = repr(error)
    assert refused == {}


def _take(words: list[str], whole: bool) -> None:
    """Raise an error if a command or one of its options does not exist."""
    if words[0] == "python":
        if words[1].startswith(("benchmarks/", "tutorials/")):
            source = (ROOT / words[1]).read_text(encoding="utf-8")
            # Options are written in full, or listed in a table without their dashes.
            for name in (word[2:] for word in words[2:] if word.startswith("--")):
                assert re.search(rf'"(--)?{name}"', source), name
        return
    command: Any = typer.main.get_command(cli.app)
    words = words[1:]
    while words and hasattr(command, "commands") and words[0] in command.commands:
        command = command.commands[words.pop(0)]
    if command.name == "train" and words and not words[0].startswith("-"):
        assert words[0] in preset_names() or words[0].endswith(".py"), words[0]
    options = {name for each in command.params for name in each.opts} | {"--help"}
    given = {word for word in words if word.startswith("--")}
    assert given <= options, given - options
    # A group of commands, or a command that is only mentioned.
    if whole and "--help" not in given and not hasattr(command, "commands"):
        command.make_context(command.name, words)
