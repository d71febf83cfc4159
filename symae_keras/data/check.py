"""The look at data before any model sees them."""

from __future__ import annotations

import dataclasses
import logging

import numpy as np

from symae_keras.data.groups import Array, GroupedData
from symae_keras.errors import InputError

_log = logging.getLogger("symae_keras")


def check(
    groups: GroupedData, min_instances: int = 1, source: str = "the data"
) -> GroupedData:
    """Refuse data that no model could be trained on, and make the rest ready for one.

    Args:
        groups: The data. What stands behind a mask may be anything, NaN included.
        min_instances: Present instances that every group must have.
        source: What to call the data in an error, a file name for example.

    Returns:
        The same groups in float32, with zeros behind the masks. Instances without a
        good pixel are marked as absent.

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
    groups = clean(groups, source)
    counts = groups.present.sum(axis=1)
    few = np.flatnonzero(counts < min_instances)
    if len(few):
        raise InputError(
            f"{source}: {len(few)} of {len(groups)} groups have fewer than "
            f"{min_instances} present instances; the first is group {few[0]} with "
            f"{counts[few[0]]}."
        )
    good = groups.good_pixels
    low = groups.x.min(where=good, initial=np.inf)
    if low == groups.x.max(where=good, initial=-np.inf):
        raise InputError(
            f"{source}: all present values are {low:g}, so there is nothing to learn."
        )
    return groups


def clean(groups: GroupedData, source: str = "the data") -> GroupedData:
    """Refuse values that cannot be computed with; see `check`, which asks for more.

    Args:
        groups: The data.
        source: What to call them in an error.

    Returns:
        The same groups in float32, with zeros behind the masks.

    Raises:
        InputError: There are none, or a present value is NaN, infinite or beyond the
            range of float32.
    """
    if groups.x.size == 0:
        raise InputError(f"{source}: x is empty, shape {groups.x.shape}.")
    groups = _without_blank_instances(groups, source)
    x, good = groups.x, groups.good_pixels
    _refuse_non_finite(x, good, f"{source}: %s NaN or infinite; correct or mask")
    if x.dtype != np.float32:
        # Overflow is reported below, with its place.
        with np.errstate(over="ignore"):
            x = x.astype("float32")
        _refuse_non_finite(x, good, f"{source}: %s too large for float32; rescale")
    if not good.all():
        x = np.where(good, x, np.float32(0))
    return dataclasses.replace(groups, x=x)


def _without_blank_instances(groups: GroupedData, source: str) -> GroupedData:
    """Count an instance without a good pixel as absent, and say so."""
    if groups.masks < 2:
        return groups
    pixels = tuple(range(2, groups.x.ndim))
    there = np.asarray(groups.good_pixels.any(axis=pixels))
    blank = int(groups.present.sum() - there.sum())
    if not blank:
        return groups
    _log.warning(
        "%s: %d instances have no good pixel; they count as absent.", source, blank
    )
    return dataclasses.replace(groups, mask=there)


def _refuse_non_finite(x: Array, good: Array, sentence: str) -> None:
    bad = good & ~np.isfinite(x)
    if bad.any():
        group, instance, *place = np.argwhere(bad)[0].tolist()
        count = int(bad.sum())
        pixel = place[0] if len(place) == 1 else tuple(place)
        found = f"{count} values are" if count > 1 else "1 value is"
        raise InputError(
            f"{sentence % found} them; the first is at group {group}, instance "
            f"{instance}, pixel {pixel}."
        )
