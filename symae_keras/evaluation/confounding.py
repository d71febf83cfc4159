"""Metadata that differ between groups: the case in which the estimate is too low."""

from __future__ import annotations

import logging
import weakref
from typing import Final

import numpy as np

from symae_keras.data.groups import Array, GroupedData

_log = logging.getLogger("symae_keras")

#: Minimum share of the variance of metadata between groups that is reported.
_MIN_SHARE: Final = 0.2
_SHUFFLES: Final = 199
_MOST_NAMES: Final = 20

#: Groups that were already checked; callbacks estimate once per epoch.
_looked_at: weakref.WeakSet[GroupedData] = weakref.WeakSet()


def warn_of_confounding(groups: GroupedData) -> None:
    """Log a warning about metadata that differ between groups, once per data set."""
    if groups in _looked_at:
        return
    _looked_at.add(groups)
    confounded = confounded_metadata(groups)
    if confounded:
        _log.warning(
            "%s: differs between groups more than within them. If the instances depend "
            "on it, its effect cannot be separated from the state, and the estimate of "
            "the redatuming error is too low.",
            ", ".join(confounded),
        )


def confounded_metadata(groups: GroupedData) -> dict[str, float]:
    """Find instance metadata that differ between groups more than expected by chance.

    If each star is observed in one night, all its instances share the nuisances of that
    night. No method can separate these from the star, and `estimate_redatuming_error`
    is too low. Metadata such as the night should vary within groups as much as between
    groups.

    Args:
        groups: Groups with `instance_metadata`, numbers or text.

    Returns:
        The share of variance between groups, for each column in which it is at least
        0.2 and larger than in 199 random permutations. The variance of text is that of
        its indicator variables.

    Example:
    >>> night = np.repeat([["mon"], ["tue"], ["wed"], ["thu"]], 6, axis=1)
    >>> groups = GroupedData(np.zeros((4, 6, 3)), instance_metadata={"night": night})
    >>> confounded_metadata(groups)
    {'night': 1.0}
    """
    rng = np.random.default_rng(0)
    found = {}
    for name, values in groups.instance_metadata.items():
        if values.ndim != 2:
            continue
        known = groups.present.copy()
        if values.dtype.kind == "f":
            known &= np.isfinite(values)
        rows, of_group = values[known], np.nonzero(known)[0]
        columns = _indicators(rows)
        if columns is None:
            continue
        share = share_between(columns, of_group)
        if share < _MIN_SHARE:
            continue
        chance = [
            share_between(columns[rng.permutation(len(columns))], of_group)
            for _ in range(_SHUFFLES)
        ]
        if share > max(chance):
            found[name] = round(share, 3)
    return found


def _indicators(values: Array) -> Array | None:
    """Return numbers as one column, or an indicator column per frequent name."""
    if values.dtype.kind in "iufb":
        columns = values.astype(float)[:, None]
    else:
        _, number, counts = np.unique(
            values.astype(str), return_inverse=True, return_counts=True
        )
        often = np.argsort(counts)[::-1][:_MOST_NAMES]
        columns = (number.reshape(-1, 1) == often).astype(float)
    return columns if len(columns) > 1 and columns.var(axis=0).any() else None


def share_between(columns: Array, of_group: Array) -> float:
    """Return the unbiased share of variance between groups (one-way ANOVA)."""
    counts = np.bincount(of_group)
    there = counts[counts > 0]
    total = ((columns - columns.mean(axis=0)) ** 2).sum()
    sums = np.stack([np.bincount(of_group, each) for each in columns.T], axis=1)
    means = sums[counts > 0] / there[:, None]
    within = total - (there[:, None] * (means - columns.mean(axis=0)) ** 2).sum()
    free = len(columns) - len(there)
    if free < 1 or len(there) < 2:
        return 0.0
    share = 1.0 - (within / free) / (total / (len(columns) - 1))
    return float(np.clip(share, 0.0, 1.0))
