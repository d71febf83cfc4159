"""Writer of grouped data."""

from __future__ import annotations

import csv
from os import PathLike
from pathlib import Path
from typing import Any, Final

import numpy as np

from symae_keras.data.groups import Array, GroupedData
from symae_keras.data.readers.cells import is_number
from symae_keras.errors import InputError
from symae_keras.files import written_aside

#: What `save` writes.
SUFFIXES: Final = (".npz", ".csv")
_KEYS: Final = ("mask", "ids", "pixel_mask", "weights", "axis", "axis_label")


def save(groups: GroupedData, path: str | PathLike[str]) -> None:
    """Write groups into a file that `load` reads.

    An `.npz` file holds everything but the truth of simulators. A `.csv` file is a wide
    table of spectra: `group`, `instance`, metadata of instances, and a column a pixel;
    bad pixels are empty cells.

    Args:
        groups: The groups. Absent instances are left out of a table.
        path: The file to write; it is replaced in one step.

    Raises:
        InputError: The suffix is another, `.csv` is to hold other things than spectra
            or two groups of one name, metadata are called what a file calls something
            else, or the file cannot be written.

    Example:
    >>> import tempfile
    >>> from symae_keras.data import load
    >>> path = Path(tempfile.mkdtemp()) / "my.csv"
    >>> save(GroupedData(np.ones((2, 3, 4)), axis=np.arange(4.0)), path)
    >>> load(path).x.shape
    (2, 3, 4)
    """
    path = Path(path)
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(
            f"{path} has the suffix {path.suffix or '(none)'}; give one of "
            f"{', '.join(SUFFIXES)}."
        )
    table = path.suffix.lower() == ".csv"
    if table and len(groups.instance_shape) != 1:
        raise InputError(
            f"A table holds spectra of the shape (pixels,); received instances of "
            f"shape {groups.instance_shape}, so give an .npz file."
        )
    _refuse_names(groups, table)
    with written_aside(path) as aside:
        if table:
            with aside.open("w", newline="", encoding="utf-8") as text:
                csv.writer(text).writerows(_rows(groups))
        else:
            with aside.open("wb") as stream:
                np.savez(stream, **_arrays(groups))


def _refuse_names(groups: GroupedData, table: bool) -> None:
    """Refuse what could be written, but not be read again."""
    if table:
        taken = [k for k in groups.instance_metadata if k == "group" or is_number(k)]
    else:
        known = [*groups.group_metadata, *groups.instance_metadata]
        taken = [k for k in known if k.lower() == "group" or k in ("x", *_KEYS)]
    if taken:
        raise InputError(
            f"Metadata are called {taken[0]}, which stands for something else in a "
            "file; give them another name."
        )
    if table and groups.ids is not None:
        names, counts = np.unique(np.asarray(groups.ids), return_counts=True)
        if counts.max(initial=1) > 1:
            raise InputError(
                f"{counts.max()} groups are called {names[counts.argmax()]}; a table "
                "tells groups by their names, so give an .npz file."
            )


def _arrays(groups: GroupedData) -> dict[str, Any]:
    arrays: dict[str, Any] = {"x": groups.x}
    for name in _KEYS:
        value = getattr(groups, name)
        if value is not None:
            arrays[name] = value
    if groups.axis is None:
        del arrays["axis_label"]
    return {**groups.group_metadata, **groups.instance_metadata, **arrays}


def _rows(groups: GroupedData) -> Any:
    """Lines of a wide table."""
    pixels = groups.instance_shape[0]
    axis: Array = np.arange(pixels) if groups.axis is None else np.asarray(groups.axis)
    known = {k: v for k, v in groups.instance_metadata.items() if v.ndim == 2}
    # As `load` calls the names of instances.
    called = known.pop("instance", np.indices(groups.x.shape[:2])[1])
    yield ["group", "instance", *known, *map(repr, axis.tolist())]
    names = np.arange(len(groups)) if groups.ids is None else np.asarray(groups.ids)
    good = np.broadcast_to(groups.good_pixels, groups.x.shape)
    for n, t in np.argwhere(groups.present).tolist():
        cells = zip(groups.x[n, t].tolist(), good[n, t].tolist(), strict=True)
        values = [repr(value) if there else "" for value, there in cells]
        yield [
            names[n],
            called[n, t],
            *(each[n, t] for each in known.values()),
            *values,
        ]
