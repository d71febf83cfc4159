"""Reader of tables of text; here the wide form, in which a row is an instance."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np

from symae_keras.data.groups import Array, GroupedData
from symae_keras.data.readers.assemble import (
    checked_axis,
    from_rows,
    mask_missing,
    note_unused,
)
from symae_keras.data.readers.cells import column, filled, is_number, names, numbers
from symae_keras.data.readers.long_table import read_long
from symae_keras.data.readers.sentences import find_group, find_name, listed
from symae_keras.errors import InputError

_DELIMITERS: Final = ",;\t"
_AXIS: Final = re.compile(r"axis(\s*\(.*\))?", re.IGNORECASE)


def read_table(path: Path, group: str | None) -> GroupedData:
    """Groups from a table with the columns of the wide or of the long form.

    Raises:
        InputError: A column is missing, a cell is no number, rows do not fit each other
            or name the same thing twice.
    """
    lines = _lines(path)
    header = next(lines)[1]
    for name, count in Counter(header).items():
        if name and count > 1:
            raise InputError(f"{count} columns are called {name}; give each its name.")
    group = find_group(header, group, "column", "group")
    rest = [name for name in header if name != group]
    instance, value = find_name(rest, "instance"), find_name(rest, "value")
    axis = next((name for name in rest if _AXIS.fullmatch(name)), None)
    if axis is not None and instance is not None and value is not None:
        return read_long(path, header, lines, (group, instance, axis, value))
    return _read_wide(path, header, lines, group, instance)


def _lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Lines with their numbers, the header first; each has as many cells."""
    width = 0
    with path.open(encoding="utf-8-sig", newline="") as file:
        first = next((line for line in file if line.strip()), "")
        file.seek(0)
        cuts = {
            mark: len(next(csv.reader([first], delimiter=mark), []))
            for mark in _DELIMITERS
        }
        reader = csv.reader(
            file, delimiter=max(cuts, key=cuts.__getitem__), strict=True
        )
        try:
            for cells in reader:
                if not cells:
                    continue
                width = width or len(cells)
                if len(cells) != width:
                    raise InputError(
                        f"line {reader.line_num} has {len(cells)} cells, but the "
                        f"header has {width}; give each row a cell for each column."
                    )
                yield reader.line_num, [cell.strip() for cell in cells]
        except csv.Error as error:
            raise InputError(
                f"line {reader.line_num} cannot be read: {error}; correct its quotes."
            ) from None
    if not width:
        raise InputError("the file is empty; expected a header and rows.")


def _read_wide(
    path: Path,
    header: list[str],
    lines: Iterator[tuple[int, list[str]]],
    group: str,
    instance: str | None,
) -> GroupedData:
    pixels = [k for k, name in enumerate(header) if is_number(name) and name != group]
    others = sorted(set(range(len(header))) - set(pixels))
    heads = [header[k] for k in pixels]
    if not heads:
        raise InputError(
            "no column is a pixel; expected headers that are numbers, the axis values, "
            "or the columns group, instance, axis and value; found "
            f"{listed(header)}."
        )
    for k in others:
        if is_number(header[k].replace(",", ".")) and header[k] != group:
            raise InputError(
                f"the header {header[k]} has a decimal comma; write decimal points."
            )
    axis = checked_axis(np.array(heads, "float64"), heads, "sort the columns")

    values: list[Array] = []
    rest: list[list[str]] = []
    numbered: list[int] = []
    for line, cells in lines:

        def place(k: int, line: int = line) -> str:
            return f"line {line}, column {heads[k]},"

        values.append(numbers([cells[k] for k in pixels], place))
        rest.append([cells[k] for k in others])
        numbered.append(line)
    columns = {header[k]: [row[i] for row in rest] for i, k in enumerate(others)}
    ids = filled(columns.pop(group), numbered, group)
    note_unused(path, "columns", ["(no name)"] if "" in columns else [])
    metadata = {name: column(cells) for name, cells in columns.items() if name}
    if instance is not None:
        given = filled(columns[instance], numbered, instance)
        seen: dict[tuple[str, str], int] = {}
        for line, pair in zip(numbered, zip(ids, given, strict=True), strict=True):
            if pair in seen:
                raise InputError(
                    f"line {line} gives group {pair[0]}, instance {pair[1]} again, "
                    f"after line {seen[pair]}; keep one or rename one."
                )
            seen[pair] = line
        del metadata[instance]
        metadata["instance"] = names(given)
    x, pixel_mask, _ = mask_missing(path, np.stack(values), None, None)
    return from_rows(
        path,
        x,
        names(ids),
        pixel_mask=pixel_mask,
        metadata=metadata,
        axis=axis,
        axis_label="axis",
    )
