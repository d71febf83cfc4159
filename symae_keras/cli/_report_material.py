"""Input of a report."""

from __future__ import annotations

import dataclasses
import math
from functools import cached_property
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from symae_keras._utils.arrays import swaps_codes
from symae_keras.cli._run_folder import Run
from symae_keras.evaluation.replicates import typical_nuisance

if TYPE_CHECKING:
    from symae_keras.data import GroupedData

#: Columns with names of rows, which are not probed.
NAMES: Final = ("instance", "file")
#: Maximum number of groups for the comparison of replicates.
_REPLICATED: Final = 100


@dataclasses.dataclass(frozen=True)
class Material:
    """Input of a report."""

    run: Run
    name: str
    """Final path of the run folder."""
    metrics: dict[str, Any]
    """The content of metrics.json, or new measurements."""
    environment: dict[str, Any]
    train: GroupedData | None
    """Training groups, or a sample of them."""
    groups: GroupedData | None
    """Groups for the evaluation, `None` if the data are not available."""
    trained_on: bool
    """True if the groups for the evaluation are training groups."""
    state: tuple[str, ...]
    """Columns that describe the state, as specified by the user."""

    @property
    def swaps(self) -> bool:
        """True for models of groups, which swap codes."""
        return swaps_codes(self.run.model)

    @property
    def source(self) -> str:
        """The name of the data, without its path, because reports are shared."""
        file = self.run.config["data"]["file"]
        return "those of the recipe" if file is None else PurePath(file).name

    @property
    def part(self) -> str:
        """Description of the groups for the evaluation."""
        if self.trained_on:
            return "training groups"
        part = self.metrics.get("data")
        return "held-out groups" if part == "held-out part" else f"groups of {part}"

    def number(self, name: str) -> float | None:
        """Return a metric, `None` if it is not a finite number."""
        return finite(self.metrics.get(name))

    @cached_property
    def replicated(self) -> GroupedData | None:
        """Up to `GROUPS` groups of several instances; `None` if fewer than two."""
        if self.groups is None or not self.swaps:
            return None
        several = np.flatnonzero(self.groups.counts > 1)[:_REPLICATED]
        return self.groups[several] if len(several) > 1 else None

    @cached_property
    def typical(self) -> tuple[Any, int, int]:
        """The common nuisance code of `replicated`, its group and its instance."""
        assert self.replicated is not None
        return typical_nuisance(self.run.model, self.replicated)


def finite(value: object) -> float | None:
    """Return a number from a file that may come from an unknown author."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) else None


def percent(share: float | None) -> str:
    """Return a share in percent, a dash if it is unknown."""
    if share is None:
        return "\N{EN DASH}"
    return f"{100.0 * share:.{0 if share >= 0.1 else 1}f} %"


def duration(seconds: float) -> str:
    """Return a duration in words, rounded."""
    if seconds < 90.0:
        return f"{seconds:.0f} s"
    minutes = seconds / 60.0
    return f"{minutes:.0f} min" if minutes < 90.0 else f"{minutes / 60.0:.1f} h"
