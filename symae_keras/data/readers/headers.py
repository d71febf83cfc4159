"""Names of columns, and those that may be pixels whose headers are mistyped."""

from __future__ import annotations

import contextlib
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from symae_keras.data.cell_text import unescaped
from symae_keras.data.groups import Array
from symae_keras.data.readers.cells import is_missing, is_nearly_number, is_number
from symae_keras.data.readers.sentences import find_name, quoted
from symae_keras.errors import InputError

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
