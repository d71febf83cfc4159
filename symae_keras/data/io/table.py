"""Reader of text tables."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

from symae_keras._utils.text import find_group, find_name, listed, quoted
from symae_keras.data.groups import Array, GroupedData
from symae_keras.data.io._assemble import (
    checked_axis,
    from_rows,
    mask_missing,
    note_unused,
)
from symae_keras.data.io._cells import (
    NumberReader,
    Rows,
    column,
    filled,
    is_missing,
    is_nearly_number,
    is_number,
    names,
    unescaped,
)
from symae_keras.data.io._lines import (
    header_of,
    in_header,
    lines_of,
    refuse_double,
)
from symae_keras.errors import InputError

_ONE_LETTER: Final = re.compile(r"[^\W\d_]\d(\d+|\d*\.\d*)")
#: Letters that people type, or scanners read, instead of digits.
_LETTERS: Final = str.maketrans("OoIl|", "00111")
#: A number and a unit.
_WITH_UNIT: Final = re.compile(r"([+-]?[\d.,]+)\s*([^\W\d]\S*)")
_AXIS: Final = re.compile(r"axis(\s*\(.*\))?", re.IGNORECASE)


def read_table(path: Path, group: str | None) -> GroupedData:
    """Read groups from a wide or a long table."""

    def has_group(cells: list[str]) -> bool:
        return find_name(header_of(cells), group or "group") is not None

    with lines_of(path, lambda first, _: has_group(first)) as lines:
        above = None if has_group(lines.first) else lines.above(has_group)
        line, cells = above or (lines.number, lines.first)
        with_first = above is not None
        header = header_of(cells)
        with in_header(line):
            refuse_double(header)
            name = find_group(header, group, "column", "group")
        rest = [each for each in header if each != name]
        long = long_columns(rest)
        unit = common_unit(rest) if long is None else ""
        if unit:
            header = [
                each if each == name else _without_unit(each, unit) for each in header
            ]
            rest = [each for each in header if each != name]
        if long is None:
            instance = find_name(rest, "instance")
            rows = lines.rows(with_first=with_first)
            return _read_wide(path, line, header, rows, name, instance, unit)
        pixels = [each for each in rest if is_number(each)]
        if pixels:
            raise InputError(
                f"line {line}, the header: {', '.join(long)} are the columns of a long "
                f"table, and {listed(pixels)} the pixels of a wide one; keep one form, "
                "or rename metadata columns."
            )
        (whole,) = lines.rows(with_first=with_first, whole=True)
        return _read_long(path, header, whole, (name, *long))


def _read_long(
    path: Path,
    header: list[str],
    rows: Rows,
    used: tuple[str, str, str, str],
) -> GroupedData:
    """Read groups from rows of group, instance, axis and value, in any order.

    Only the value may be empty; an empty value is a missing pixel.
    """
    unused = [name or "(no name)" for name in header if name not in used]
    note_unused(path, "columns", unused)
    places = [header.index(name) for name in used]
    text = [[unescaped(cell) for cell in rows.cells([k])[:, 0]] for k in places[:3]]
    for each, name in zip(text, used, strict=False):
        filled(each, rows.numbers, name)
    numbers = NumberReader()
    positions, values = (
        numbers.read_rows(rows, [places[k]], [used[k]])[:, 0] for k in (2, 3)
    )
    numbers.settle()
    ids, instances = names(text[0]), names(text[1])
    frame = pd.DataFrame(
        {"group": ids, "instance": instances, "axis": positions, "value": values}
    )
    again = frame.duplicated(["group", "instance", "axis"]).to_numpy()
    if again.any():
        k = int(again.argmax())
        raise InputError(
            f"line {rows.numbers[k]} repeats {used[2]} {text[2][k]} of group "
            f"{text[0][k]}, instance {text[1][k]}; keep only one of these rows."
        )
    counts = frame.groupby(["group", "instance"]).size()
    n_pixels = frame["axis"].nunique()
    short = counts[counts < n_pixels]
    if len(short):
        name, instance = short.index[0]
        raise InputError(
            f"mixed lengths: group {name}, instance {instance} has {short.iloc[0]} "
            f"values, but there are {n_pixels} different values of {used[2]}; give "
            "each instance one row for each of these values, with an empty value where "
            "a pixel is missing."
        )
    wide = frame.pivot(index=["group", "instance"], columns="axis", values="value")
    x, pixel_mask, _ = mask_missing(path, wide.to_numpy(), None, None)
    groups, instance = map(wide.index.get_level_values, (0, 1))
    return from_rows(
        path,
        x,
        groups.to_numpy().astype(ids.dtype),
        pixel_mask=pixel_mask,
        metadata={"instance": instance.to_numpy().astype(instances.dtype)},
        axis=wide.columns.to_numpy(),
        axis_label=used[2],
    )


def _read_wide(
    path: Path,
    line: int,
    header: list[str],
    rows: Iterator[Rows],
    group: str,
    instance: str | None,
    unit: str,
) -> GroupedData:
    """Read groups from rows of pixels; `line` is the header line number.

    `unit` is the unit of the axis, empty if it is unknown.
    """
    pixels = [k for k, name in enumerate(header) if is_number(name) and name != group]
    others = sorted(set(range(len(header))) - set(pixels))
    heads = [header[k] for k in pixels]
    if not heads:
        raise InputError(
            f"line {line}, the header: no column is a pixel; expected numbers (axis "
            "values) as headers, or the columns group, instance, axis and value; found "
            f"{listed(header)}."
        )
    numbers = NumberReader()
    axis = numbers.read(heads, lambda k: f"line {line}, column {pixels[k] + 1},")
    values: list[Array] = []
    columns: dict[int, list[str]] = {k: [] for k in others}
    numbered: list[int] = []
    for some in rows:
        values.append(numbers.read_rows(some, pixels, heads))
        for k, cells in zip(others, some.cells(others).T, strict=True):
            columns[k] += map(unescaped, cells)
        numbered += some.numbers
    ids = filled(columns.pop(header.index(group)), numbered, group)
    given = None
    if instance is not None:
        given = filled(columns.pop(header.index(instance)), numbered, instance)
        _refuse_double_rows(numbered, ids, given)
    _refuse_lost_pixels(line, header, pixels, axis, columns, numbered)
    numbers.settle()
    with in_header(line):
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
        metadata["instance"] = names(given)
    x, pixel_mask, _ = mask_missing(path, np.concatenate(values), None, None)
    return from_rows(
        path,
        x,
        names(ids),
        pixel_mask=pixel_mask,
        metadata=metadata,
        axis=axis,
        axis_label=f"axis ({unit})" if unit else "axis",
    )


def common_unit(header: Sequence[str]) -> str:
    """Return the unit after the numbers in most headers, such as "nm" in "1100 nm".

    It is empty if a header is a number without a unit.

    Example:
    >>> common_unit(["date", "1100 nm", "1104.5 nm", "1109 nm"])
    'nm'
    """
    if any(map(is_number, header)):
        return ""
    units = [
        match[2]
        for name in header
        if (match := _WITH_UNIT.fullmatch(name)) and is_number(match[1])
    ]
    unit = max(units, key=units.count, default="")
    return unit if 2 * units.count(unit) > len(header) else ""


def _without_unit(name: str, unit: str) -> str:
    number = name.removesuffix(unit).strip()
    return number if is_number(number) else name


def _refuse_double_rows(lines: list[int], *names: Sequence[str]) -> None:
    """Refuse duplicate rows of the same group and instance."""
    seen: dict[tuple[str, ...], int] = {}
    for line, pair in zip(lines, zip(*names, strict=True), strict=True):
        if pair in seen:
            raise InputError(
                f"line {line} repeats group {pair[0]}, instance {pair[1]} of line "
                f"{seen[pair]}; delete or rename one of them."
            )
        seen[pair] = line


def long_columns(names: Sequence[str]) -> tuple[str, str, str] | None:
    """Return the columns of instance, axis and value of a long table."""
    instance, value = find_name(names, "instance"), find_name(names, "value")
    axis = next((name for name in names if _AXIS.fullmatch(name)), None)
    if instance is None or axis is None or value is None:
        return None
    return instance, axis, value


def may_be_pixel(header: str, cells: Sequence[str]) -> bool:
    """Return whether a header is nearly a number and its column is not text."""
    return is_nearly_number(header) and _may_be_values(cells)


def _refuse_lost_pixels(
    line: int,
    header: Sequence[str],
    pixels: Sequence[int],
    axis: Array,
    others: Mapping[int, Sequence[str]],
    lines: Sequence[int],
) -> None:
    """Refuse columns that are not read as pixels, but are probably pixels.

    `line` is the header line number. `others` are the cells of each column that is
    metadata or has no name. `lines` are the line numbers of the rows.
    """
    for k, cells in others.items():
        name = header[k]
        place = f"line {line}, column {k + 1},"
        row = next((i for i, c in enumerate(cells) if not is_missing(c)), None)
        what = "all its rows are empty"
        if row is not None:
            what = f"line {lines[row]} holds {quoted(cells[row])} in it"
        if not name:
            # Delimiters at the ends of lines make an empty column without a name; a
            # first column without a name is the index that pandas and R write.
            if row is not None and (k > 0 or k + 1 in pixels):
                raise InputError(
                    f"{place} has no name, but {what}; if it is a pixel, write its "
                    "axis value as the header; if not, write a name, or delete the "
                    "column."
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
                f"{place} has the header {quoted(name)} next to the pixel {beside}, "
                f"and {what}; if it is a pixel, write its axis value as the header; if "
                "not, move it away from the pixels."
            )


def _continues(
    header: Sequence[str], k: int, pixels: Sequence[int], axis: Array
) -> bool:
    """Return whether a name next to the pixels is probably an axis value.

    The name contains that value ("nm501" after 499 and 500, "l00.5" before 101.0 and
    101.5), or is a number whose first digit is a letter ("n02.5"; "n02" next to 501).
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
    """Return whether a column contains a number or is empty.

    A different delimiter may follow a number, for example if all lines of a table with
    semicolons end with a comma.
    """
    filled = [cell for cell in cells if not is_missing(cell)]
    return not filled or any(is_number(cell.rstrip(",;")) for cell in filled)
