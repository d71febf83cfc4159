"""Random halves of groups, repeated to the size of the groups."""

from __future__ import annotations

from typing import Any

import numpy as np

from symae_keras.data.groups import Array, GroupedData


def in_random_order(groups: GroupedData, rng: np.random.Generator) -> Array:
    """Return places of instances, `(groups, instances)`: the present ones first."""
    present = groups.present
    return np.argsort(rng.random(present.shape) + ~present, axis=1)


def repeated_part(
    groups: GroupedData, order: Array, start: Any, size: Array
) -> tuple[Array, Array | None]:
    """Return a part of each group, repeated to the size of the group, and its mask.

    Repetition keeps the mean over instances and their number, on which sum pooling and
    posteriors depend.

    Args:
        groups: The groups.
        order: Places of instances, see `in_random_order`.
        start: First place in `order` of each part, one for all or `(groups,)`.
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
