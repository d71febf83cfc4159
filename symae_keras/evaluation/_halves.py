"""Random halves of groups, and crossed designs."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from symae_keras.data.groups import Array, GroupedData

#: Above this share of the variance within groups, the design counts as crossed.
_CROSSED: Final = 0.5


def in_random_order(
    groups: GroupedData, rng: np.random.Generator, same: bool = False
) -> Array:
    """Return positions of instances, `(groups, instances)`, the present ones first.

    Args:
        groups: The groups.
        rng: Random generator for the order.
        same: Whether the order of positions is the same in all groups. Defaults to
            `False`.
    """
    present = groups.present
    drawn = rng.random(present.shape[1] if same else present.shape)
    return np.argsort(drawn + ~present, axis=1)


def repeated_part(
    groups: GroupedData, order: Array, start: Any, size: Array
) -> tuple[Array, Array | None]:
    """Return a part of each group, repeated to the size of the group, and its mask.

    Repetition preserves the mean over instances and their number. Sum pooling and
    posteriors depend on both.

    Args:
        groups: The groups.
        order: Positions of instances, see `in_random_order`.
        start: First position in `order` of each part: one for all groups, or
            `(groups,)`.
        size: Size of each part, `(groups,)`.
    """
    slots = np.arange(order.shape[1])
    chosen = np.reshape(start, (-1, 1)) + slots % size[:, None]
    place = np.take_along_axis(order, chosen, axis=1)
    x, good, _ = groups.gather(np.arange(len(order)), place)
    if not groups.masks:
        return x, None
    there = slots < groups.counts[:, None]
    good = good & there.reshape(*there.shape, *(1,) * (x.ndim - 2))
    return x, np.asarray(good if groups.masks == 2 else there)


def sum_of_squared_shares(counts: Array, size: Array) -> Array:
    """Return the summed squared weights of `size` instances repeated to `counts`."""
    times, more = np.divmod(counts, size)
    squares = more * (times + 1) ** 2 + (size - more) * times**2
    return np.asarray(squares / counts**2)


def is_crossed(groups: GroupedData) -> bool:
    """Return whether the position of an instance explains most of the variance.

    This holds in a crossed design, where instance `t` of every group was measured by
    instrument `t`.
    """
    good = np.broadcast_to(groups.good_pixels, groups.x.shape)
    counts = good.sum(axis=1, keepdims=True).clip(1)
    x = np.where(good, groups.x, 0.0)
    centred = np.where(good, x - x.sum(axis=1, keepdims=True) / counts, 0.0)
    at_place = good.sum(axis=0)
    mean = centred.sum(axis=0) / at_place.clip(1)
    within = (centred**2).sum()
    return bool((at_place * mean**2).sum() > _CROSSED * within > 0.0)
