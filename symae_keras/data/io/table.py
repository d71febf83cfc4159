"""Tables of text."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from symae_keras._utils.text import find_group, find_name, listed
from symae_keras.data.groups import Array, GroupedData
from symae_keras.data.io._assemble import (
    checked_axis,
    from_rows,
    mask_missing,
    note_unused,
)
from symae_keras.data.io._cell_text import unescaped
from symae_keras.data.io._cells import NumberReader, column, filled, is_number, names
from symae_keras.data.io._cells import names as names_of
from symae_keras.data.io._lines import (
    header_of,
    in_header,
    lines_of,
    long_columns,
    refuse_double,
    refuse_lost_pixels,
)
from symae_keras.errors import InputError


def read_long(
    path: Path,
    header: list[str],
    lines: Iterator[tuple[int, list[str]]],
    used: tuple[str, str, str, str],
) -> GroupedData:
    """Read groups from rows of group, instance, axis value and value, in any order.

    Args:
        path: The file, for notes in the log.
        header: The names of all columns.
        lines: The rows with their line numbers.
        used: The names of the four columns.

    Raises:
        InputError: A cell is empty or no number, a pixel is given twice, or an instance
            lacks rows. Only the value may be empty: that is a missing pixel.
    """
    unused = [name or "(no name)" for name in header if name not in used]
    note_unused(path, "columns", unused)
    places = [header.index(name) for name in used]
    numbered: list[int] = []
    columns: tuple[list[str], ...] = ([], [], [], [])
    for line, cells in lines:
        numbered.append(line)
        for cells_of_one, k in zip(columns, places, strict=True):
            cells_of_one.append(cells[k])
    text = [[unescaped(cell) for cell in each] for each in columns[:3]]
    for cells, name in zip(text, used, strict=False):
        filled(cells, numbered, name)
    numbers = NumberReader()

    def read(c: int) -> Array:
        return numbers.read(
            columns[c], lambda k: f"line {numbered[k]}, column {used[c]},"
        )

    positions, values = read(2), read(3)
    numbers.settle()

    groups, group = np.unique(names(text[0]), return_inverse=True)
    instances, instance = np.unique(names(text[1]), return_inverse=True)
    axis, pixel = np.unique(positions, return_inverse=True)
    pairs, row = np.unique(group * len(instances) + instance, return_inverse=True)
    of_group, of_instance = np.divmod(pairs, len(instances))

    cell = row * len(axis) + pixel
    order = np.argsort(cell, kind="stable")
    again = order[1:][np.diff(cell[order]) == 0]
    if len(again):
        k = again.min()
        raise InputError(
            f"line {numbered[k]} gives {used[2]} {text[2][k]} of group "
            f"{text[0][k]}, instance {text[1][k]} again; keep one row of them."
        )
    counts = np.bincount(row)
    short = np.flatnonzero(counts < len(axis))
    if len(short):
        k = short[0]
        raise InputError(
            f"mixed lengths: group {groups[of_group[k]]}, instance "
            f"{instances[of_instance[k]]} has {counts[k]} values, but there are "
            f"{len(axis)} different values of {used[2]}; give each instance a row for "
            "each of them, with an empty value where a pixel is missing."
        )
    x = np.empty((len(pairs), len(axis)))
    x.reshape(-1)[cell] = values
    x, pixel_mask, _ = mask_missing(path, x, None, None)
    return from_rows(
        path,
        x,
        groups[of_group],
        pixel_mask=pixel_mask,
        metadata={"instance": instances[of_instance]},
        axis=axis,
        axis_label=used[2],
    )


def read_table(path: Path, group: str | None) -> GroupedData:
    """Read groups from a table with the columns of the wide or of the long form.

    Raises:
        InputError: A column is missing, a cell is no number, rows do not fit each other
            or name the same thing twice.
    """

    def has_group(cells: list[str]) -> bool:
        return find_name(header_of(cells), group or "group") is not None

    with lines_of(path, lambda first, _: has_group(first)) as lines:
        number, cells = next(lines.rows)
        rows = lines.rows
        if not has_group(cells):
            for above, names in lines.comments:
                if len(names) == len(cells) and has_group(names):
                    rows = itertools.chain([(number, cells)], rows)
                    number, cells = above, names
                    break
        header = header_of(cells)
        with in_header(number):
            refuse_double(header)
            name = find_group(header, group, "column", "group")
        rest = [each for each in header if each != name]
        long = long_columns(rest)
        if long is None:
            instance = find_name(rest, "instance")
            return _read_wide(path, number, header, rows, name, instance)
        pixels = [each for each in rest if is_number(each)]
        if pixels:
            raise InputError(
                f"line {number}, the header: {', '.join(long)} are the columns of a "
                f"long table, and {listed(pixels)} the pixels of a wide one; keep one "
                "form, or rename what is metadata."
            )
        return read_long(path, header, rows, (name, *long))


def _read_wide(
    path: Path,
    header_line: int,
    header: list[str],
    rows: Iterator[tuple[int, list[str]]],
    group: str,
    instance: str | None,
) -> GroupedData:
    pixels = [k for k, name in enumerate(header) if is_number(name) and name != group]
    others = sorted(set(range(len(header))) - set(pixels))
    heads = [header[k] for k in pixels]
    if not heads:
        raise InputError(
            f"line {header_line}, the header: no column is a pixel; expected headers "
            "that are numbers, the axis values, or the columns group, instance, axis "
            f"and value; found {listed(header)}."
        )
    numbers = NumberReader()
    axis = numbers.read(heads, lambda k: f"line {header_line}, column {pixels[k] + 1},")
    values: list[Array] = []
    rest: list[list[str]] = []
    lines: list[int] = []
    for line, cells in rows:

        def place(k: int, line: int = line) -> str:
            return f"line {line}, column {heads[k]},"

        values.append(numbers.read([cells[k] for k in pixels], place))
        rest.append([unescaped(cells[k]) for k in others])
        lines.append(line)
    columns = {k: [row[i] for row in rest] for i, k in enumerate(others)}
    ids = filled(columns.pop(header.index(group)), lines, group)
    given = None
    if instance is not None:
        given = filled(columns.pop(header.index(instance)), lines, instance)
        _refuse_double_rows(lines, ids, given)
    refuse_lost_pixels(header_line, header, pixels, axis, columns, lines)
    numbers.settle()
    with in_header(header_line):
        axis = checked_axis(axis, heads, "sort the columns")

    note_unused(
        path, "columns", [f"{k + 1} (no name)" for k in columns if not header[k]]
    )
    metadata = {
        header[k]: column(cells, numbers.decimal_comma)
        for k, cells in columns.items()
        if header[k]
    }
    if given is not None:
        metadata["instance"] = names_of(given)
    x, pixel_mask, _ = mask_missing(path, np.stack(values), None, None)
    return from_rows(
        path,
        x,
        names_of(ids),
        pixel_mask=pixel_mask,
        metadata=metadata,
        axis=axis,
        axis_label="axis",
    )


def _refuse_double_rows(lines: list[int], *names: Sequence[str]) -> None:
    """Refuse two rows of the same group and instance."""
    seen: dict[tuple[str, ...], int] = {}
    for line, pair in zip(lines, zip(*names, strict=True), strict=True):
        if pair in seen:
            raise InputError(
                f"line {line} gives group {pair[0]}, instance {pair[1]} again, after "
                f"line {seen[pair]}; keep one or rename one."
            )
        seen[pair] = line
