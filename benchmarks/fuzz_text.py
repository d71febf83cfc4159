"""Strict reference readers of text files."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from pathlib import Path
from typing import Final

import numpy as np
from fuzz_reference import (
    Reading,
    Seen,
    from_rows,
    need,
    stacked,
)

_NUMBER: Final = re.compile(
    r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE
)


def is_number(cell: str) -> bool:
    """Return whether a cell is a finite number and nothing else."""
    return bool(_NUMBER.fullmatch(cell)) and bool(np.isfinite(float(cell)))


def number(cell: str) -> float:
    """Return the number in a cell; NaN if the cell is empty or contains "nan"."""
    cell = cell.replace("\u2212", "-")  # the Unicode minus sign
    if cell.casefold() in ("", "nan"):
        return float("nan")
    need(is_number(cell), f"{cell!r} is not a number")
    return float(cell)


def cells(path: Path, delimiter: str, comma: bool) -> list[list[str]]:
    """Return lines with equal numbers of cells, with decimal points."""
    content = path.read_bytes()
    marks = (b"\xff\xfe", b"\xfe\xff")
    try:
        text = content.decode(
            "utf-16" if content.startswith(marks) else "utf-8-sig", "strict"
        )
        lines = list(
            csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
        )
    except (UnicodeError, csv.Error) as error:
        raise Seen(str(error)) from None
    lines = [[cell.strip() for cell in line] for line in lines if line]
    need(len(lines) > 1, "no rows")
    need(all(len(line) == len(lines[0]) for line in lines), "lines of unequal lengths")
    if comma:
        need(not any("." in cell for line in lines for cell in line), "decimal points")
        lines = [[cell.replace(",", ".") for cell in line] for line in lines]
    return lines


def _columns(lines: list[list[str]]) -> dict[str, list[str]]:
    header = [name if is_number(name) else name.casefold() for name in lines[0]]
    twice = [name for name, count in Counter(header).items() if count > 1 and name]
    need(not twice, f"{twice} twice")
    return {name: [row[k] for row in lines[1:]] for k, name in enumerate(header)}


def _almost_number(name: str) -> bool:
    """Return whether a header is mostly digits, or is not finite."""
    digits = sum(letter.isdigit() for letter in name)
    return 2 * digits > len(name) or name in ("nan", "inf", "infinity")


def wide(path: Path, delimiter: str = ",", comma: bool = False) -> Reading:
    """Read a table with one row per instance."""
    columns = _columns(cells(path, delimiter, comma))
    need("group" in columns, "no column group")
    heads = [name for name in columns if is_number(name)]
    names = columns["group"]
    need(all(names) and heads, "an empty name, or no pixels")
    for name in columns:
        need(is_number(name) or not _almost_number(name), f"{name} resembles a number")
    if "instance" in columns:
        pairs = list(zip(names, columns["instance"], strict=True))
        need(all(columns["instance"]), "an empty instance")
        need(len(set(pairs)) == len(pairs), "duplicate instance")
    x = np.array([[number(cell) for cell in columns[head]] for head in heads]).T
    return from_rows(names, x, axis=np.array([float(head) for head in heads]))


def long(path: Path, delimiter: str = ",", comma: bool = False) -> Reading:
    """Read a table with one row per pixel."""
    columns = _columns(cells(path, delimiter, comma))
    axes = [name for name in columns if re.fullmatch(r"axis(\s*\(.*\))?", name)]
    need(len(axes) == 1, "no column axis")
    need({"group", "instance", "value"} <= set(columns), "a column is missing")
    places = [number(cell) for cell in columns[axes[0]]]
    need(np.isfinite(places).all(), "a row without axis value")
    keys = list(zip(columns["group"], columns["instance"], strict=True))
    need(all(map(all, keys)), "an empty name")
    instances, axis = sorted(set(keys)), np.unique(places)
    x = np.full((len(instances), len(axis)), np.inf)
    for key, place, cell in zip(keys, places, columns["value"], strict=True):
        at = instances.index(key), int(np.searchsorted(axis, place))
        need(np.isinf(x[at]), "duplicate pixel")
        x[at] = number(cell)
    need(not np.isinf(x).any(), "a pixel is missing")
    return from_rows([group for group, _ in instances], x, axis=axis)


def text_spectra(folder: Path) -> Reading:
    """Read columns of axis, value and inverse variance from each file."""
    names, spectra = [], []
    for file in sorted(folder.iterdir()):
        need(file.suffix == ".csv", f"{file.name} is not a spectrum")
        lines = cells(file, ",", comma=False)
        lines = [line for line in lines if not line[0].startswith("#")]
        if lines and not any(map(is_number, lines[0])):
            lines = lines[1:]
        need(lines and len(lines[0]) in (2, 3), "no rows, or other columns")
        columns = zip(*[[number(cell) for cell in line] for line in lines], strict=True)
        names.append(file.stem)
        spectra.append(tuple(np.array(column) for column in columns))
    return stacked(names, spectra)
