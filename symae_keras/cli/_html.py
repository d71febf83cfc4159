"""Elements of a self-contained HTML page: text, tables, figures."""

from __future__ import annotations

import base64
import hashlib
import html
import importlib.resources
import io
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: A figure whose SVG has more characters than this is embedded as PNG.
_MOST_SVG: Final = 600_000
#: End of a page: the SHA-256 of everything before it.
_SEAL: Final = "<!-- symae report {} -->\n"
_SEALED: Final = re.compile(rb"<!-- symae report ([0-9a-f]{64}) -->\n\Z")
_MOST_BYTES: Final = 256 << 20


class Html(str):
    """Text that is already HTML."""


def escape(value: object) -> Html:
    """Return any text, escaped for HTML; `Html` stays as it is.

    Example:
    >>> escape("<b>"), escape(Html("<b>"))
    ('&lt;b&gt;', '<b>')
    """
    if isinstance(value, Html):
        return value
    # File names can contain bytes that are not UTF-8.
    text = str(value).encode("utf-8", "backslashreplace").decode("utf-8")
    return Html(html.escape(text))


def tag(name: str, *content: object, **attributes: str) -> Html:
    """Return an element; a trailing underscore of an attribute is removed.

    Example:
    >>> tag("p", "a < b", class_="sub")
    '<p class="sub">a &lt; b</p>'
    """
    named = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(value)}"'
        for key, value in attributes.items()
    )
    return Html(f"<{name}{named}>{''.join(map(escape, content))}</{name}>")


def join(parts: Iterable[object]) -> Html:
    """Return elements, each on its own line."""
    return Html("\n".join(map(escape, parts)))


def section(title: str, *content: object) -> Html:
    """Return a section with its heading; content that is `None` is left out."""
    there = join(each for each in content if each is not None)
    return tag("section", "\n", tag("h2", title), "\n", there, "\n")


def table(
    caption: str,
    headings: Sequence[str],
    rows: Iterable[Sequence[Any]],
    marked: int | None = None,
) -> Html:
    """Return a table whose first column contains the names of rows.

    Args:
        caption: Description of the table.
        headings: One per column, or none.
        rows: Texts, numbers, which are right-aligned, or `None`.
        marked: Index of a row to emphasise.
    """
    shown = [[name, *map(_cell, cells)] for name, *cells in rows]
    right: list[dict[str, str]] = [
        {"class_": "number"} if headings and all(map(_is_number, column)) else {}
        for column in zip(*shown, strict=True)
    ]
    lines = []
    for number, (name, *cells) in enumerate(shown):
        content = [tag("th", name, scope="row")]
        for cell, kind in zip(cells, right[1:], strict=True):
            content.append(tag("td", cell, **kind))
        mark = {"class_": "this"} if number == marked else {}
        lines.append(tag("tr", *content, **mark))
    parts = [tag("caption", caption)]
    if headings:
        heads = (
            tag("th", each, scope="col", **kind)
            for each, kind in zip(headings, right, strict=True)
        )
        parts.append(tag("thead", tag("tr", *heads)))
    whole = tag("table", *parts, tag("tbody", join(lines)))
    # Focusable, so that the keyboard can scroll a table wider than the screen.
    return tag(
        "div", whole, class_="wide", tabindex="0", role="region", aria_label=caption
    )


def _cell(value: Any) -> str:
    if value is None:
        return "\N{EN DASH}"
    return value if isinstance(value, str) else f"{value:.2f}"


def _is_number(cell: str) -> bool:
    return cell[:1].isdigit() or cell[:1] in ("-", "\N{EN DASH}")


def commands(*steps: tuple[str, str]) -> Html:
    """Return a list of sentences, each followed by a command."""
    items = (tag("li", why, tag("pre", tag("code", line))) for why, line in steps)
    return tag("ol", *items)


def figure(drawn: Figure, name: str, alt: str, caption: str) -> Html:
    """Return a figure with its drawing embedded, in colours of the page.

    Args:
        drawn: The figure, drawn in black on white.
        name: Short name, unique in the page; it starts with a letter.
        alt: Description for readers who cannot see the figure.
        caption: Text below.
    """
    shown = _svg(drawn, name, alt)
    if len(shown) > _MOST_SVG:
        shown = _pixels(drawn, alt)
    width = f"max-width: {drawn.get_figwidth() * 96:.0f}px"
    return tag("figure", shown, tag("figcaption", caption), style=width)


def _svg(drawn: Figure, name: str, alt: str) -> Html:
    """Return an element `svg` in which black is replaced by the colour of the text."""
    import matplotlib

    file = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with matplotlib.rc_context({"svg.hashsalt": name, "svg.fonttype": "path"}):
        drawn.savefig(file, format="svg", transparent=True, metadata=nothing)
    text = file.getvalue()
    start = text.index("<svg")
    head, _, content = text[start:].partition(">")
    found = re.search(r'viewBox="([^"]*)"', head)
    assert found is not None  # always written by Matplotlib
    content = re.sub(r"<(metadata|style)\b.*?</\1>", "", content, flags=re.DOTALL)
    # A precision of 0.01 points is enough.
    content = re.sub(r' d="[^"]*"', lambda path: _shortened(path[0]), content)
    # Other figures of the page use the same ids.
    content = re.sub(r'\bid="', f'id="{name}-', content)
    content = re.sub(r"url\(#", f"url(#{name}-", content)
    content = re.sub(r'href="#', f'href="#{name}-', content)
    content = re.sub(r"#000000\b", "currentColor", content)
    # Comments contain texts that are drawn as paths, such as names that a user chose.
    content = re.sub(r"<!--.*?-->\s*", "", content, flags=re.DOTALL)
    return Html(
        f'<svg role="img" aria-label="{escape(alt)}" viewBox="{found[1]}">{content}'
    )


def _shortened(path: str) -> str:
    return re.sub(r"(\.\d\d)\d+", r"\1", path)


def _pixels(drawn: Figure, alt: str) -> Html:
    file = io.BytesIO()
    drawn.savefig(file, format="png", dpi=150)
    data = base64.b64encode(file.getvalue()).decode("ascii")
    return Html(f'<img alt="{escape(alt)}" src="data:image/png;base64,{data}">')


def page(title: str, subtitle: str, body: Html, footer: str, version: str) -> str:
    """Return a self-contained page, sealed by a checksum at its end."""
    source = importlib.resources.files("symae_keras.cli") / "report.html"
    template = Template(source.read_text(encoding="utf-8"))
    texts = {"title": title, "subtitle": subtitle, "body": body, "footer": footer}
    content = template.substitute(
        version=escape(version), **{key: escape(each) for key, each in texts.items()}
    )
    digest = hashlib.sha256(content.encode("utf-8")).hexdigest()
    return content + _SEAL.format(digest)


def is_sealed(path: Path) -> bool:
    """Return whether a file is an unmodified result of `page`."""
    try:
        if path.is_symlink() or path.stat().st_size > _MOST_BYTES:
            return False
        content = path.read_bytes()
    except OSError:
        return False
    found = _SEALED.search(content)
    if found is None:
        return False
    digest = hashlib.sha256(content[: found.start()]).hexdigest()
    return found[1].decode("ascii") == digest
