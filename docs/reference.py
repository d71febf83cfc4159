"""Generate one reference page per class, and `llms.txt` for language models.

A page `api/NAME.md` with the line `::: symae_keras.NAME` becomes an overview: a table
of the classes, which link to separate pages, and the full description of the functions.
"""

from __future__ import annotations

import importlib
import inspect
import re
from pathlib import Path
from typing import Any, NamedTuple

from mkdocs.plugins import event_priority
from mkdocs.structure.files import File, Files

#: Classes that come first in their module; the others follow in alphabetical order.
FIRST = {
    "models": ("SymAE", "SymVAE", "Codes"),
    "layers": ("PerInstance", "DeepSetsPooling"),
    "data": ("GroupedData",),
    "training": ("Recipe", "Training"),
}
_MARK = re.compile(r"^::: symae_keras\.(\w+)$.*?(?=\n\S|\Z)", re.DOTALL | re.MULTILINE)
_TITLE = re.compile(r"^# (.+)$", re.MULTILINE)
_FENCE = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)
_RETURNS = re.compile(
    r'(<span class="doc-section-title">(?:Returns|Yields):</span></p>\s*)<ul>'
)
_LINK = re.compile(r"!?\[([^\]]*)\]\([^)]*\)")


class Names(NamedTuple):
    """Public names of a module, classes and others."""

    classes: list[str]
    others: list[str]


def names_of(module: str) -> Names:
    """Return the public names of a module, the most used classes first."""
    found = importlib.import_module(f"symae_keras.{module}")
    first = FIRST.get(module, ())
    public = sorted(
        found.__all__,
        key=lambda name: (first.index(name) if name in first else 99, name.lower()),
    )
    classes = [name for name in public if inspect.isclass(getattr(found, name))]
    return Names(classes, [name for name in public if name not in classes])


def module_of(path: Path) -> str | None:
    """Return the module that a reference page describes, or `None`."""
    found = _MARK.search(path.read_text(encoding="utf-8"))
    return found[1] if found else None


def class_pages(uri: str, docs: Path) -> list[tuple[str, str]]:
    """Return the URIs and the texts of the class pages below a reference page."""
    module = module_of(docs / uri)
    if module is None:
        return []
    folder = uri.removesuffix(".md")
    return [
        (
            f"{folder}/{name}.md",
            f"---\ntitle: {name}\n---\n\n::: symae_keras.{module}.{name}\n"
            "    options:\n      heading_level: 1\n",
        )
        for name in names_of(module).classes
    ]


def on_config(config: Any) -> Any:
    """Add the class pages after the overview of their module."""
    docs = Path(config.docs_dir)
    for entry in config.nav:
        for section in entry.get("Reference", ()):
            ((title, uri),) = section.items()
            pages = [page for page, _ in class_pages(uri, docs)]
            if pages:
                section[title] = [{"Overview": uri}, *pages]
    return config


@event_priority(50)
def on_files(files: Files, config: Any) -> Files:
    """Generate the class pages."""
    docs = Path(config.docs_dir)
    for path in sorted((docs / "api").glob("*.md")):
        for uri, text in class_pages(f"api/{path.name}", docs):
            files.append(File.generated(config, uri, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, **kwargs: Any) -> str:
    """Generate the overview of a module."""
    if not re.fullmatch(r"api/\w+\.md", page.file.src_uri):
        return markdown
    return _MARK.sub(lambda found: overview(found[1], page.file.name), markdown)


def on_page_content(content: str, page: Any, **kwargs: Any) -> str:
    """Show the return value of a function as a description instead of a list."""
    return _RETURNS.sub(r'\1<ul class="doc-single">', content)


def overview(module: str, folder: str) -> str:
    """Return a table of the classes of a module, and its functions."""
    names = names_of(module)
    owner = importlib.import_module(f"symae_keras.{module}")
    parts = []
    if names.classes:
        rows = [
            f"| [`{name}`]({folder}/{name}.md) | {first_line(getattr(owner, name))} |"
            for name in names.classes
        ]
        parts.append("\n".join(["| class | |", "| --- | --- |", *rows]))
    parts += [f"::: symae_keras.{module}.{name}" for name in names.others]
    return "\n\n".join(parts)


def first_line(thing: Any) -> str:
    """Return the first line of a docstring, for a table cell."""
    line = (inspect.getdoc(thing) or "").partition("\n")[0]
    return line.replace("|", "\\|")


# === llms.txt ===

_pages: list[Any] = []


def on_nav(nav: Any, **kwargs: Any) -> Any:
    """Record all pages except class pages, in the order of the navigation."""
    deep = re.compile(r"api/\w+/")
    _pages[:] = [page for page in nav.pages if not deep.match(page.file.src_uri)]
    return nav


def said(markdown: str) -> str:
    """Return the first sentence of a page."""
    markdown = _FENCE.sub("", markdown)
    for block in re.split(r"\n\s*\n", markdown):
        block = " ".join(block.split())
        if block and block[0] not in "#!<|`-:*[{":
            text = _LINK.sub(r"\1", block).replace("**", "")
            return re.split(r"(?<=[.:])\s", text, maxsplit=1)[0].rstrip(":")
    return ""


def on_post_build(config: Any) -> None:
    """Write llms.txt, a list of all pages with their first sentences."""
    base = config.site_url or ""
    lines = [
        f"# {config.site_name}",
        "",
        f"> {config.site_description}",
        "",
        "Install with `pip install symae_keras`; import as `import symae_keras as sk`.",
        "",
        "## Pages",
        "",
    ]
    for page in _pages:
        text = said(page.markdown or "")
        heading = _TITLE.search(page.markdown or "")
        title = heading[1] if heading else page.title
        link = f"- [{title}]({base}{page.file.url})"
        lines.append(f"{link}: {text}" if text else link)
    out = Path(config.site_dir, "llms.txt")
    out.write_text("\n".join(lines) + "\n", encoding="utf-8")
