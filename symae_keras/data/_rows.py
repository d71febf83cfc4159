"""Rows sorted by their groups, before padding."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from symae_keras.data._arrays import Array


class SortedRows(NamedTuple):
    """Rows sorted so that those of each group are consecutive."""

    order: Array
    """Index of each row, `(rows,)`; rows of a group keep their order."""
    counts: Array
    """Rows of each group, `(groups,)`."""
    ids: Array
    """Name of each group, sorted."""
    group_metadata: dict[str, Array]
    """Metadata that are the same in all rows of each group, except instance names."""
    metadata: dict[str, Array]
    """The other metadata, one entry per row."""

    @property
    def mask(self) -> Array:
        """Mask of the padded groups, True = present; `(groups, instances)`."""
        mask: Array = np.arange(self.counts.max(initial=0)) < self.counts[:, None]
        return mask

    def padded(self, rows: Array) -> Array:
        """Return rows as `(groups, instances, ...)`, padded with zeros."""
        return pad_rows(rows[self.order], self.mask)

    def padded_metadata(self) -> dict[str, Array]:
        """Return `metadata` as arrays `(groups, instances, ...)`."""
        return {k: pad_rows(values, self.mask) for k, values in self.metadata.items()}


def sort_rows(ids: Array, metadata: Mapping[str, Array]) -> SortedRows:
    """Sort rows by their group.

    Args:
        ids: The group of each row, `(rows,)`.
        metadata: Metadata of each row, arrays `(rows, ...)`.
    """
    names, which = np.unique(ids, return_inverse=True)
    order = np.argsort(which, kind="stable")
    counts = np.bincount(which)
    known = {k: np.asarray(v)[order] for k, v in metadata.items()}
    first = np.cumsum(counts) - counts
    shared = {
        key: values[first]
        for key, values in known.items()
        if key != "instance" and _same(values, np.repeat(values[first], counts, axis=0))
    }
    own = {k: v for k, v in known.items() if k not in shared}
    return SortedRows(order, counts, names, shared, own)


def pad_rows(values: Array, mask: Array) -> Array:
    """Return sorted rows as `(groups, instances, ...)`, zeros where `mask` is False."""
    full = np.zeros((*mask.shape, *values.shape[1:]), values.dtype)
    full[mask] = values
    return full


def _same(values: Array, others: Array) -> bool:
    """Return whether values are equal; NaN counts as equal to NaN."""
    same = values == others
    if values.dtype.kind == "f":
        same |= np.isnan(values) & np.isnan(others)
    return bool(same.all())
