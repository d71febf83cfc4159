"""Batches of groups and of instances for `fit`."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from symae_keras.data._arrays import Array
from symae_keras.data.check import refuse_rounding
from symae_keras.data.groups import GroupedData
from symae_keras.data.ragged import RaggedGroups
from symae_keras.data.sampling import Draw, Sampler, blanked, epochs
from symae_keras.errors import InputError

if TYPE_CHECKING:
    import tensorflow as tf


def batches(
    groups: GroupedData | RaggedGroups,
    batch_size: int = 16,
    instances: int | tuple[int, int] | None = 8,
    seed: int = 0,
    shuffle: bool = True,
    balance: str | npt.ArrayLike | None = None,
    shard: tuple[int, int] = (0, 1),
    first_epoch: int | Iterator[int] = 0,
    passes: int = 1,
) -> tf.data.Dataset:
    """Return batches of groups for training, with newly drawn instances in every epoch.

    Every iteration over the dataset is one epoch. It visits each group once and draws
    `instances` of its instances at random without replacement, so that all groups have
    the same weight, whether they are small or large. A group with fewer present
    instances contributes all of them, followed by masked padding. Masked values are
    zeros.

    Draws depend only on seed, epoch and step: the same arguments always give the same
    batches.

    Args:
        groups: `GroupedData`, `Shards` or `RaggedRows`.
        batch_size: Groups per batch; the last batch of an epoch may be smaller.
        instances: Instances drawn from each group; 2 makes pairs. A pair
            `(least, most)` draws a new number for each batch. `None` takes all
            instances, in order, and pads each batch to the size of the largest group.
        seed: Seed for the order of the groups and the draw of the instances.
        shuffle: Whether to shuffle the groups in every epoch.
        balance: The class of each group: a key of its state or metadata, or an array
            `(groups,)`. An epoch then has the same number of groups of each class, so
            that groups of rare classes appear more than once. Defaults to `None`: each
            group appears once.
        shard: Number of this worker, and number of workers. Each worker gets its part
            of every batch; together, the parts are the batch of a single worker.
        first_epoch: Number of the first epoch, to resume an interrupted run; or an
            iterator that gives the epoch number of each iteration.
        passes: Passes over the groups in one epoch. Small data sets train faster in few
            long epochs, because each epoch has a fixed overhead. Defaults to 1.

    Returns:
        `tf.data.Dataset` of known cardinality that yields `(inputs, targets)`, or
        `(inputs, targets, weights)` if pixels have weights. Targets are
        `x (batch, instances, *instance_shape)` float32. Inputs are the same `x` if
        nothing is masked, otherwise `{"instances": x, "mask": m}`, where `m` is boolean
        and has the shape `(batch, instances)`, or the shape of `x` if pixels are
        masked. Weights have the shape of `x` and are divided by their mean over the
        good pixels of all groups, so that the scale of the loss does not change. The
        attribute `batch_at(epoch, step)` of the dataset returns a single batch as NumPy
        arrays.

    Raises:
        InputError: There are no groups, a number is out of range, or float32 would
            round off the differences between values.

    Example:
    >>> from symae_keras.data import GroupedData
    >>> groups = GroupedData(np.zeros((40, 12, 64), "float32"))
    >>> train = batches(groups, batch_size=16, instances=8)
    >>> [targets.shape[0] for inputs, targets in train]
    [16, 16, 8]
    """
    refuse_rounding(groups)
    classes = None if balance is None else groups.classes(balance)
    sampler = Sampler(groups.present, batch_size, instances, seed, shuffle, classes)
    index, count = shard
    if not 0 <= index < count:
        raise InputError(
            "shard must be the number of a worker, counted from 0, and the number of "
            f"workers; received {(index, count)}."
        )
    last = len(sampler.present) - (len(sampler) - 1) * sampler.batch_size
    if count > last:
        raise InputError(
            f"The last batch of an epoch has {last} groups, too few for {count} "
            "workers; change batch_size."
        )
    masks, mean_weight = groups.masks, groups.mean_weight

    def make(epoch: int, step: int) -> list[Array]:
        whole = sampler.draw(epoch, step)
        draw = Draw(*(np.array_split(each, count)[index] for each in whole))
        x, good, weights = groups.gather(draw.group, draw.place)
        if masks == 0:
            return [x]
        mask = draw.present if masks == 1 else None
        return blanked(x, good, weights, mean_weight, mask)

    least, most = sampler.bounds or (groups.present.shape[1],) * 2
    pixels = (None, least if least == most else None, *groups.instance_shape)
    shapes = [pixels, pixels[:2] if masks == 1 else pixels, pixels]
    arrays = 1 + (masks > 0) + (mean_weight is not None)
    return epochs(make, len(sampler), shapes[:arrays], first_epoch, passes)


def instance_batches(
    groups: GroupedData | RaggedGroups,
    batch_size: int = 128,
    per_group: int | None = None,
    seed: int = 0,
    shuffle: bool = True,
    first_epoch: int | Iterator[int] = 0,
    passes: int = 1,
) -> tf.data.Dataset:
    """Return batches of single instances, for models without groups.

    Args:
        groups: `GroupedData`, `Shards` or `RaggedRows`.
        batch_size: Instances per batch; the last batch of an epoch may be smaller.
        per_group: Instances drawn from each group in an epoch, so that all objects have
            the same weight, even if some were measured more often. Smaller groups
            repeat some of their instances. With 1 and `shuffle=False`, an evaluation
            uses one instance of each group. Defaults to `None`: every instance appears
            once.
        seed: Seed of all draws.
        shuffle: Whether to shuffle the instances in every epoch.
        first_epoch: Number of the first epoch, to resume an interrupted run; or an
            iterator that gives the epoch number of each iteration.
        passes: Passes over the groups in one epoch. Small data sets train faster in few
            long epochs, because each epoch has a fixed overhead. Defaults to 1.

    Returns:
        `tf.data.Dataset` of known cardinality that yields `(inputs, targets)`, or
        `(inputs, targets, weights)`, as in `batches`, with `x (batch,
        *instance_shape)`. Inputs are `{"instances": x, "mask": m}` if pixels are
        masked. The attribute `batch_at(epoch, step)` of the dataset returns a single
        batch as NumPy arrays.

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

    @functools.lru_cache(1)
    def order(epoch: int) -> Array:
        """Return the group and place of every instance of an epoch."""
        rng = np.random.default_rng([seed, epoch])
        if per_group is None:
            rows = np.argwhere(present)
        else:
            # Random keys of absent instances are above all others, so the places of the
            # smallest keys are a draw without replacement.
            keys = rng.random(present.shape) + ~present
            places = np.argsort(keys, axis=1)
            turn = np.arange(per_group) % np.maximum(counts, 1)[:, None]
            drawn = np.take_along_axis(places, turn, axis=1)
            group = np.flatnonzero(counts > 0)
            rows = np.stack(
                [np.repeat(group, per_group), drawn[group].reshape(-1)], axis=1
            )
        return rng.permutation(rows) if shuffle else rows

    def make(epoch: int, step: int) -> list[Array]:
        rows = order(epoch)[step * batch_size : (step + 1) * batch_size]
        x, good, weights = groups.gather(rows[:, 0], rows[:, 1:])
        if not pixels:
            return [x[:, 0]]
        weights = None if weights is None else weights[:, 0]
        return blanked(x[:, 0], good[:, 0], weights, mean_weight)

    shape = (None, *groups.instance_shape)
    shapes = [shape] * (1 + pixels + (mean_weight is not None))
    return epochs(make, -(-total // batch_size), shapes, first_epoch, passes)
