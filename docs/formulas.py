"""Convert formulas of pages and notebooks to MathML, which needs no script."""

from __future__ import annotations

import html
import logging
import re
from collections.abc import Iterator
from typing import Any

from latex2mathml.converter import convert

log = logging.getLogger("mkdocs.hooks.formulas")

# Formulas as pymdownx.arithmatex writes them into a page.
_IN_PAGE = re.compile(
    r'<(span|div) class="arithmatex">\\[(\[](.+?)\\[)\]]</\1>', re.DOTALL
)
# Formulas as nbconvert writes them: $$...$$ or $...$, no space inside single dollars.
_IN_NOTEBOOK = re.compile(
    r"\$\$(?P<block>.+?)\$\$|(?<![\\$])\$(?P<inline>[^\s$](?:[^$]*?[^\s$\\])?)\$(?!\d)",
    re.DOTALL,
)
# Functions need a space before an argument without parentheses, as in log x.
_FUNCTION = re.compile(
    r"(<mi>(?:arg|cos|det|exp|ln|log|max|min|sin|tan)</mi>)(?=<m(?:i|n|s|row|over|frac))"
)
_LITERAL = re.compile(
    r"<(pre|code|script|style|svg|textarea)\b.*?</\1>|<[^>]*>", re.DOTALL
)


def on_page_content(content: str, page: Any, **kwargs: Any) -> str:
    """Replace all formulas; log a warning for each one that cannot be parsed."""

    def mathml(formula: str, display: str) -> str:
        tex = html.unescape(formula).strip()
        try:
            result = convert(tex, display=display)
        except Exception as problem:
            log.warning(f"{page.file.src_uri}: cannot parse ${tex}$: {problem!r}")
            return f"<code>{html.escape(tex)}</code>"
        # The converter leaves the ampersands of unknown tables, such as `aligned`.
        if unknown := re.search(r">(\\\w+|&)<", result):
            log.warning(
                f"{page.file.src_uri}: {unknown[1]} in ${tex}$ is not supported"
            )
        return _FUNCTION.sub(r'\1<mspace width="0.17em" />', result)

    if page.file.src_uri.endswith(".ipynb"):

        def noted(found: re.Match[str]) -> str:
            if found["block"] is not None:
                return mathml(found["block"], "block")
            return mathml(found["inline"], "inline")

        return "".join(
            part if literal else _IN_NOTEBOOK.sub(noted, part)
            for literal, part in _parts(content)
        )
    return _IN_PAGE.sub(
        lambda found: mathml(found[2], "block" if found[1] == "div" else "inline"),
        content,
    )


def _parts(content: str) -> Iterator[tuple[bool, str]]:
    """Yield the parts of a page in order; True for tags and literal text."""
    end = 0
    for found in _LITERAL.finditer(content):
        yield False, content[end : found.start()]
        yield True, found[0]
        end = found.end()
    yield False, content[end:]
