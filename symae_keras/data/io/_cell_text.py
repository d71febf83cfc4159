"""Text in cells of CSV files, escaped so that no program runs it as a formula."""

from __future__ import annotations

from typing import TypeVar

from symae_keras.data.io._cells import is_number

_Cell = TypeVar("_Cell")

#: Spreadsheet programs take a cell that starts with one of these for a formula.
_FORMULA = tuple("=+-@＝＋－＠")
_ESCAPE = "'"


def escaped(cell: _Cell) -> _Cell | str:
    """Return what to write into a cell of a CSV file.

    Text that a spreadsheet program would run as a formula, or whose outer white space
    would be lost, gets an apostrophe in front; `unescaped` removes it. Numbers, and
    text that is a number, such as "-1.5", stay as they are.

    Args:
        cell: The value, of any type.

    Example:
    >>> [escaped(cell) for cell in ("=1+1", "-1.5", -1.5, "sun", "'tis", "'=")]
    ["'=1+1", '-1.5', -1.5, 'sun', "'tis", "''="]
    """
    return _ESCAPE + cell if isinstance(cell, str) and _needs_escape(cell) else cell


def unescaped(cell: str) -> str:
    """Return the text that `escaped` wrote; strip any other cell.

    Example:
    >>> [unescaped(cell) for cell in ("'=1+1", " sun ", "'tis", "''=", "' sun")]
    ['=1+1', 'sun', "'tis", "'=", ' sun']
    """
    if cell.startswith(_ESCAPE) and _needs_escape(cell[1:]):
        return cell[1:]
    return cell.strip()


def _needs_escape(text: str) -> bool:
    if text != text.strip():
        return True
    # What looks escaped already is escaped once more, so that it comes back.
    bare = text.lstrip(_ESCAPE)
    if bare != text:
        return _needs_escape(bare)
    return text.startswith(_FORMULA) and not is_number(text)
