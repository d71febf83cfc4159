"""From the text of table cells to numbers and names."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from symae_keras.data.groups import Array
from symae_keras.data.readers.sentences import quoted
from symae_keras.errors import InputError


def is_number(cell: str) -> bool:
    """Whether a cell reads as a finite number."""
    try:
        return math.isfinite(float(cell))
    except ValueError:
        return False


def numbers(cells: Sequence[str], place: Callable[[int], str]) -> Array:
    """Cells as float64, NaN where a cell is empty or says so.

    Args:
        cells: The text.
        place: Where a cell is in the file, by its index, for errors.

    Raises:
        InputError: A cell is not a number, or infinite.
    """
    try:
        values = np.array(cells, "float64")
    except ValueError:
        values = np.array([_number(cell) for cell in cells])
    wrong = np.flatnonzero(np.isinf(values))
    if len(wrong):
        raise InputError(
            f"{place(int(wrong[0]))} holds {quoted(cells[wrong[0]])}; expected a "
            "finite number with a decimal point, or nothing for a missing pixel."
        )
    return values


def _number(cell: str) -> float:
    """The number, NaN for an empty cell, infinity for any other text."""
    try:
        return float(cell) if cell.strip() else math.nan
    except ValueError:
        return math.inf


def names(cells: Sequence[str]) -> Array:
    """Cells as int64 if that loses nothing, else as text; "007" is a text."""
    text = np.array(cells, dtype=str)
    try:
        whole = np.array(cells, dtype="int64")
    except (ValueError, OverflowError):
        return text
    return whole if (whole.astype(str) == text).all() else text


def column(cells: Sequence[str]) -> Array:
    """Cells as numbers, NaN where empty, if all that are not empty are numbers."""
    values = names(cells)
    if values.dtype.kind == "i" or not any(cells):
        return values
    try:
        return np.array([cell or "nan" for cell in cells], "float64")
    except ValueError:
        return values


def filled(cells: Sequence[str], lines: Sequence[int], name: str) -> Sequence[str]:
    """The cells of a column that has to say something in every row.

    Raises:
        InputError: There are no rows, or a cell is empty.
    """
    if not cells:
        raise InputError("the file has a header but no rows.")
    if not all(cells):
        raise InputError(
            f"line {lines[list(cells).index('')]}, column {name}, is empty; fill it."
        )
    return cells
