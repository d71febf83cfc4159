"""The axis of spectra: storage in a file, and comparison with other axes."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import re
from pathlib import Path
from typing import Final, Self, TypeAlias

import numpy as np

from symae_keras._utils.files import AXIS_FILE, written_atomically
from symae_keras._utils.untrusted_files import parse_json, read_bounded
from symae_keras.data.groups import Array, GroupedData
from symae_keras.data.ragged import RaggedGroups
from symae_keras.errors import InputError

_log = logging.getLogger("symae_keras")

#: Largest difference between equal axes, as a fraction of the pixel spacing.
_TOLERANCE: Final = 0.05
_MAX_BYTES: Final = 64 << 20
_REMEDY: Final = "--axis linear, or in Python with `symae_keras.data.resample`"
_UNIT: Final = re.compile(r"\(([^()]*)\)\s*$|\[([^\[\]]*)\]\s*$")
#: Spellings of common units of spectra.
_SPELLINGS: Final = {
    "nm": ("nanometer", "nanometre"),
    "um": ("µm", "μm", "micron", "micrometer", "micrometre"),  # both Greek letters
    "angstrom": ("å", "\u212b", "aa", "ang"),
    "1/cm": ("cm-1", "cm^-1", "cm**-1", "cm⁻¹", "wavenumber"),
    "m": ("meter", "metre"),
    "s": ("sec", "second"),
    "hz": ("hertz",),
}


#: Data with an axis.
HasAxis: TypeAlias = GroupedData | RaggedGroups


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Axis:
    """The physical value of each pixel, in order.

    Args:
        values: Shape `(pixels,)`, strictly increasing or decreasing.
        label: Name and unit, such as "wavelength (nm)".

    Example:
    >>> axis = Axis(np.array([500.0, 501.0]), "wavelength (nm)")
    >>> print(axis, "in", axis.unit)
    500 to 501, 2 pixels, wavelength (nm) in nm
    """

    values: Array
    label: str = GroupedData.axis_label

    @classmethod
    def of(cls, data: HasAxis) -> Self | None:
        """Return the axis of data, or `None` if the data have no axis."""
        if data.axis is None:
            return None
        return cls(np.asarray(data.axis, "float64"), data.axis_label)

    @property
    def unit(self) -> str:
        """The unit in the label, in a standard spelling; empty without a unit."""
        found = _UNIT.search(self.label)
        unit = (found[1] or found[2] or "").strip().casefold() if found else ""
        for usual, others in _SPELLINGS.items():
            if unit in others or unit.removesuffix("s") in (usual, *others):
                return usual
        return unit

    def __repr__(self) -> str:
        return f"Axis({self})"

    def __str__(self) -> str:
        first, last = self.values[0], self.values[-1]
        text = f"{first:g} to {last:g}, {len(self.values)} pixels"
        # The labels of unnamed axes, in arrays and in tables, contain no information.
        unnamed = self.label in (type(self).label, "axis")
        return text if unnamed else f"{text}, {self.label}"

    def reversed(self) -> Self:
        """Return the same axis in reverse order."""
        return dataclasses.replace(self, values=self.values[::-1])

    def equals(self, other: Axis) -> bool:
        """Return whether values and units agree.

        Values agree if they differ by at most 5 % of the pixel spacing. A missing unit
        agrees with any unit.

        Args:
            other: Another axis.
        """
        if self.values.shape != other.values.shape:
            return False
        if self.unit and other.unit and self.unit != other.unit:
            return False
        steps = np.abs(np.diff(self.values))
        step = float(steps.min()) if len(steps) else float(np.abs(self.values).max())
        return bool(np.abs(self.values - other.values).max() <= _TOLERANCE * step)

    def check(self, groups: GroupedData, source: str, owner: str) -> None:
        """Raise an error if groups have a different axis.

        Groups without an axis are accepted with a warning of the logger
        `"symae_keras"`.

        Args:
            groups: The groups.
            source: Name of the groups in messages, such as a file name.
            owner: Name of the owner of this axis in messages, such as a run folder.

        Raises:
            InputError: Values, order or unit differ.
        """
        theirs = Axis.of(groups)
        if theirs is None:
            _log.warning(
                "%s has no axis, so its pixels are assumed to be on the axis of %s "
                "(%s).",
                source,
                owner,
                self,
            )
        elif self.equals(theirs.reversed()):
            raise InputError(
                f"{source} has the axis of {owner} in reverse order, {theirs}; reorder "
                f"its pixels to {self}, with {_REMEDY}."
            )
        elif not self.equals(theirs):
            raise InputError(
                f"{source} is on the axis {theirs}, but {owner} was trained on {self}; "
                f"resample the data to that axis, with {_REMEDY}, or train on these "
                "data."
            )

    def write(self, folder: Path) -> None:
        """Write the axis into a folder, as `axis.json`."""
        content = {"label": self.label, "values": self.values.tolist()}
        with written_atomically(folder / AXIS_FILE) as partial:
            partial.write_text(json.dumps(content) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> Self | None:
        """Read the axis of a folder; return `None` if it has no `axis.json`.

        Raises:
            InputError: The file cannot be used.
        """
        path = folder / AXIS_FILE
        if not os.path.lexists(path):
            return None
        # The folder may come from an untrusted source.
        text = read_bounded(path, _MAX_BYTES)
        try:
            content = parse_json(text)
            values = np.asarray(content["values"], "float64")
            label = content["label"]
            steps = np.diff(values)
            if not (
                isinstance(label, str)
                and values.ndim == 1
                and values.size
                and np.isfinite(values).all()
                and ((steps > 0).all() or (steps < 0).all())
            ):
                raise ValueError(
                    "expected a label, and increasing or decreasing values"
                )
        except (InputError, ValueError, KeyError, TypeError) as error:
            reason = " ".join(str(error).split()).rstrip(".")
            raise InputError(f"{path} cannot be read: {reason}.") from None
        return cls(values, label)
