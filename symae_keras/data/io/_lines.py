"""Lines of text tables, and their headers."""

from __future__ import annotations

import contextlib
import csv
import itertools
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, TextIO

from symae_keras._utils.text import find_name, quoted
from symae_keras.data.groups import Array
from symae_keras.data.io._cell_text import unescaped
from symae_keras.data.io._cells import is_missing, is_nearly_number, is_number
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


_ONE_LETTER: Final = re.compile(r"[^\W\d_]\d(\d+|\d*\.\d*)")
#: Letters that are typed, or read from paper, for digits.
_LETTERS: Final = str.maketrans("OoIl|", "00111")
_AXIS: Final = re.compile(r"axis(\s*\(.*\))?", re.IGNORECASE)


@contextlib.contextmanager
def in_header(line: int) -> Iterator[None]:
    """Say of an error that it is in the line of headers."""
    try:
        yield
    except InputError as error:
        raise InputError(f"line {line}, the header: {error}") from None


def header_of(cells: Sequence[str]) -> list[str]:
    """Return the names in a line of headers; "" for a column without one."""
    names = [unescaped(cell) for cell in cells]
    # So pandas calls a column that has no name.
    return ["" if re.fullmatch(r"Unnamed: \d+", name) else name for name in names]


def refuse_double(header: Sequence[str]) -> None:
    """Refuse names that two columns have.

    Raises:
        InputError: Two columns have the same name.
    """
    for name, count in Counter(header).items():
        if name and count > 1:
            raise InputError(f"{count} columns are called {name}; give each its name.")


def long_columns(names: Sequence[str]) -> tuple[str, str, str] | None:
    """Return the columns of instance, axis and value, which make a table a long one."""
    instance, value = find_name(names, "instance"), find_name(names, "value")
    axis = next((name for name in names if _AXIS.fullmatch(name)), None)
    if instance is None or axis is None or value is None:
        return None
    return instance, axis, value


def may_be_pixel(header: str, cells: Sequence[str]) -> bool:
    """Return whether a header is nearly a number, and its column not one of text."""
    return is_nearly_number(header) and _may_be_values(cells)


def refuse_lost_pixels(
    line: int,
    header: Sequence[str],
    pixels: Sequence[int],
    axis: Array,
    others: Mapping[int, Sequence[str]],
    lines: Sequence[int],
) -> None:
    """Refuse columns that are not read as pixels, but may be meant as such.

    Args:
        line: The number of the line of headers.
        header: The names of all columns.
        pixels: Which columns are pixels.
        axis: The axis value of each pixel.
        others: The cells of each column that is to be metadata, or that has no name.
        lines: The numbers of the rows.

    Raises:
        InputError: There is such a column.
    """
    for k, cells in others.items():
        name = header[k]
        place = f"line {line}, column {k + 1},"
        row = next((i for i, c in enumerate(cells) if not is_missing(c)), None)
        what = "all its rows are empty"
        if row is not None:
            what = f"line {lines[row]} holds {quoted(cells[row])} in it"
        if not name:
            # An empty column without a name comes from a delimiter at the end of lines;
            # a first column without a name is the index that pandas and R write.
            if row is not None and (k > 0 or k + 1 in pixels):
                raise InputError(
                    f"{place} has no name, but {what}; write its axis value if it is "
                    "a pixel, else a name, or delete the column."
                )
        elif may_be_pixel(name, cells):
            raise InputError(
                f"{place} has the header {quoted(name)}, which is nearly a number, and "
                f"{what}; if it is a pixel, write its axis value as a number such as "
                "1234.5, without unit or thousands separators; if not, start its name "
                "with a letter."
            )
        elif _may_be_values(cells) and (
            pixels[0] < k < pixels[-1] or _continues(header, k, pixels, axis)
        ):
            beside = header[max((p for p in pixels if p < k), default=pixels[0])]
            raise InputError(
                f"{place} has the header {quoted(name)} beside the pixel {beside}, and "
                f"{what}; if it is a pixel, write its axis value as the header; if "
                "not, move it away from the pixels."
            )


def _continues(
    header: Sequence[str], k: int, pixels: Sequence[int], axis: Array
) -> bool:
    """Return whether a name next to the pixels may be the next axis value.

    It contains that value ("nm501" after 499 and 500, "l00.5" before 101.0 and 101.5),
    or is a number whose first digit is a letter ("n02.5"; "n02" beside 501).
    """
    if k not in (pixels[0] - 1, pixels[-1] + 1):
        return False
    name, beside = header[k], header[pixels[0] if k < pixels[0] else pixels[-1]]
    if _ONE_LETTER.fullmatch(name) and ("." in name or len(name) == len(beside)):
        return True
    if len(axis) < 2:
        return False
    inner, edge = axis[[1, 0]] if k < pixels[0] else axis[-2:]
    step = edge - inner
    numbers = re.findall(r"\d+\.?\d*|\.\d+", f"{name} {name.translate(_LETTERS)}")
    return any(2 * abs(float(n) - edge - step) <= abs(step) for n in numbers)


def _may_be_values(cells: Sequence[str]) -> bool:
    """Return whether a column holds a number, or is empty.

    A number may have a delimiter of another kind behind it, as where all lines of a
    table with semicolons end with a comma.
    """
    filled = [cell for cell in cells if not is_missing(cell)]
    return not filled or any(is_number(cell.rstrip(",;")) for cell in filled)
