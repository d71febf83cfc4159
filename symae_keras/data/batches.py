"""From groups to a `tf.data.Dataset` that draws instances afresh every epoch."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from symae_keras.data.sampler import Draw, Sampler
from symae_keras.errors import InputError

if TYPE_CHECKING:
    import tensorflow as tf

Array = npt.NDArray[Any]


class Source(Protocol):
    """What batches are made of: groups in memory or on disk."""

    @property
    def present(self) -> Array:
        """`(groups, instances)` bool."""

    @property
    def instance_shape(self) -> tuple[int, ...]:
        """Shape of one instance."""

    @property
    def masks(self) -> int:
        """0 where nothing is masked, 1 where instances are, 2 where pixels are."""

    @property
    def mean_weight(self) -> float | None:
        """Mean weight of good pixels, `None` where there are no weights."""

    def gather(self, group: Array, place: Array) -> tuple[Array, Array, Array | None]:
        """Some instances, their good pixels and their weights.

        Args:
            group: `(batch,)`.
            place: `(batch, instances)`.

        Returns:
            `x`, bools that broadcast to it, and weights or `None`.
        """

    def classes(self, key: str | npt.ArrayLike) -> Array:
        """What is known of each group under a name."""


def batches(
    groups: Source,
    batch_size: int = 16,
    instances: int | tuple[int, int] | None = 8,
    seed: int = 0,
    shuffle: bool = True,
    balance: str | npt.ArrayLike | None = None,
    shard: tuple[int, int] = (0, 1),
    first_epoch: int | Iterator[int] = 0,
) -> tf.data.Dataset:
    """Batch groups for training, with new instances of every group in every epoch.

    Every iteration over the dataset is an epoch: it visits each group once and draws
    `instances` of its instances at random without replacement, so that groups count
    alike whatever their size. A group with fewer present instances gives all of them,
    followed by masked padding; what stands behind a mask is emitted as zeros.

    Draws are functions of seed, epoch and step alone: the same arguments always give
    the same batches.

    Args:
        groups: `GroupedData` or `Shards`.
        batch_size: Groups in a batch; the last batch of an epoch may be smaller.
        instances: Instances drawn from each group; a pair `(least, most)` draws their
            number anew for each batch, 2 makes pairs; `None` takes all, in order.
        seed: Seed of the order of the groups and of the draw of the instances.
        shuffle: Whether groups come in a new order in every epoch.
        balance: A class for each group, a key of its state or metadata or an array
            `(groups,)`: an epoch then has as many groups of each class, so that groups
            of rare ones come more than once. Defaults to `None`, each group once.
        shard: This worker's number and how many there are. Each gets its part of every
            batch; together they see what one worker would.
        first_epoch: Number of the first epoch, to go on where a run stopped; or what
            gives the number of each iteration.

    Returns:
        `tf.data.Dataset` of known cardinality that yields `(inputs, targets)`, or
        `(inputs, targets, weights)` where pixels have weights. Targets are
        `x (batch, instances, *instance_shape)` float32. Inputs are the same `x` where
        nothing is masked, else `{"instances": x, "mask": m}` with
        `m (batch, instances)` bool, or of the shape of `x` where pixels are masked.
        Weights are of the shape of `x`, divided by their mean over good pixels of all
        groups, so that losses keep their size. Its attribute `batch_at(epoch, step)`
        gives any batch by itself, in NumPy arrays.

    Raises:
        InputError: There are no groups, or a number is out of range.

    Example:
    >>> from symae_keras.data import GroupedData
    >>> groups = GroupedData(np.zeros((40, 12, 64), "float32"))
    >>> train = batches(groups, batch_size=16, instances=8)
    >>> [targets.shape[0] for inputs, targets in train]
    [16, 16, 8]
    """
    classes = None if balance is None else groups.classes(balance)
    sampler = Sampler(groups.present, batch_size, instances, seed, shuffle, classes)
    _check_shard(sampler, *shard)
    masks, mean_weight = groups.masks, groups.mean_weight

    def make(epoch: Any, step: Any) -> list[Array]:
        draw = _part(sampler.draw(int(epoch), int(step)), *shard)
        x, good, weights = groups.gather(draw.group, draw.place)
        if masks == 0:
            return [x]
        x = np.where(good, x, np.float32(0))
        mask = draw.present if masks == 1 else np.broadcast_to(good, x.shape)
        if mean_weight is None or weights is None:
            return [x, mask]
        return [x, mask, np.where(good, weights, 0) / np.float32(mean_weight)]

    import tensorflow as tf

    least, most = sampler.bounds or (groups.present.shape[1],) * 2
    pixels = (None, least if least == most else None, *groups.instance_shape)
    shapes = [pixels, pixels[:2] if masks == 1 else pixels, pixels]
    given = [tf.float32, tf.bool, tf.float32]
    count = 1 + (masks > 0) + (mean_weight is not None)

    def load(epoch: Any, step: Any) -> Any:
        arrays = tf.numpy_function(make, [epoch, step], given[:count])
        for array, shape in zip(arrays, shapes, strict=False):
            array.set_shape(shape)
        return _batch(arrays)

    numbers = first_epoch
    if isinstance(numbers, int):
        numbers = itertools.count(numbers)
    dataset = numbered_epochs(len(sampler), load, numbers)
    dataset.batch_at = lambda epoch, step: _batch(make(epoch, step))
    return dataset


def _batch(arrays: Sequence[Any]) -> tuple[Any, ...]:
    """Inputs, targets and, if there are any, weights."""
    x, *more = arrays
    inputs = {"instances": x, "mask": more[0]} if more else x
    return (inputs, x, *more[1:])


def numbered_epochs(
    steps: int, load: Callable[[Any, Any], Any], numbers: Iterator[int]
) -> tf.data.Dataset:
    """A dataset each of whose iterations is an epoch with a number of its own.

    Args:
        steps: Batches in an epoch.
        load: Function of the tensors of epoch and step that returns a batch.
        numbers: The numbers of the epochs.
    """
    import tensorflow as tf

    # Every iteration asks for its number, once.
    epoch = tf.data.Dataset.from_generator(
        lambda: iter([next(numbers)]), output_signature=tf.TensorSpec((), tf.int64)
    )
    each_step = tf.data.Dataset.range(steps)
    dataset = (
        epoch.flat_map(lambda number: each_step.map(lambda step: (number, step)))
        .map(load)
        .apply(tf.data.experimental.assert_cardinality(steps))
    )
    # Workers take turns at the batches of one common draw; there are no files to share.
    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = (
        tf.data.experimental.AutoShardPolicy.DATA
    )
    return dataset.prefetch(tf.data.AUTOTUNE).with_options(options)


def _part(draw: Draw, index: int, count: int) -> Draw:
    """A worker's part of a batch."""
    return Draw(*(np.array_split(each, count)[index] for each in draw))


def _check_shard(sampler: Sampler, index: int, count: int) -> None:
    if not 0 <= index < count:
        raise InputError(
            "shard must be the number of a worker, from 0, and how many there are; "
            f"received {(index, count)}."
        )
    last = len(sampler.present) - (len(sampler) - 1) * sampler.batch_size
    if count > last:
        raise InputError(
            f"The last batch of an epoch has {last} groups, too few for {count} "
            "workers; choose another batch_size."
        )
