"""Reader of one spectrum in a text file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from symae_keras.data.groups import Array, GroupedData
from symae_keras.data.readers.cells import NumberReader, is_number
from symae_keras.data.readers.headers import header_of, in_header, refuse_double
from symae_keras.data.readers.lines import lines_of
from symae_keras.data.readers.spectrum_columns import (
    POWERS,
    Columns,
    Role,
    columns_by_name,
    columns_by_place,
    names_columns,
)
from symae_keras.errors import InputError


class Spectrum(NamedTuple):
    """One spectrum, and what the log should say about its file."""

    values: Array
    axis: Array | None = None
    axis_label: str = GroupedData.axis_label
    weights: Array | None = None
    #: What was taken for weights, if a user may not expect it.
    weights_note: str = ""
    #: Present pixels that have no weight.
    n_unweighted: int = 0
    unused: tuple[str, ...] = ()


def read_text(file: Path) -> Spectrum:
    """Read a spectrum from columns with names, or of axis, value and inverse variance.

    Raises:
        InputError: The columns are not clear from the header, or a cell is not a
            number.
    """
    with lines_of(file, _is_cut, numeric=True) as lines:
        number, first = next(lines.rows)
        rows = list(lines.rows)
    header, header_line = header_of(first), number
    if is_number(first[0]):
        rows.insert(0, (number, first))
        header = []
        for above, cells in lines.comments:
            if len(cells) == len(first) and names_columns(header_of(cells)):
                header_line, header = above, header_of(cells)
                break
    if not rows:
        raise InputError("the file has a header but no rows; expected rows of numbers.")
    if header:
        with in_header(header_line):
            refuse_double(header)
            used = columns_by_name(header)
        unused = [k for k in range(len(header)) if k not in used[:3]]
    else:
        used, unused = columns_by_place(rows)
    return _spectrum(header, rows, used, unused)


def _is_cut(first: list[str], second: list[str]) -> bool:
    """Return whether two lines are cut at the right delimiter."""
    return len(first) == len(second) > 1 and not any(
        cell.startswith(",") or cell.endswith(",") for cell in (*first, *second)
    )


def _spectrum(
    header: Sequence[str],
    rows: Sequence[tuple[int, list[str]]],
    used: Columns,
    unused: Sequence[int],
) -> Spectrum:
    numbers = NumberReader()

    def read(k: int) -> Array:
        name = header[k] if header else str(k + 1)
        return numbers.read(
            [cells[k] for _, cells in rows],
            lambda i: f"line {rows[i][0]}, column {name},",
        )

    axis, values = read(used.axis), read(used.value)
    weights = None if used.weights is None else read(used.weights)
    numbers.settle()
    _refuse_row_numbers(header, used, axis, values)
    label = header[used.axis] if header else "axis"
    names = tuple((header[k] if header else "") or f"{k + 1} (no name)" for k in unused)
    spectrum = Spectrum(values, axis, label, unused=names)
    if weights is None or used.weights is None:
        return spectrum
    name = header[used.weights] if header else "3"
    note = ""
    if not header:
        note = "column 3 of files without a header is taken for the inverse variance"
    elif used.weights_role != "inverse variance":
        what = used.weights_role
        note = f"column {name} is taken for the {what}; weights are inverse variances"
    return spectrum._replace(
        weights=_inverse_variance(
            weights, used.weights_role, lambda i: f"line {rows[i][0]}, column {name},"
        ),
        weights_note=note,
        n_unweighted=_n_unweighted(weights, used.weights_role, values),
    )


def _inverse_variance(noise: Array, role: Role, place: Callable[[int], str]) -> Array:
    """Convert noise to inverse variances, 0 where it is unknown."""
    good = noise > 0  # nor NaN
    if role == "inverse variance" and (noise < 0).any():
        raise InputError(
            f"{place(int((noise < 0).argmax()))} is negative; an inverse variance is "
            "positive, or 0 for a bad pixel."
        )
    if role != "inverse variance" and not good.any():
        raise InputError(
            f"{place(0)} and all below are not positive; give the uncertainties, or "
            "delete the column."
        )
    with np.errstate(over="ignore"):
        weights = np.where(good, np.where(good, noise, 1.0) ** POWERS[role], 0.0)
    large = weights > np.finfo("float32").max
    if large.any():
        raise InputError(
            f"{place(int(large.argmax()))} is too small for an inverse "
            "variance; rescale the values."
        )
    return weights


def _n_unweighted(noise: Array, role: Role, values: Array) -> int:
    """Count the pixels that have a value, but no valid noise."""
    bad = np.isnan(noise) if role == "inverse variance" else ~(noise > 0)
    return int((bad & ~np.isnan(values)).sum())


def _refuse_row_numbers(
    header: Sequence[str], used: Columns, axis: Array, values: Array
) -> None:
    """Refuse an axis that only counts the rows, or that starts with names.

    Raises:
        InputError: The axis is taken from a column that is probably none.
    """
    counts = any(np.array_equal(axis, np.arange(len(axis)) + k) for k in (0, 1))
    steps = np.sign(np.diff(values))
    # Without a header, numbers of rows are followed by the axis, then the values.
    shifted = not header and used.weights is not None and abs(steps.sum()) == len(steps)
    if not header and len(axis) > 2 and axis[0] == 0 and values[0] == 1:
        jump, step = np.abs(np.diff(axis[:3]))
        if jump > 10 * step:
            raise InputError(
                "the first line, 0 and 1, may hold numbers of columns instead of a "
                "pixel; delete it, or write a header with names such as axis and value."
            )
    if len(axis) > 1 and counts and (used.guessed or shifted):
        name = header[used.axis] if header else "1"
        raise InputError(
            f"column {name} counts the rows, so it may not be the axis; delete it, or "
            "write a header with names such as axis, value and weights."
        )
