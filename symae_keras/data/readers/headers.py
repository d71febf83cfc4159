"""Names of columns, and those that may be pixels whose headers are mistyped."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

from symae_keras.data.cell_text import unescaped
from symae_keras.data.readers.cells import is_missing, is_nearly_number, is_number
from symae_keras.data.readers.sentences import find_name, quoted
from symae_keras.errors import InputError

_AXIS: Final = re.compile(r"axis(\s*\(.*\))?", re.IGNORECASE)


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
    """Return whether a column of this header may be meant as a pixel.

    Columns of text are metadata, whatever their header.
    """
    return is_nearly_number(header) and _may_be_values(cells)


def refuse_lost_pixels(
    line: int,
    header: Sequence[str],
    pixels: Sequence[int],
    others: Mapping[int, Sequence[str]],
    lines: Sequence[int],
) -> None:
    """Refuse columns that are no pixel by their header, but may be meant as one.

    Args:
        line: The number of the line of headers.
        header: The names of all columns.
        pixels: Which columns are pixels.
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
            # Without a name, a column of nothing comes from a mark at the end of lines,
            # and the first column is the index that pandas and R write.
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
        elif pixels[0] < k < pixels[-1] and _may_be_values(cells):
            before = max(p for p in pixels if p < k)
            after = min(p for p in pixels if p > k)
            raise InputError(
                f"{place} has the header {quoted(name)} between the pixels "
                f"{header[before]} and {header[after]}, and {what}; if it is a pixel, "
                "write its axis value as the header; if not, move it before the pixels."
            )


def _may_be_values(cells: Sequence[str]) -> bool:
    """Whether a column holds a number, or no text at all."""
    filled = [cell for cell in cells if not is_missing(cell)]
    return not filled or any(map(is_number, filled))
