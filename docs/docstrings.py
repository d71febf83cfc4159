"""Convert docstrings in Keras's style to the sections that griffe expects."""

from __future__ import annotations

import re
from typing import Any

import griffe

_CALL_ARGUMENTS = re.compile(r"^Call arguments:\n((?:(?: {4}.*)?\n)+)", re.MULTILINE)
_NAME = re.compile(r"^ {4}(\w+): ", re.MULTILINE)


class KerasSections(griffe.Extension):
    """Griffe extension for the sections `Example:` and `Call arguments:`."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Rewrite the docstring before it is parsed."""
        if obj.docstring is not None:
            obj.docstring.value = rewritten(obj.docstring.value)


def rewritten(text: str) -> str:
    """Return a docstring with indented examples and call arguments as a list."""
    text, mark, examples = text.partition("\nExample:\n")
    call = _CALL_ARGUMENTS.search(f"{text}\n")
    if call:
        arguments = _NAME.sub(r"    - `\1`: ", call[1])
        text = f"{text}\n".replace(call[1], arguments)
    if not mark:
        return text
    indented = "\n".join(f"    {line}".rstrip() for line in examples.splitlines())
    return f"{text}\nExamples:\n{indented}\n"
