"""Reader of tables of text in the long form, in which a row is one pixel."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from symae_keras.data.groups import GroupedData
from symae_keras.data.readers.assemble import from_rows, mask_missing, note_unused
from symae_keras.data.readers.cells import filled, names, numbers
from symae_keras.errors import InputError


def read_long(
    path: Path,
    header: list[str],
    lines: Iterator[tuple[int, list[str]]],
    used: tuple[str, str, str, str],
) -> GroupedData:
    """Groups from rows of group, instance, axis value and value, in any order.

    Args:
        path: The file, for notes in the log.
        header: The names of all columns.
        lines: The rows with their line numbers.
        used: The names of the four columns.

    Raises:
        InputError: A cell is empty or no number, a pixel is given twice, or an instance
            lacks rows. Only the value may be empty: that is a missing pixel.
    """
    note_unused(path, "columns", [name for name in header if name not in used])
    places = [header.index(name) for name in used]
    numbered: list[int] = []
    columns: tuple[list[str], ...] = ([], [], [], [])
    for line, cells in lines:
        numbered.append(line)
        for column, k in zip(columns, places, strict=True):
            column.append(cells[k])
    for column, name in zip(columns[:3], used[:3], strict=True):
        filled(column, numbered, name)
    positions = numbers(columns[2], lambda k: f"line {numbered[k]}, column {used[2]},")
    if np.isnan(positions).any():
        line = numbered[int(np.isnan(positions).argmax())]
        raise InputError(f"line {line} has no {used[2]}; every value needs one.")
    values = numbers(columns[3], lambda k: f"line {numbered[k]}, column {used[3]},")

    groups, group = np.unique(names(columns[0]), return_inverse=True)
    instances, instance = np.unique(names(columns[1]), return_inverse=True)
    axis, pixel = np.unique(positions, return_inverse=True)
    pairs, row = np.unique(group * len(instances) + instance, return_inverse=True)
    of_group, of_instance = np.divmod(pairs, len(instances))

    cell = row * len(axis) + pixel
    order = np.argsort(cell, kind="stable")
    again = order[1:][np.diff(cell[order]) == 0]
    if len(again):
        k = again.min()
        raise InputError(
            f"line {numbered[k]} gives {used[2]} {columns[2][k]} of group "
            f"{columns[0][k]}, instance {columns[1][k]} again; keep one row of them."
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
