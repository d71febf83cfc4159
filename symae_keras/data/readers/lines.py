"""Lines of text files, cut into cells; tables and spectra share them."""

from __future__ import annotations

import contextlib
import csv
import itertools
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final, TextIO

from symae_keras.errors import InputError

#: What stands between cells, with its name; the first that fits is taken.
_MARKS: Final = {"\t": "tab", ";": "semicolon", " ": "space", ",": "comma"}
#: The first line that Excel writes, or needs, where the mark is not that of its locale.
_SEP: Final = re.compile(r'"?sep=(.)"?\1*', re.IGNORECASE)
_COMMENT: Final = re.compile(r'\s*"?\s*#')
#: A name with its unit in brackets, where spaces stand between cells.
_UNIT: Final = re.compile(r"([^\s\"]+\s+(?:\([^)]*\)|\[[^\]]*\]))")

Numbered = tuple[int, str]
#: Whether the cells of the first line, and of the second one, are those of a file.
Fits = Callable[[list[str], list[str]], bool]


class Lines:
    """The lines of a text file, as cells.

    Attributes:
        rows: Lines with their numbers, from the first one that is neither blank nor a
            "#" line; each has as many cells as the first.
        comments: Numbers and cells of the "#" lines above them, the last one first; if
            numeric, cut in every way, as comments are often cut otherwise than rows.
    """

    def __init__(self, file: TextIO, fits: Fits, *, numeric: bool) -> None:
        """Find the first line, and what stands between cells.

        Args:
            file: The file, opened with `newline=""`.
            fits: Tells which mark between cells is the right one.
            numeric: Whether rows hold nothing but numbers, so that spaces may stand
                between cells and "#" starts a comment in any line.

        Raises:
            InputError: There is no line, or it is not text.
        """
        self._number = 0
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
        self.rows = self._rows(itertools.chain(ahead, lines))
        self.comments: list[tuple[int, list[str]]] = []
        cuts = [*"\t;, "] if numeric else [self._mark]
        for (number, text), mark in itertools.product(comments, cuts):
            with contextlib.suppress(csv.Error):  # it may be any text
                self.comments += ((number, cells) for cells in _cut([text], mark))

    def _rows(self, lines: Iterable[Numbered]) -> Iterator[tuple[int, list[str]]]:
        def passed() -> Iterator[str]:
            for self._number, line in lines:
                yield line

        first: list[str] = []
        first_number = 0
        try:
            for cells in _cut(passed(), self._mark):
                if len(cells) < 2 and not "".join(cells).strip():
                    continue
                if not first:
                    first, first_number = cells, self._number
                elif len(cells) != len(first):
                    raise InputError(self._ragged(cells, first_number, first))
                yield self._number, cells
        except csv.Error as error:
            raise InputError(
                f"line {self._number} cannot be read: {error}; correct its quotes."
            ) from None

    def _ragged(self, cells: list[str], first_number: int, first: list[str]) -> str:
        came = (
            f"line {self._number} has {len(cells)} cells, but the first line, line "
            f"{first_number}, has {len(first)}"
        )
        mark = _MARKS.get(self._mark, "mark")
        longer, number = cells, self._number
        if len(first) > len(cells):
            longer, number = first, first_number
        if not "".join(longer[min(len(first), len(cells)) :]).strip():
            return f"{came}; remove the {mark} at the end of line {number}."
        such = ", such as a number with a decimal comma" if self._mark == "," else ""
        return (
            f"{came}; give each line a cell for each column, and quotes to a cell that "
            f"holds a {mark}{such}."
        )


@contextlib.contextmanager
def lines_of(path: Path, fits: Fits, *, numeric: bool = False) -> Iterator[Lines]:
    """Open a text file, see `Lines`."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        yield Lines(file, fits, numeric=numeric)


def _numbered(file: TextIO) -> Iterator[tuple[int, str]]:
    """Lines with their numbers, from 1."""
    for number, line in enumerate(file, start=1):
        if "\0" in line:
            raise InputError(
                f"line {number} holds NUL characters, as text in UTF-16 does; save the "
                "file as UTF-8."
            )
        yield number, line


def _cut(lines: Iterable[str], mark: str) -> Iterator[list[str]]:
    if mark == " ":
        lines = (" ".join(_UNIT.sub(r'"\1"', line).split()) for line in lines)
    return csv.reader(lines, delimiter=mark, skipinitialspace=True, strict=True)


def _find_mark(lines: list[str], marks: list[str], fits: Fits) -> str:
    # The parser of the standard library takes no cell of more than 131072 characters,
    # which a long line is if it is cut at the wrong mark.
    cut = {}
    for mark in marks:
        split = [line.split(None if mark == " " else mark) for line in lines]
        cells = [[cell.strip().strip('"') for cell in line] for line in split]
        if fits(cells[0], cells[-1]):
            return mark
        cut[mark] = len(cells[0])
    return max(cut, key=cut.__getitem__)
