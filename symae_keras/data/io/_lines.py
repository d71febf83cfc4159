"""Lines and headers of text tables, which pandas reads."""

from __future__ import annotations

import contextlib
import csv
import itertools
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final, TextIO

from symae_keras.data.io._cells import Rows, unescaped
from symae_keras.errors import InputError

#: Delimiters of cells with their names; the first one that fits is used.
_MARKS: Final = {"\t": "tab", ";": "semicolon", " ": "space", ",": "comma"}
#: First line that Excel uses if the delimiter is not that of its locale.
_SEP: Final = re.compile(r'"?sep=(.)"?\1*', re.IGNORECASE)
_COMMENT: Final = re.compile(r'\s*"?\s*#')
#: A name with its unit in brackets, if spaces delimit cells.
_UNIT: Final = re.compile(r"([^\s\"]+\s+(?:\([^)]*\)|\[[^\]]*\]))")
#: Cells that are kept as text at once.
_PART: Final = 1 << 22

Numbered = tuple[int, str]
#: Test whether the cells of the first and second line are cut at the right delimiter.
Fits = Callable[[list[str], list[str]], bool]


class Lines:
    """Lines of a text file, as cells.

    pandas reads the lines, see `Rows`. But pandas fills lines with too few cells,
    accepts text after a closing quote, and does not count lines, so this class checks
    the lines.

    Attributes:
        first: Cells of the first line that is neither blank nor a comment ("#").
        number: Number of that line.
        comments: Numbers and cells of the comments above it, the last one first. If
            `numeric`, they are cut at every delimiter, because comments and rows often
            have different delimiters.
    """

    def __init__(self, file: TextIO, fits: Fits, *, numeric: bool) -> None:
        """Find the first line and the delimiter.

        Args:
            file: The file, opened with `newline=""`.
            fits: Test whether cells are cut at the right delimiter.
            numeric: Whether rows contain only numbers, so that spaces may delimit cells
                and "#" starts a comment in any line.
        """
        lines = _numbered(file)
        mark = ""
        comments: list[Numbered] = []
        for number, line in lines:
            if not mark and (given := _SEP.fullmatch(line.rstrip("\r\n"))):
                mark = given[1]
            elif _COMMENT.match(line):
                comments.insert(0, (number, re.sub(r'^[\s"#]+', "", line)))
            elif line.strip("".join(_MARKS) + '"\r\n'):
                break
        else:
            raise InputError("the file is empty; expected a header and rows.")
        if numeric:
            lines = (
                (number, line)
                for number, line in lines
                if line.strip() and not _COMMENT.match(line)
            )
        ahead = [(number, line), *itertools.islice(lines, 1)]
        marks = list(_MARKS) if numeric else [m for m in _MARKS if m != " "]
        self._mark = mark or _find_mark([line for _, line in ahead], marks, fits)
        self.first: list[str] = []
        self._records = self._checked(itertools.chain(ahead, lines))
        self.number, self._text = next(self._records)
        self.first = _cut([self._text], self._mark)
        self.comments: list[tuple[int, list[str]]] = []
        cuts = [*"\t;, "] if numeric else [self._mark]
        for (number, text), mark in itertools.product(comments, cuts):
            with contextlib.suppress(csv.Error):  # the line may be any text
                self.comments.append((number, _cut([_spaced(text, mark)], mark)))

    def above(self, fits: Callable[[list[str]], bool]) -> tuple[int, list[str]] | None:
        """Return the number and cells of the comment that is the header, if any."""
        for number, cells in self.comments:
            if len(cells) == len(self.first) and fits(cells):
                return number, cells
        return None

    def rows(self, *, with_first: bool, whole: bool = False) -> Iterator[Rows]:
        """Yield blocks of rows, or all rows, with or without the first line."""
        ahead = [(self.number, self._text)] if with_first else []
        records = itertools.chain(ahead, self._records)
        width = len(self.first)
        n_rows = None if whole else max(1, _PART // width)
        part = list(itertools.islice(records, n_rows))
        if not part:
            raise InputError("the file has a header but no rows.")
        while part:
            numbers, text = zip(*part, strict=True)
            yield Rows(numbers, "".join(text), self._mark, width)
            part = list(itertools.islice(records, n_rows))

    def _checked(self, lines: Iterator[Numbered]) -> Iterator[Numbered]:
        """Yield rows as text, with the number of their first line."""
        for number, line in lines:
            text = _spaced(line, self._mark)
            if not (text.strip() or self._mark in text):
                continue
            n_cells = text.count(self._mark) + 1
            if '"' in text:
                taken: list[str] = []
                try:
                    n_cells = len(_cut(_kept(text, lines, taken), self._mark))
                except csv.Error as error:
                    raise InputError(
                        f"line {number} cannot be read: {error}; correct its quotes."
                    ) from None
                text = "".join(taken)
            if self.first and n_cells != len(self.first):
                raise InputError(self._ragged(number, _cut([text], self._mark)))
            yield number, text

    def _ragged(self, line: int, cells: list[str]) -> str:
        came = (
            f"line {line} has {len(cells)} cells, but the first line, line "
            f"{self.number}, has {len(self.first)}"
        )
        mark = _MARKS.get(self._mark, "mark")
        longer, number = cells, line
        if len(self.first) > len(cells):
            longer, number = self.first, self.number
        if not "".join(longer[min(len(self.first), len(cells)) :]).strip():
            return f"{came}; remove the {mark} at the end of line {number}."
        such = ", such as a number with a decimal comma" if self._mark == "," else ""
        return (
            f"{came}; give each line one cell per column, and put quotes around a cell "
            f"that contains a {mark}{such}."
        )


@contextlib.contextmanager
def lines_of(path: Path, fits: Fits, *, numeric: bool = False) -> Iterator[Lines]:
    """Open a text file, see `Lines`."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        yield Lines(file, fits, numeric=numeric)


def _numbered(file: TextIO) -> Iterator[tuple[int, str]]:
    """Yield lines with their numbers, from 1."""
    for number, line in enumerate(file, start=1):
        if "\0" in line:
            raise InputError(
                f"line {number} contains NUL characters, probably because the file is "
                "UTF-16; save it as UTF-8."
            )
        yield number, line


def _spaced(line: str, mark: str) -> str:
    """Put a single space between cells if spaces are the delimiter."""
    return line if mark != " " else " ".join(_UNIT.sub(r'"\1"', line).split()) + "\n"


def _cut(lines: Iterable[str], mark: str) -> list[str]:
    """Return the cells of one row, and check its quotes."""
    return next(csv.reader(lines, delimiter=mark, skipinitialspace=True, strict=True))


def _kept(text: str, lines: Iterator[Numbered], taken: list[str]) -> Iterator[str]:
    """Yield a line and those below it, and store the lines that are consumed."""
    for line in itertools.chain([text], (line for _, line in lines)):
        taken.append(line)
        yield line


def _find_mark(lines: list[str], marks: list[str], fits: Fits) -> str:
    # The csv module refuses cells of more than 131072 characters. Long lines exceed
    # this limit if they are cut at the wrong delimiter.
    cut = {}
    for mark in marks:
        split = [line.split(None if mark == " " else mark) for line in lines]
        cells = [[cell.strip().strip('"') for cell in line] for line in split]
        if fits(cells[0], cells[-1]):
            return mark
        cut[mark] = len(cells[0])
    return max(cut, key=cut.__getitem__)


@contextlib.contextmanager
def in_header(line: int) -> Iterator[None]:
    """Add the number of the header line to errors."""
    try:
        yield
    except InputError as error:
        raise InputError(f"line {line}, the header: {error}") from None


def header_of(cells: Sequence[str]) -> list[str]:
    """Return the names in a line of headers; "" for a column without one."""
    names = [unescaped(cell) for cell in cells]
    # Names that pandas gives to columns without a name.
    return ["" if re.fullmatch(r"Unnamed: \d+", name) else name for name in names]


def refuse_double(header: Sequence[str]) -> None:
    """Refuse duplicate column names."""
    for name, count in Counter(header).items():
        if name and count > 1:
            raise InputError(
                f"{count} columns have the name {name}; give each column a different "
                "name."
            )
