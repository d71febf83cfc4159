"""The look at data before any model sees them."""

from __future__ import annotations

import dataclasses

import numpy as np

from symae_keras.data.groups import Array, GroupedData
from symae_keras.errors import InputError


def check(
    groups: GroupedData, min_instances: int = 1, source: str = "the data"
) -> GroupedData:
    """Refuse data that no model could be trained on, and make the rest ready for one.

    Args:
        groups: The data. What stands behind the mask may be anything, NaN included.
        min_instances: Present instances that every group must have.
        source: What to call the data in an error, a file name for example.

    Returns:
        The same groups in float32, with zeros behind the mask.

    Raises:
        InputError: There are no groups, a group has too few present instances, a
            present value is NaN, infinite or beyond the range of float32, or all
            present values are equal.

    Example:
    >>> groups = check(GroupedData(np.random.default_rng(0).normal(size=(3, 5, 64))))
    >>> groups.x.dtype
    dtype('float32')
    >>> check(groups, min_instances=8, source="my.npz")
    Traceback (most recent call last):
    ...
    symae_keras.errors.InputError: my.npz: 3 of 3 groups have fewer than 8 present \
instances; the first is group 0 with 5.
    """
    x, present = groups.x, groups.present
    if x.size == 0:
        raise InputError(f"{source}: x is empty, shape {x.shape}.")
    counts = present.sum(axis=1)
    few = np.flatnonzero(counts < min_instances)
    if len(few):
        raise InputError(
            f"{source}: {len(few)} of {len(groups)} groups have fewer than "
            f"{min_instances} present instances; the first is group {few[0]} with "
            f"{counts[few[0]]}."
        )
    _refuse_non_finite(x, present, f"{source}: %s NaN or infinite; correct or mask")
    if x.dtype != np.float32:
        # Overflow is reported below, with its place.
        with np.errstate(over="ignore"):
            x = x.astype("float32")
        _refuse_non_finite(x, present, f"{source}: %s too large for float32; rescale")
    there = groups.present_pixels
    low = x.min(where=there, initial=np.inf)
    if low == x.max(where=there, initial=-np.inf):
        raise InputError(
            f"{source}: all present values are {low:g}, so there is nothing to learn."
        )
    if not present.all():
        x = np.where(there, x, np.float32(0))
    return dataclasses.replace(groups, x=x)


def _refuse_non_finite(x: Array, present: Array, sentence: str) -> None:
    pixels = tuple(range(2, x.ndim))
    bad = present & ~np.isfinite(x).all(axis=pixels)
    if bad.any():
        group, instance = np.argwhere(bad)[0].tolist()
        count = int((~np.isfinite(x[bad])).sum())
        place = np.argwhere(~np.isfinite(x[group, instance]))[0].tolist()
        pixel = place[0] if len(place) == 1 else tuple(place)
        found = f"{count} values are" if count > 1 else "1 value is"
        raise InputError(
            f"{sentence % found} them; the first is at group {group}, instance "
            f"{instance}, pixel {pixel}."
        )
