"""The site: output of its hooks, and search in pages opened from a folder."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from browser import Browser

from symae_keras import models, zoo

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
pytestmark = pytest.mark.skipif(not DOCS.exists(), reason="docs are not in the sdist")
pytest.importorskip("material", reason="the extra `docs` is not installed")
yaml = pytest.importorskip("yaml")


def hook(name: str) -> Any:
    path = DOCS / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"site_{name}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class _Loader(yaml.SafeLoader):
    """Loader of mkdocs.yml, in which tags stand for environment variables."""


_Loader.add_constructor("!ENV", lambda loader, node: loader.construct_sequence(node)[1])


def settings() -> dict[str, Any]:
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    return yaml.load(text, _Loader)


def test_every_class_has_a_page_and_symae_is_first() -> None:
    reference = hook("reference")
    pages = reference.class_pages("api/models.md", DOCS)
    assert pages[0][0] == "api/models/SymAE.md"
    assert "::: symae_keras.models.SymAE\n" in pages[0][1]
    classes = {n for n in models.__all__ if isinstance(getattr(models, n), type)}
    assert {Path(uri).stem for uri, _ in pages} == classes
    table = reference.overview("models", "models")
    assert "| [`SymAE`](models/SymAE.md) | Symmetric autoencoder" in table
    assert "::: symae_keras.models.MODELS" in table


def test_all_pages_of_the_reference_become_overviews() -> None:
    reference = hook("reference")
    for path in sorted((DOCS / "api").glob("*.md")):
        page = SimpleNamespace(
            file=SimpleNamespace(src_uri=f"api/{path.name}", name="x")
        )
        made = reference.on_page_markdown(path.read_text(encoding="utf-8"), page)
        # The marker is removed, because it would show all classes on one page.
        assert not re.search(r"^::: symae_keras\.\w+$", made, re.MULTILINE), path


def test_one_description_is_no_list() -> None:
    title = '<p><span class="doc-section-title">%s:</span></p>\n    <ul>'
    made = hook("reference").on_page_content(title % "Returns" + title % "Raises", None)
    assert made.count('<ul class="doc-single">') == 1
    assert made.endswith(title % "Raises")


def test_pages_for_language_models_have_their_first_sentence() -> None:
    said = hook("reference").said
    text = "# Title\n\n```bash\nsymae demo\n```\n\nIt *is* [good](x.md). Really.\n"
    assert said(text) == "It *is* good."
    assert said("# Title\n\n| a |\n") == ""


def test_the_catalogue_has_all_presets_before_the_results() -> None:
    catalogue = hook("zoo_catalogue")
    page = SimpleNamespace(file=SimpleNamespace(src_uri="zoo.md"))
    text = (DOCS / "zoo.md").read_text(encoding="utf-8")
    made = catalogue.on_page_markdown(text, page)
    shown = re.findall(r'<div id="(\w+)">', made)
    assert shown == zoo.list()
    assert made.index('<div class="presets">') < made.index("RESULTS.md:table")
    assert "redatuming error 0.0263 (mean swap 0.141)" in made
    pictures = re.findall(r'<img src="([^"]+)" alt="[^"]+"', made)
    assert len(pictures) == len(shown) and all(
        (DOCS / each).exists() for each in pictures
    )


def test_nothing_is_fetched_from_elsewhere() -> None:
    found = settings()
    assert "offline" in found["plugins"] and found["theme"]["font"] is False
    (script,) = found["extra"]["polyfills"]
    assert "iframe-worker" in script and (DOCS / script).exists()


@pytest.mark.large
def test_search_works_from_a_folder(tmp_path) -> None:
    """Build two pages with the theme and plugins of the site."""
    found = settings()
    for name in ("hooks", "nav", "exclude_docs", "docs_dir"):
        del found[name]
    found["plugins"] = ["search", "offline"]
    found["strict"] = False
    pages = tmp_path / "docs"
    (pages / "javascripts").mkdir(parents=True)
    script = found["extra"]["polyfills"][0]
    (pages / script).write_bytes((DOCS / script).read_bytes())
    (pages / "index.md").write_text("# Home\n\nNothing here.\n", encoding="utf-8")
    (pages / "one.md").write_text("# One\n\nThe zymurgy of codes.\n", encoding="utf-8")
    del found["extra_css"]
    (tmp_path / "mkdocs.yml").write_text(yaml.safe_dump(found), encoding="utf-8")
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    with Browser() as browser:
        browser.open(tmp_path / "site" / "index.html")
        browser.value("document.querySelector('.md-search__input').focus()")
        browser.send("Input.insertText", text="zymurgy")
        first = "document.querySelector('.md-search-result__link')?.href"
        typed = "new Event('keyup', { bubbles: true })"
        wait = f"""(async () => {{
          while (!({first})) {{
            document.querySelector(".md-search__input").dispatchEvent({typed});
            await new Promise((done) => setTimeout(done, 100));
          }}
        }})()"""
        browser.value(wait)
        assert "site/one.html" in browser.value(first)
        assert browser.problems() == []
