"""Conversion between the text of table cells and numbers or names."""

from __future__ import annotations

import io
import itertools
import math
import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeVar

import numpy as np
import pandas as pd

from symae_keras._utils.text import quoted
from symae_keras.data.groups import Array
from symae_keras.errors import InputError

_Cell = TypeVar("_Cell")

# Definition of numbers in headers and cells of all text files: ASCII digits with a
# decimal point (or a decimal comma, if the whole file uses commas) and an exponent. The
# minus sign may be U+2212. "1_5", "inf", "0x1F", "1,000.5" and "5d2" are not numbers,
# although `float` or other programs accept them.
_SIGN: Final = "[+\\-\N{MINUS SIGN}]?"
_EXPONENT: Final = f"(?:[eE]{_SIGN}[0-9]+)?"
_POINT: Final = re.compile(f"{_SIGN}(?:[0-9]+\\.?[0-9]*|\\.[0-9]+){_EXPONENT}")
_COMMA: Final = re.compile(f"{_SIGN}[0-9]*,[0-9]+{_EXPONENT}")
#: A comma that can also be a thousands separator.
_DOUBTFUL: Final = re.compile(f"{_SIGN}[1-9][0-9]{{0,2}},[0-9]{{3}}")
#: A number that is treated as a name, such as "007".
_LEADING_ZERO: Final = re.compile("[+-]?0[0-9]")
_MISSING: Final = re.compile("(?:[+-]?nan)?", re.IGNORECASE)
#: For text of these characters, `float` accepts the same numbers, and infinity.
_PLAIN: Final = re.compile(r"(?:[0-9.,+\-eE \n]++|[nN][aA][nN])*+")
_OPEN_COMMA: Final = re.compile(r",(?![0-9])")

#: Text that programs write into a header cell instead of a number.
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
    """Return whether a header is not a number, but probably should be one.

    The first letter or digit of such a header is a digit ("5O1.0", "500 nm",
    "1,000.5"), or the header is what programs write for a lost number ("NaN", "#REF!").
    "2nd run", "H2O" and "temp_1" are names.
    """
    text = unicodedata.normalize("NFKC", header).strip()
    if is_number(header) or _ORDINAL.match(text):
        return False
    return _LOST.fullmatch(text) is not None or re.match(r"[\W_]*\d", text) is not None


def _number(cell: str) -> float:
    """Convert a cell to a number: NaN if missing, infinity if it is other text."""
    cell = cell.strip()
    if _POINT.fullmatch(cell) or _COMMA.fullmatch(cell):
        return float(cell.replace("\N{MINUS SIGN}", "-").replace(",", "."))
    return math.nan if _MISSING.fullmatch(cell) else math.inf


#: Text of missing values, for pandas.
_NAN: Final = [
    "",
    *map("".join, itertools.product(("", "+", "-"), "nN", "aA", "nN")),
]
# From version 3.1, pandas reads floats exactly by default and deprecates the argument.
_EXACT: Final[dict[str, Any]] = (
    {"float_precision": "round_trip"}
    if tuple(map(int, pd.__version__.split(".")[:2])) < (3, 1)
    else {}
)


@dataclass(frozen=True)
class Rows:
    """Rows of a file with the same number of cells, for pandas.

    Attributes:
        numbers: The line numbers of the rows.
        text: The rows as text.
        mark: Delimiter of the cells.
        width: The number of cells in each row.
    """

    numbers: Sequence[int]
    text: str
    mark: str
    width: int

    def cells(self, columns: Sequence[int]) -> Array:
        """Return the text of some columns, in the order of the file."""
        return self._read(columns, dtype=object, na_filter=False)

    def floats(self, columns: Sequence[int]) -> Array | None:
        """Return some columns as numbers, or `None` if a cell is not a plain number."""
        try:
            values = self._read(
                columns,
                dtype="float64",
                keep_default_na=False,
                na_values=_NAN,
                **_EXACT,
            )
        except ValueError:
            return None
        return None if np.isinf(values).any() else values

    def _read(self, columns: Sequence[int], **how: Any) -> Array:
        frame = pd.read_csv(
            io.StringIO(self.text),
            engine="c",
            sep=self.mark,
            header=None,
            names=range(self.width),
            usecols=columns,
            index_col=False,
            skipinitialspace=True,
            skip_blank_lines=False,
            low_memory=False,
            **how,
        )
        return np.asarray(frame)


class NumberReader:
    """Reader of the numbers of a file, which all have decimal points or all commas.

    Example:
    >>> numbers = NumberReader()
    >>> numbers.read(["1,5", "", "1,234"], "line 2, column {}".format)
    array([1.5  ,   nan, 1.234])
    >>> numbers.settle()
    >>> numbers.decimal_comma
    True
    """

    def __init__(self) -> None:
        """Initialise the reader."""
        # The first number of each kind, described for error messages.
        self._seen: dict[Literal["point", "comma", "doubtful"], str] = {}
        # Function that finds the first decimal point in rows that were read as numbers.
        self._look: Callable[[], None] | None = None

    @property
    def decimal_comma(self) -> bool:
        """True if the numbers have decimal commas."""
        return "comma" in self._seen

    def read(self, cells: Sequence[str], place: Callable[[int], str]) -> Array:
        """Convert cells to float64; empty cells become NaN.

        `place` returns the location of a cell in the file, given its index, for errors.
        """
        text = "\n".join(cells).replace("\N{MINUS SIGN}", "-")
        values = _plain(text, len(cells))
        if values is None:
            values = np.array([_number(cell) for cell in cells])
        wrong = np.flatnonzero(np.isinf(values))
        if len(wrong):
            raise InputError(
                f"{place(int(wrong[0]))} holds {quoted(cells[wrong[0]])}; expected a "
                "finite number such as 1234.5 or 1e-3, or an empty cell for a missing "
                "pixel."
            )
        if "." in text:
            self._note("point", cells, place, _has_point)
        if "," in text:
            self._note("doubtful", cells, place, lambda cell: "," in cell)
            self._note("comma", cells, place, _has_decimal_comma)
        return values

    def read_rows(
        self, rows: Rows, columns: Sequence[int], names: Sequence[object]
    ) -> Array:
        """Return columns in file order as float64 `(rows, columns)`."""

        def text() -> list[str]:
            cells: list[str] = rows.cells(columns).ravel().tolist()
            return cells

        def place(k: int) -> str:
            row, column = divmod(k, len(columns))
            return f"line {rows.numbers[row]}, column {names[column]},"

        values = rows.floats(columns)
        if values is None:
            return self.read(text(), place).reshape(-1, len(columns))
        if self._look is None and "." in rows.text:
            self._look = lambda: self._note("point", text(), place, _has_point)
        return values

    def settle(self) -> None:
        """Check, after the last number, that all numbers have the same decimal mark.

        Points and commas must not be mixed, and at least one comma must be unambiguous.
        """
        if self._look is not None and {"comma", "doubtful"} & set(self._seen):
            self._look()
        point, comma = self._seen.get("point"), self._seen.get("comma")
        doubtful = self._seen.get("doubtful")
        if point and (comma or doubtful):
            raise InputError(
                f"{comma or doubtful} with a comma, but {point} with a decimal point; "
                "write all numbers, also those of the header, with decimal points (or "
                "all with commas) and without thousands separators."
            )
        if doubtful and not comma:
            raise InputError(
                f"{doubtful}, whose comma may be a decimal comma or a thousands "
                "separator; write all numbers with decimal points and without "
                "thousands separators."
            )

    def _note(
        self,
        kind: Literal["point", "comma", "doubtful"],
        cells: Sequence[str],
        place: Callable[[int], str],
        is_kind: Callable[[str], bool],
    ) -> None:
        """Store the location of the first number of a kind."""
        if kind not in self._seen:
            k = next((k for k, cell in enumerate(cells) if is_kind(cell)), None)
            if k is not None:
                self._seen[kind] = f"{place(k)} holds {quoted(cells[k].strip())}"


def _has_point(cell: str) -> bool:
    return "." in cell


def _has_decimal_comma(cell: str) -> bool:
    """Return whether a number has a comma that is not a thousands separator."""
    return "," in cell and not _DOUBTFUL.fullmatch(cell.strip())


def _plain(text: str, n_cells: int) -> Array | None:
    """Convert cells, one per line, quickly if they contain only usual characters."""
    if not _PLAIN.fullmatch(text):
        return None
    if "," in text:
        # "5," and "1,000.5" are not numbers.
        if "." in text or _OPEN_COMMA.search(text):
            return None
        text = text.replace(",", ".")
    cells = text.split("\n")
    if len(cells) != n_cells:
        return None
    try:
        return np.array([cell or "nan" for cell in cells], "float64")
    except ValueError:
        return None


def names(cells: Sequence[str]) -> Array:
    """Convert cells to int64 if that is lossless, otherwise to text (such as "007")."""
    text = np.array(cells, dtype=str)
    try:
        whole = np.array(cells, dtype="int64")
    except (ValueError, OverflowError):
        return text
    return whole if (whole.astype(str) == text).all() else text


def column(cells: Sequence[str], decimal_comma: bool) -> Array:
    """Convert cells to numbers if that is lossless, otherwise to text.

    Empty cells become NaN. "1,5" is text unless the numbers of the file have decimal
    commas; in that case, "1.5" is text.
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
    """Return the cells of a column, and check that none is missing."""
    for line, cell in zip(lines, cells, strict=True):
        if is_missing(cell):
            what = f"holds {quoted(cell)}" if cell else "is empty"
            raise InputError(f"line {line}, column {name}, {what}; fill it.")
    return cells


#: Spreadsheet programs treat a cell that starts with one of these as a formula.
_FORMULA = tuple("=+-@＝＋－＠")
_ESCAPE = "'"


def escaped(cell: _Cell) -> _Cell | str:
    """Return the text to write into a cell of a CSV file.

    Text gets a leading apostrophe if a spreadsheet program would run it as a formula,
    or if its outer white space would be lost. `unescaped` removes the apostrophe.
    Numbers, and text that is a number, such as "-1.5", do not change.

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
    # Text that already looks escaped is escaped again, so that it is restored.
    bare = text.lstrip(_ESCAPE)
    if bare != text:
        return _needs_escape(bare)
    return text.startswith(_FORMULA) and not is_number(text)
