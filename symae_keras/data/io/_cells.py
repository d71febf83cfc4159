"""From the text of table cells to numbers and names."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Callable, Sequence
from typing import Final, Literal

import numpy as np

from symae_keras._utils.text import quoted
from symae_keras.data.groups import Array
from symae_keras.errors import InputError

# The one definition of a number in headers and cells of all text files: ASCII digits
# with a decimal point, or a decimal comma in a file that has these, and an exponent.
# The minus may be U+2212. "1_5", "inf", "0x1F", "1,000.5" and "5d2" are not numbers,
# although `float` or other programs accept them.
_SIGN: Final = "[+\\-\N{MINUS SIGN}]?"
_EXPONENT: Final = f"(?:[eE]{_SIGN}[0-9]+)?"
_POINT: Final = re.compile(f"{_SIGN}(?:[0-9]+\\.?[0-9]*|\\.[0-9]+){_EXPONENT}")
_COMMA: Final = re.compile(f"{_SIGN}[0-9]*,[0-9]+{_EXPONENT}")
#: A comma that may stand between thousands as well.
_DOUBTFUL: Final = re.compile(f"{_SIGN}[1-9][0-9]{{0,2}},[0-9]{{3}}")
#: A number that is a name, such as "007".
_LEADING_ZERO: Final = re.compile("[+-]?0[0-9]")
_MISSING: Final = re.compile("(?:[+-]?nan)?", re.IGNORECASE)
#: Of text in these characters, `float` accepts only what the above does, and infinity.
_PLAIN: Final = re.compile(r"[0-9.,+\-eE \n]*")
_OPEN_COMMA: Final = re.compile(r",(?![0-9])")

#: What programs write into a header cell in place of a number.
_LOST: Final = re.compile(
    r"[\W_]*|[+-]?(nan|NaN|NAN|NA|N/A|null|NULL|None|[iI]nf(inity)?|INF)|#[A-Z/0]+[!?]?"
)
_ORDINAL: Final = re.compile(r"[0-9]*(1st|2nd|3rd|[0-9]th)\b", re.IGNORECASE)


def is_number(cell: str) -> bool:
    """Return whether a cell holds a finite number, with a decimal point or comma."""
    return math.isfinite(_number(cell))


def is_missing(cell: str) -> bool:
    """Return whether a cell is empty or NaN."""
    return _MISSING.fullmatch(cell.strip()) is not None


def is_nearly_number(header: str) -> bool:
    """Return whether a header is not a number, but is probably meant as one.

    The first letter or digit of such a header is a digit ("5O1.0", "500 nm",
    "1,000.5"), or it holds what programs write for a number that they lost ("NaN",
    "#REF!"). "2nd run", "H2O" and "temp_1" are names.
    """
    text = unicodedata.normalize("NFKC", header).strip()
    if is_number(header) or _ORDINAL.match(text):
        return False
    return _LOST.fullmatch(text) is not None or re.match(r"[\W_]*\d", text) is not None


def _number(cell: str) -> float:
    """Convert a cell: NaN if it is missing, infinity if it is any other text."""
    cell = cell.strip()
    if _POINT.fullmatch(cell) or _COMMA.fullmatch(cell):
        return float(cell.replace("\N{MINUS SIGN}", "-").replace(",", "."))
    return math.nan if _MISSING.fullmatch(cell) else math.inf


class NumberReader:
    """Reader of the numbers of one file, all with decimal points or all with commas.

    Example:
    >>> numbers = NumberReader()
    >>> numbers.read(["1,5", "", "1,234"], "line 2, column {}".format)
    array([1.5  ,   nan, 1.234])
    >>> numbers.settle()
    >>> numbers.decimal_comma
    True
    """

    def __init__(self) -> None:
        """Start without a number."""
        # The first of each kind, as a sentence says it.
        self._seen: dict[Literal["point", "comma", "doubtful"], str] = {}

    @property
    def decimal_comma(self) -> bool:
        """Whether the numbers have decimal commas."""
        return "comma" in self._seen

    def read(self, cells: Sequence[str], place: Callable[[int], str]) -> Array:
        """Return cells as float64, NaN where a cell is empty or NaN.

        Args:
            cells: The text.
            place: Where a cell is in the file, by its index, for errors.

        Raises:
            InputError: A cell is not a finite number.
        """
        text = "\n".join(cells)
        values = _plain(cells, text)
        if values is None:
            values = np.array([_number(cell) for cell in cells])
        wrong = np.flatnonzero(np.isinf(values))
        if len(wrong):
            raise InputError(
                f"{place(int(wrong[0]))} holds {quoted(cells[wrong[0]])}; expected a "
                "finite number such as 1234.5 or 1e-3, or nothing for a missing pixel."
            )
        if "." in text:
            self._note("point", cells, place, lambda cell: "." in cell)
        if "," in text:
            self._note("doubtful", cells, place, lambda cell: "," in cell)
            self._note("comma", cells, place, _has_decimal_comma)
        return values

    def settle(self) -> None:
        """Check, after the last number, that all are of one kind.

        Raises:
            InputError: Some numbers have points and others have commas, or commas may
                stand between thousands.
        """
        point, comma = self._seen.get("point"), self._seen.get("comma")
        doubtful = self._seen.get("doubtful")
        if point and (comma or doubtful):
            raise InputError(
                f"{comma or doubtful} with a comma, but {point} with a decimal point; "
                "write all numbers with decimal points and nothing between thousands."
            )
        if doubtful and not comma:
            raise InputError(
                f"{doubtful}, whose comma may be a decimal comma or stand between "
                "thousands; write all numbers with decimal points and nothing between "
                "thousands."
            )

    def _note(
        self,
        kind: Literal["point", "comma", "doubtful"],
        cells: Sequence[str],
        place: Callable[[int], str],
        is_kind: Callable[[str], bool],
    ) -> None:
        """Remember where the first number of a kind is."""
        if kind not in self._seen:
            k = next((k for k, cell in enumerate(cells) if is_kind(cell)), None)
            if k is not None:
                self._seen[kind] = f"{place(k)} holds {quoted(cells[k].strip())}"


def _has_decimal_comma(cell: str) -> bool:
    """Return whether a number has a comma that cannot stand between thousands."""
    return "," in cell and not _DOUBTFUL.fullmatch(cell.strip())


def _plain(cells: Sequence[str], text: str) -> Array | None:
    """Convert cells quickly, if they hold only the usual characters."""
    if not _PLAIN.fullmatch(text):
        return None
    if "," in text:
        # "5," and "1,000.5" are no numbers.
        if "." in text or _OPEN_COMMA.search(text):
            return None
        cells = [cell.replace(",", ".") for cell in cells]
    try:
        return np.array([cell or "nan" for cell in cells], "float64")
    except ValueError:
        return None


def names(cells: Sequence[str]) -> Array:
    """Return cells as int64 if that loses nothing, else as text; "007" is a text."""
    text = np.array(cells, dtype=str)
    try:
        whole = np.array(cells, dtype="int64")
    except (ValueError, OverflowError):
        return text
    return whole if (whole.astype(str) == text).all() else text


def column(cells: Sequence[str], decimal_comma: bool) -> Array:
    """Return cells as numbers, NaN where empty, if that loses nothing, else as text.

    Args:
        cells: The text.
        decimal_comma: Whether numbers of the file have decimal commas. If not, "1,5"
            is text, and if so, "1.5" is.
    """
    values = names(cells)
    if values.dtype.kind == "i" or not any(cells):
        return values
    other_mark = "." if decimal_comma else ","
    numbers = np.array([_number(cell) for cell in cells])
    if np.isinf(numbers).any() or any(
        other_mark in cell or _LEADING_ZERO.match(cell) for cell in cells
    ):
        return values
    return numbers


def filled(cells: Sequence[str], lines: Sequence[int], name: str) -> Sequence[str]:
    """Return the cells of a column that must not be missing in any row.

    Raises:
        InputError: There are no rows, or a cell is empty or NaN.
    """
    if not cells:
        raise InputError("the file has a header but no rows.")
    for line, cell in zip(lines, cells, strict=True):
        if is_missing(cell):
            what = f"holds {quoted(cell)}" if cell else "is empty"
            raise InputError(f"line {line}, column {name}, {what}; fill it.")
    return cells
