"""Reader of tables of text in the long form, in which a row is one pixel."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from symae_keras.data.cell_text import unescaped
from symae_keras.data.groups import Array, GroupedData
from symae_keras.data.readers.assemble import from_rows, mask_missing, note_unused
from symae_keras.data.readers.cells import NumberReader, filled, names
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
        for column, k in zip(columns, places, strict=True):
            column.append(cells[k])
    text = [[unescaped(cell) for cell in column] for column in columns[:3]]
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
