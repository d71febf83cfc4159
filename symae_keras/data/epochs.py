"""What the datasets of groups and of single instances have in common."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import tensorflow as tf

Array = npt.NDArray[Any]


def blanked(
    x: Array,
    good: Array,
    weights: Array | None,
    mean_weight: float | None,
    mask: Array | None = None,
) -> list[Array]:
    """The arrays of a batch: instances, mask and, if there are any, weights.

    Args:
        x: Instances.
        good: Bools that broadcast to `x`; what is not good becomes zeros.
        weights: Weights of pixels, or `None`.
        mean_weight: What weights are divided by, `None` where there are none.
        mask: What models take for a mask; `None` stands for `good`.
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
) -> tf.data.Dataset:
    """A dataset each of whose iterations is an epoch with a number of its own.

    Args:
        make: Function of epoch and step that returns the arrays of a batch: instances,
            then a mask and weights where there are any.
        steps: Batches in an epoch.
        shapes: Of these arrays, as far as they are the same for all batches.
        first_epoch: Number of the first epoch, or what gives the number of each.

    Returns:
        Dataset of `(inputs, targets)` or `(inputs, targets, weights)`, whose attribute
        `batch_at(epoch, step)` gives any batch by itself, in NumPy arrays.
    """
    import tensorflow as tf

    dtypes = [tf.float32, tf.bool, tf.float32][: len(shapes)]

    def load(epoch: Any, step: Any) -> tuple[Any, ...]:
        arrays = tf.numpy_function(
            lambda epoch, step: make(int(epoch), int(step)), [epoch, step], dtypes
        )
        for array, shape in zip(arrays, shapes, strict=True):
            array.set_shape(shape)
        return _batch(arrays)

    numbers = first_epoch
    if isinstance(numbers, int):
        numbers = itertools.count(numbers)
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
    dataset = dataset.prefetch(tf.data.AUTOTUNE).with_options(options)
    dataset.batch_at = lambda epoch, step: _batch(make(epoch, step))
    return dataset


def _batch(arrays: Sequence[Any]) -> tuple[Any, ...]:
    """Inputs, targets and, if there are any, weights."""
    x, *more = arrays
    inputs = {"instances": x, "mask": more[0]} if more else x
    return (inputs, x, *more[1:])
