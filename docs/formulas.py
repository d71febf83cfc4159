"""Formulas of pages and notebooks as MathML, which browsers show without a script."""

from __future__ import annotations

import html
import logging
import re
from collections.abc import Iterator
from typing import Any

from latex2mathml.converter import convert

log = logging.getLogger("mkdocs.hooks.formulas")

# What pymdownx.arithmatex leaves in a page.
_IN_PAGE = re.compile(
    r'<(span|div) class="arithmatex">\\[(\[](.+?)\\[)\]]</\1>', re.DOTALL
)
# What nbconvert leaves in a notebook: $$...$$ or $...$, no space inside the single.
_IN_NOTEBOOK = re.compile(
    r"\$\$(?P<block>.+?)\$\$|(?<![\\$])\$(?P<inline>[^\s$](?:[^$]*?[^\s$\\])?)\$(?!\d)",
    re.DOTALL,
)
# Functions whose argument follows without a parenthesis need a space, as in log x.
_FUNCTION = re.compile(
    r"(<mi>(?:arg|cos|det|exp|ln|log|max|min|sin|tan)</mi>)(?=<m(?:i|n|s|row|over|frac))"
)
_LITERAL = re.compile(
    r"<(pre|code|script|style|svg|textarea)\b.*?</\1>|<[^>]*>", re.DOTALL
)


def on_page_content(content: str, page: Any, **kwargs: Any) -> str:
    """Replace all formulas; one that cannot be read is a warning."""

    def mathml(formula: str, display: str) -> str:
        tex = html.unescape(formula).strip()
        try:
            result = convert(tex, display=display)
        except Exception as problem:
            log.warning(f"{page.file.src_uri}: cannot read ${tex}$: {problem!r}")
            return f"<code>{html.escape(tex)}</code>"
        # An ampersand is left of tables that are unknown, such as `aligned`.
        if unknown := re.search(r">(\\\w+|&)<", result):
            log.warning(f"{page.file.src_uri}: {unknown[1]} in ${tex}$ is unknown")
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
    """The text in order; True with tags and with what is shown as it is written."""
    end = 0
    for found in _LITERAL.finditer(content):
        yield False, content[end : found.start()]
        yield True, found[0]
        end = found.end()
    yield False, content[end:]
