"""Tutorials: required parts, notebook pairs, and their pages; none is executed."""

import ast
import importlib.util
import json
import logging
import re
from pathlib import Path
from types import SimpleNamespace

import pytest

jupytext = pytest.importorskip("jupytext", reason="the extra `docs` is not installed")
pytest.importorskip("nbclient", reason="the extra `docs` is not installed")
pytest.importorskip("latex2mathml", reason="the extra `docs` is not installed")

ROOT = Path(__file__).resolve().parent.parent
SOURCES = sorted((ROOT / "tutorials").glob("[0-9][0-9]_*.py"))
MINIMAL = """# %% [markdown]
# # 01 Title
#
# **Aim.** See [that](02_that.ipynb)
# | this.
#
# **Prerequisites.** None.

# %%
1 + 1

# %%
1 + 1
"""


def _module(path):
    spec = importlib.util.spec_from_file_location(path.stem + "_module", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def runner():
    return _module(ROOT / "tutorials" / "run.py")


@pytest.fixture(scope="module")
def formulas():
    return _module(ROOT / "docs" / "formulas.py")


@pytest.fixture(params=SOURCES, ids=lambda path: path.stem)
def tutorial(request, runner):
    return request.param, runner.notebook(request.param)


def _page(name):
    return SimpleNamespace(file=SimpleNamespace(src_uri=name))


def _markdown(book):
    return [cell.source for cell in book.cells if cell.cell_type == "markdown"]


def test_there_are_tutorials_numbered_without_gaps():
    numbers = [int(path.name[:2]) for path in SOURCES]
    assert len(numbers) >= 12
    assert numbers == list(range(1, len(numbers) + 1))


def test_it_has_a_head_and_exercises_and_a_summary(tutorial, runner):
    source, book = tutorial
    assert runner.title_of(source).startswith(f"{source.name[:2]} ")
    assert len(runner.said(source, "Aim")) > 20
    assert runner.said(source, "Prerequisites")
    markdown = _markdown(book)
    text = "\n\n".join(markdown)
    exercises = text[text.index("## Exercises") : text.index("## Summary")]
    folded = r"<details>\s*<summary>Solution</summary>\n\n"
    assert len(re.findall(folded, exercises)) == exercises.count("</details>") == 3
    summary = markdown[-1][markdown[-1].index("## Summary") :]
    assert 3 <= len(re.findall(r"^- ", summary, re.MULTILINE)) <= 5


def test_it_installs_the_package_and_knows_a_quick_mode(tutorial, runner):
    source, book = tutorial
    code = [cell for cell in book.cells if cell.cell_type == "code"]
    assert "install" in code[0].metadata.get("tags", ())
    assert "%pip install" in code[0].source and "symae_keras" in code[0].source
    # A magic alone is not a valid body of an `if`.
    ast.parse(source.read_text(encoding="utf-8"))
    text = "\n".join(cell.source for cell in code)
    assert "SYMAE_QUICK" in text
    # If another process does the computation, no seed is needed here.
    assert "seed" in text
    solutions = runner.solutions(book)
    assert len(solutions) >= 3
    for solution in solutions:
        ast.parse(re.sub(r"^(\s*)%", r"\1# %", solution, flags=re.MULTILINE))


def test_links_lead_somewhere(tutorial):
    source, book = tutorial
    for text in _markdown(book):
        for link in re.findall(r"\]\(((?!\w+:)[^)#]+)", text):
            target = (source.parent / link).with_suffix(
                ".py" if link.endswith(".ipynb") else Path(link).suffix
            )
            assert target.exists(), link


def test_formulas_can_be_shown(tutorial, formulas, caplog):
    for text in _markdown(tutorial[1]):
        prose = re.sub(r"```.*?```|`[^`\n]*`", "", text, flags=re.DOTALL)
        formulas.on_page_content(prose, page=_page("tutorials/this.ipynb"))
    assert not caplog.records


def test_pairs_are_in_step(runner):
    assert [path.name for path in runner.stale()] == []


def test_every_tutorial_was_timed():
    kept = json.loads(
        (ROOT / "docs" / "tutorials_times.json").read_text(encoding="utf-8")
    )
    timed = {name for mode in kept.values() for name in mode["seconds"]}
    assert timed == {path.stem for path in SOURCES}
    assert (ROOT / "docs" / "tutorials_times.md").exists()


# === The runner ===


@pytest.fixture
def folder(runner, tmp_path, monkeypatch):
    monkeypatch.setattr(runner, "TUTORIALS", tmp_path)
    monkeypatch.setattr(runner, "LIST", tmp_path / "list.md")
    (tmp_path / "01_this.py").write_text(MINIMAL, encoding="utf-8")
    return tmp_path


def test_pairs_are_made_and_found_stale(runner, folder):
    assert {path.name for path in runner.stale()} == {"01_this.ipynb", "list.md"}
    for path, text in runner.pairs():
        path.write_text(text, encoding="utf-8")
    assert runner.stale() == []
    assert "| See that \\| this. | None. |" in (folder / "list.md").read_text(
        encoding="utf-8"
    )

    (folder / "01_this.py").write_text(MINIMAL + "2\n", encoding="utf-8")
    (folder / "02_left_over.ipynb").write_text("{}", encoding="utf-8")
    stale = {path.name for path in runner.stale()}
    assert stale == {"01_this.ipynb", "02_left_over.ipynb"}


def test_cells_keep_their_ids_where_others_change(runner, folder):
    before = [cell.id for cell in runner.notebook(folder / "01_this.py").cells]
    assert len(set(before)) == 3  # though two cells are equal
    (folder / "01_this.py").write_text(
        MINIMAL.replace("None.", "None.\n\n# %%\n0"), encoding="utf-8"
    )
    after = [cell.id for cell in runner.notebook(folder / "01_this.py").cells]
    assert [after[0], *after[2:]] == before


def test_times_of_both_modes_are_kept(runner, folder):
    file = folder / "times.json"
    runner.keep_times(file, {"01_this": 61.26, "00_gone": 1.0}, quick=False, jobs=1)
    runner.keep_times(file, {"01_this": 9.0}, quick=True, jobs=2)
    table = (folder / "times.md").read_text(encoding="utf-8")
    assert "| 01 Title | 61.3 | 9.0 |" in table and "gone" not in table


def test_an_unknown_tutorial_is_told_and_costs_nothing(runner, folder, capsys):
    with pytest.raises(SystemExit) as stopped:
        runner.sources(["07"])
    assert stopped.value.code == 2
    assert "'07'" in capsys.readouterr().err


def test_what_starts_tensorflow_is_not_an_output(runner):
    lines = "I0000 00:00:1795691437.3 18 port.cc:153] oneDNN\nUserWarning: keep me\n"
    made = runner.nbformat.v4
    cells = [
        made.new_code_cell(
            "1", outputs=[made.new_output("stream", name="stderr", text=text)]
        )
        for text in (lines, lines.splitlines(keepends=True)[0])
    ]
    book = made.new_notebook(cells=cells)
    runner._silence(book)
    assert book.cells[0].outputs[0].text == "UserWarning: keep me\n"
    assert book.cells[1].outputs == []


# === Formulas ===


def test_formulas_of_pages_and_notebooks_become_mathml(formulas):
    block = '<div class="arithmatex">\\[a &lt; b\\]</div>'
    page = formulas.on_page_content(block, page=_page("index.md"))
    assert page.startswith("<math") and 'display="block"' in page
    notebook = "<p>$\\log x_i$ for $5 and $6<code>$y$</code></p><p>$$a &lt; b$$</p>"
    made = formulas.on_page_content(notebook, page=_page("tutorials/this.ipynb"))
    assert made.count("<math") == 2
    for part in ("<mi>log</mi><mspace", "<msub>", "$5 and $6", "<code>$y$</code>"):
        assert part in made
    assert page in made


def test_a_wrong_formula_is_a_warning(formulas, caplog):
    with caplog.at_level(logging.WARNING):
        formulas.on_page_content(r"<p>$\nosuch x$</p>", page=_page("this.ipynb"))
    assert "nosuch" in caplog.text
