"""Draws of groups and instances for each epoch."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from symae_keras.data._arrays import Array
from symae_keras.errors import InputError

if TYPE_CHECKING:
    import tensorflow as tf


class Draw(NamedTuple):
    """Indices of the groups and instances of a batch."""

    group: Array
    """`(batch,)`: indices of the groups."""
    place: Array
    """`(batch, instances)`: indices of the instances in their groups."""
    present: Array
    """`(batch, instances)` bool: False where a group had too few instances."""


class Sampler:
    """Sampler that draws groups and their instances anew in every epoch.

    A draw depends only on seed, epoch and step. So a run can resume at any step of any
    epoch. If several workers each take their part of a batch, the parts together are
    the batch of a single worker.

    Args:
        present: `(groups, instances)` bool, True = present.
        batch_size: Groups per batch; the last batch of an epoch may be smaller.
        instances: Instances drawn from each group without replacement. A pair
            `(least, most)` draws a new number for each batch. `None` takes all
            instances, in order. A group with fewer instances contributes all of them,
            followed by absent ones.
        seed: Seed of all draws.
        shuffle: Whether to shuffle the groups in every epoch.
        classes: Class of each group, `(groups,)`. All classes then have equal shares in
            each epoch: groups of rare classes appear more than once, and some groups of
            frequent classes do not appear. Needs `shuffle`.

    Raises:
        InputError: There are no groups, or a number is out of range.

    Example:
    >>> sampler = Sampler(np.ones((40, 12), bool), batch_size=16, instances=8)
    >>> len(sampler), sampler.draw(epoch=0, step=2).place.shape
    (3, (8, 8))
    """

    def __init__(
        self,
        present: Array,
        batch_size: int = 16,
        instances: int | tuple[int, int] | None = 8,
        seed: int = 0,
        shuffle: bool = True,
        classes: npt.ArrayLike | None = None,
    ) -> None:
        n_groups, total = present.shape
        if n_groups == 0:
            raise InputError("There must be at least one group; received none.")
        if batch_size < 1:
            raise InputError(f"batch_size must be at least 1; received {batch_size}.")
        self.bounds = _bounds(instances, total)
        self.present = present
        self.batch_size = batch_size
        self.seed = seed
        self.shuffle = shuffle
        self.classes = None
        if classes is not None:
            if not shuffle:
                raise InputError("Balanced draws are random and need shuffle=True.")
            self.classes = _members(np.asarray(classes), n_groups)
        self._order: tuple[int, Array] | None = None

    def __len__(self) -> int:
        """Return the number of batches per epoch."""
        return -(-len(self.present) // self.batch_size)

    def draw(self, epoch: int, step: int) -> Draw:
        """Draw one batch.

        Args:
            epoch: Number of the epoch, from 0.
            step: Number of the batch in the epoch, from 0.
        """
        start = step * self.batch_size
        group = self._order_of(epoch)[start : start + self.batch_size]
        there = self.present[group]
        if self.bounds is None:
            place = np.broadcast_to(np.arange(there.shape[1]), there.shape)
            return Draw(group, place, there)
        rng = np.random.default_rng([self.seed, epoch, step])
        least, most = self.bounds
        count = least if least == most else int(rng.integers(least, most + 1))
        # The places of the smallest random keys are a draw without replacement; keys of
        # absent instances are above all others.
        keys = rng.random(there.shape) + ~there
        place = np.argsort(keys, axis=1)[:, :count]
        return Draw(group, place, np.take_along_axis(there, place, axis=1))

    def _order_of(self, epoch: int) -> Array:
        # Read the attribute once: threads of two iterators may be in different epochs.
        kept = self._order
        if kept is None or kept[0] != epoch:
            kept = self._order = epoch, self._new_order(epoch)
        return kept[1]

    def _new_order(self, epoch: int) -> Array:
        total = len(self.present)
        if not self.shuffle:
            return np.arange(total)
        rng = np.random.default_rng([self.seed, epoch])
        if self.classes is None:
            return rng.permutation(total)
        share = -(-total // len(self.classes))
        hands = [_deal(rng, members, share) for members in self.classes]
        # The classes with one more group are random.
        rounds = np.stack(hands, axis=1)[:, rng.permutation(len(hands))]
        return rng.permutation(rounds.reshape(-1)[:total])


def _bounds(
    instances: int | tuple[int, int] | None, total: int
) -> tuple[int, int] | None:
    if instances is None:
        return None
    given = instances
    if isinstance(instances, (int, np.integer)):
        instances = int(instances), int(instances)
    least, most = instances
    if not 1 <= least <= most <= total:
        raise InputError(
            f"instances must be between 1 and the {total} instances of a group, a pair "
            f"of such numbers, or None for all of them; received {given}."
        )
    return least, most


def _members(classes: Array, n_groups: int) -> list[Array]:
    if classes.shape != (n_groups,):
        raise InputError(
            f"classes must name the class of each of the {n_groups} groups; received "
            f"shape {classes.shape}."
        )
    # Compare class numbers, because NaN can be a class, but is not equal to itself.
    names, which = np.unique(classes, return_inverse=True)
    return [np.flatnonzero(which == number) for number in range(len(names))]


def _deal(rng: np.random.Generator, members: Array, count: int) -> Array:
    """Shuffle members, and repeat them in new orders until there are `count`."""
    rounds = -(-count // len(members))
    return np.concatenate([rng.permutation(members) for _ in range(rounds)])[:count]


def blanked(
    x: Array,
    good: Array,
    weights: Array | None,
    mean_weight: float | None,
    mask: Array | None = None,
) -> list[Array]:
    """Set values that are not `good` to 0, normalise weights, and add the mask.

    The mask is `good`, of the shape of `x`, unless another one is given.
    """
    x = np.where(good, x, np.float32(0))
    arrays = [x, np.broadcast_to(good, x.shape) if mask is None else mask]
    if mean_weight is None or weights is None:
        return arrays
    return [*arrays, np.where(good, weights, 0) / np.float32(mean_weight)]


def epochs(
    make: Callable[[int, int], list[Array]],
    steps: int,
    shapes: Sequence[tuple[int | None, ...]],
    first_epoch: int | Iterator[int],
    passes: int = 1,
) -> tf.data.Dataset:
    """Return a dataset in which every iteration is an epoch with a new number.

    `make(pass, step)` returns the arrays of a batch: instances, then the mask and
    weights if there are any. `shapes` are the shapes of these arrays, with `None` for
    axes that differ between batches. `passes` is the number of passes per epoch.
    """
    import tensorflow as tf

    if passes < 1:
        raise InputError(f"passes must be at least 1; received {passes}.")
    dtypes = [tf.float32, tf.bool, tf.float32][: len(shapes)]

    def arrays_of(epoch: int, step: int) -> list[Array]:
        turn, step = divmod(step, steps)
        return make(epoch * passes + turn, step)

    def load(epoch: Any, step: Any) -> tuple[Any, ...]:
        arrays = tf.numpy_function(
            lambda epoch, step: arrays_of(int(epoch), int(step)),
            [epoch, step],
            dtypes,
        )
        for array, shape in zip(arrays, shapes, strict=True):
            array.set_shape(shape)
        return _batch(arrays)

    if isinstance(first_epoch, int):
        first_epoch = itertools.count(first_epoch)
    numbers = first_epoch
    # Every iteration takes one number.
    epoch = tf.data.Dataset.from_generator(
        lambda: iter([next(numbers)]), output_signature=tf.TensorSpec((), tf.int64)
    )
    each_step = tf.data.Dataset.range(passes * steps)
    dataset = (
        epoch.flat_map(lambda number: each_step.map(lambda step: (number, step)))
        .map(load)
        .apply(tf.data.experimental.assert_cardinality(passes * steps))
    )
    # Workers share the batches of one draw; there are no files to distribute.
    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = (
        tf.data.experimental.AutoShardPolicy.DATA
    )
    dataset = dataset.prefetch(tf.data.AUTOTUNE).with_options(options)
    dataset.batch_at = lambda epoch, step: _batch(arrays_of(epoch, step))
    return dataset


def _batch(arrays: Sequence[Any]) -> tuple[Any, ...]:
    """Return inputs, targets and, if there are any, weights."""
    x, *more = arrays
    inputs = {"instances": x, "mask": more[0]} if more else x
    return (inputs, x, *more[1:])
