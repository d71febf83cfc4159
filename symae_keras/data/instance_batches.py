"""From groups to a `tf.data.Dataset` of single instances."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from symae_keras.data.batches import Source
from symae_keras.data.check import refuse_rounding
from symae_keras.data.epochs import blanked, epochs
from symae_keras.errors import InputError

if TYPE_CHECKING:
    import tensorflow as tf


def instance_batches(
    groups: Source,
    batch_size: int = 128,
    per_group: int | None = None,
    seed: int = 0,
    shuffle: bool = True,
    first_epoch: int | Iterator[int] = 0,
) -> tf.data.Dataset:
    """Batch single instances, for models that know no groups.

    Args:
        groups: `GroupedData`, `Shards` or `RaggedRows`.
        batch_size: Instances in a batch; the last one of an epoch may be smaller.
        per_group: Instances drawn from each group in an epoch, so that each object
            counts alike however often it was measured; a smaller group gives some of
            its instances again. 1 with `shuffle=False` judges by one instance of each.
            Defaults to `None`, every instance once.
        seed: Seed of all draws, which depend on nothing else.
        shuffle: Whether instances come in a new order in every epoch.
        first_epoch: Number of the first epoch, to go on where a run stopped; or what
            gives the number of each iteration.

    Returns:
        `tf.data.Dataset` of known cardinality that yields `(inputs, targets)`, or
        `(inputs, targets, weights)`, as `batches` does, `x (batch, *instance_shape)`;
        inputs are `{"instances": x, "mask": m}` where pixels are masked. Its attribute
        `batch_at(epoch, step)` gives any batch by itself, in NumPy arrays.

    Raises:
        InputError: There are no instances, a number is below 1, or float32 would round
            off the differences between values.

    Example:
    >>> from symae_keras.data import simulate_exposures
    >>> stars = simulate_exposures(n_states=10, n_instances=5)
    >>> [len(x) for x, _ in instance_batches(stars, batch_size=32)]
    [32, 18]
    >>> [len(x) for x, _ in instance_batches(stars, batch_size=32, per_group=1)]
    [10]
    """
    refuse_rounding(groups)
    present = groups.present
    counts = present.sum(axis=1)
    if batch_size < 1 or (per_group is not None and per_group < 1):
        raise InputError(
            f"batch_size and per_group must be at least 1; received {batch_size} and "
            f"{per_group}."
        )
    total = int(counts.sum() if per_group is None else (counts > 0).sum() * per_group)
    if total == 0:
        raise InputError("There must be at least one instance; received none.")
    mean_weight, pixels = groups.mean_weight, groups.masks == 2

    def order(epoch: int) -> Any:
        """Group and place of every instance of an epoch."""
        rng = np.random.default_rng([seed, epoch])
        if per_group is None:
            rows = np.argwhere(present)
        else:
            # Keys of absent instances lie above all others; sorted, the places of the
            # first ones are a draw without replacement.
            keys = rng.random(present.shape) + ~present
            places = np.argsort(keys, axis=1)
            turn = np.arange(per_group) % np.maximum(counts, 1)[:, None]
            drawn = np.take_along_axis(places, turn, axis=1)
            group = np.flatnonzero(counts > 0)
            rows = np.stack(
                [np.repeat(group, per_group), drawn[group].reshape(-1)], axis=1
            )
        return rng.permutation(rows) if shuffle else rows

    kept: tuple[int, Any] | None = None

    def make(epoch: int, step: int) -> list[Any]:
        nonlocal kept
        # Read once: threads of two iterators may be in different epochs.
        found = kept
        if found is None or found[0] != epoch:
            found = kept = epoch, order(epoch)
        rows = found[1][step * batch_size : (step + 1) * batch_size]
        x, good, weights = groups.gather(rows[:, 0], rows[:, 1:])
        if not pixels:
            return [x[:, 0]]
        weights = None if weights is None else weights[:, 0]
        return blanked(x[:, 0], good[:, 0], weights, mean_weight)

    shape = (None, *groups.instance_shape)
    shapes = [shape] * (1 + pixels + (mean_weight is not None))
    return epochs(make, -(-total // batch_size), shapes, first_epoch)
