"""Summary statistics of grouped data."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from symae_keras.data._arrays import Array
from symae_keras.data.split import KnownGroups

# A variance between groups or instances below this share of the total counts as zero.
_NIL = 1e-4
# A smaller share of the variance between groups is reported.
_SMALL = 0.1
# Numbers that are used; more would not change the variances.
_NUMBERS = 20_000_000
_KNOWN = ("state", "nuisance", "group_metadata", "instance_metadata")


@dataclasses.dataclass(frozen=True)
class Description:
    """Result of `GroupedData.describe`.

    Variances are computed from good pixels and averaged over pixels. For large data,
    only evenly spaced groups are used.

    Attributes:
        n_groups: Number of groups.
        n_states: Number of states; groups with the same id have the same state.
        instance_shape: Shape of one instance.
        smallest: Present instances of the smallest group.
        median: Median number of present instances over groups.
        largest: Present instances of the largest group.
        n_present: Total number of present instances.
        n_missing: Padded instances; 0 if groups are stored without padding.
        missing_pixels: Fraction of the pixels of present instances that are masked.
        known: Names of the true parameters and of the metadata.
        axis: Range and name of the axis, empty if there is none.
        variance_between: Variance of the states: the variance of group means minus the
            variance that such means have by chance.
        variance_within: Variance of instances around the mean of their group.
        warnings: Problems for a grouped autoencoder, as sentences.
    """

    n_groups: int
    n_states: int
    instance_shape: tuple[int, ...]
    smallest: int
    median: float
    largest: int
    n_present: int
    n_missing: int
    missing_pixels: float
    known: tuple[str, ...]
    axis: str
    variance_between: float
    variance_within: float
    warnings: tuple[str, ...]

    def __str__(self) -> str:
        sizes = f"{self.largest} instances"
        if self.smallest != self.largest:
            sizes = (
                f"{self.smallest} to {self.largest} (median {self.median:g}) instances"
            )
        states = "" if self.n_states == self.n_groups else f" ({self.n_states} states)"
        known = f"known: {', '.join(self.known)}" if self.known else "no state known"
        axis = f"; axis: {self.axis}" if self.axis else ""
        missing = 100.0 * self.missing_pixels
        share = f"{missing:.1g}" if 0.0 < missing < 0.05 else f"{missing:.1f}"
        total = self.variance_between + self.variance_within
        lines = [
            f"{self.n_groups} groups{states} of {sizes} of shape "
            f"{self.instance_shape}, {self.n_present} instances in all, {known}",
            f"missing: {share} % of pixels{axis}",
            f"variance between groups {self.variance_between:.2g}, within groups "
            f"{self.variance_within:.2g} (of {total:#.2g})",
            *(f"warning: {each}" for each in self.warnings),
        ]
        return "\n".join(lines)


def describe(groups: KnownGroups, sample: KnownGroups | None = None) -> Description:
    """Compute sizes, missing values, and variances between and within groups.

    Args:
        groups: The data; `GroupedData` unless there is a sample.
        sample: `GroupedData` to use if the data are not padded; `None` takes evenly
            spaced groups of the data.
    """
    counts, ids, n_present = groups.counts, groups.ids, int(groups.counts.sum())
    part: Any = sample
    if part is None:
        every: Any = groups
        part = every[:: max(1, every.x.size // _NUMBERS)]
    between, within, chance = _variances(part)
    missing = 0.0
    if part.masks == 2:
        good = part.good_pixels.sum() / np.prod(part.instance_shape)
        missing = float(1.0 - good / max(part.present.sum(), 1))
    return Description(
        n_groups=len(groups),
        n_states=len(groups) if ids is None else len(np.unique(np.asarray(ids))),
        instance_shape=groups.instance_shape,
        smallest=int(counts.min(initial=groups.n_instances)),
        median=float(np.median(counts)) if len(counts) else 0.0,
        largest=int(counts.max(initial=0)),
        n_present=n_present,
        n_missing=len(groups) * groups.n_instances - n_present if sample is None else 0,
        missing_pixels=missing,
        known=tuple(key for name in _KNOWN for key in getattr(part, name)),
        axis=_range(part),
        variance_between=max(between - chance, 0.0),
        variance_within=within,
        warnings=_warnings(groups, between, within, chance),
    )


def summary(groups: Any) -> str:
    """Describe `GroupedData` in one short paragraph, for `repr`; compute nothing."""
    parts = [
        f"{len(groups)} groups of {sizes(groups.counts, groups.n_instances)} of "
        f"shape {groups.instance_shape}, {groups.x.dtype}"
    ]
    for name in ("mask", "pixel_mask", "weights", "ids"):
        if getattr(groups, name) is not None:
            parts.append(name)
    for name in _KNOWN:
        if keys := list(getattr(groups, name)):
            more = f" and {len(keys) - 8} more" if len(keys) > 8 else ""
            parts.append(f"{name} {', '.join(map(_short, keys[:8]))}{more}")
    if groups.axis is not None and len(groups.axis):
        first, last = groups.axis[0], groups.axis[-1]
        parts.append(f"axis {_short(groups.axis_label)} from {first} to {last}")
    if groups.render is not None:
        parts.append("exact virtual instances")
    return f"GroupedData({'; '.join(parts)})"


def _range(groups: Any) -> str:
    """Return the range and the name of the axis, empty if there is none."""
    if groups.axis is None or not len(groups.axis):
        return ""
    text = f"{groups.axis[0]:g} to {groups.axis[-1]:g}"
    # The label of tables contains no information.
    return (
        text if groups.axis_label == "axis" else f"{text}, {_short(groups.axis_label)}"
    )


def sizes(counts: Array, largest: int) -> str:
    """Return the sizes of groups as text: "4 instances", or "2 to 4 instances"."""
    least = int(counts.min(initial=largest))
    most = int(counts.max()) if len(counts) else largest
    if least != most:
        return f"{least} to {most} instances"
    return f"{most} instance{'s' * (most != 1)}"


def _short(name: str) -> str:
    return name if len(name) <= 24 else f"{name[:23]}…"


def _variances(groups: Any) -> tuple[float, float, float]:
    """Return variances between and within groups, and that between means by chance."""
    good = np.broadcast_to(groups.good_pixels, groups.x.shape)
    x = np.where(good, groups.x, 0.0).astype("float64")
    # Equal instances then have the variance 0 instead of a rounding error.
    x = np.where(good, x - x.max(axis=(0, 1), where=good, initial=-np.inf), 0.0)
    n = good.sum(axis=1)
    means = x.sum(axis=1) / np.maximum(n, 1)
    there = n > 0
    counted = np.maximum(there.sum(axis=0), 1)
    centre = np.where(there, means, 0.0).sum(axis=0) / counted
    squares: Array = np.where(there, (means - centre) ** 2, 0.0)
    residuals = np.where(good, (x - means[:, None]) ** 2, 0.0).sum(axis=1)
    freedom = np.maximum(np.maximum(n - 1, 0).sum(axis=0), 1)
    variance_within = residuals.sum(axis=0) / freedom
    # Group means vary by this much by chance, even if groups share no state.
    shares = np.where(there, 1 / np.maximum(n, 1), 0.0).sum(axis=0) / counted
    freedom_between = np.maximum(there.sum(axis=0) - 1, 1)
    between = squares.sum(axis=0) / freedom_between
    seen = there.any(axis=0)
    if not seen.any():
        return 0.0, 0.0, 0.0
    return (
        float(between[seen].mean()),
        float(variance_within[seen].mean()),
        float((variance_within * shares)[seen].mean()),
    )


def _warnings(
    groups: KnownGroups, between: float, within: float, chance: float
) -> tuple[str, ...]:
    found = []
    alone = np.flatnonzero(groups.counts < 2)
    if len(alone):
        have = "group has" if len(alone) == 1 else "groups have"
        found.append(
            f"{len(alone)} {have} fewer than 2 instances, so a model cannot learn "
            f"nuisances from them; the first is {groups.called(int(alone[0]))}"
        )
    if between + within == 0.0:
        found.append("all instances are equal")
    elif within < _NIL * (between + within):
        found.append("instances of each group are nearly equal: there is no nuisance")
    elif between < 1.1 * chance:
        found.append("groups differ by no more than chance: is the grouping right?")
    elif (share := (between - chance) / (between - chance + within)) < _SMALL:
        # Shuffled instances have shares of several per cent by chance, because spectra
        # have few independent pixels.
        found.append(
            f"groups explain only {100 * share:.2g} % of the variance: is the grouping "
            "right?"
        )
    return tuple(found)
