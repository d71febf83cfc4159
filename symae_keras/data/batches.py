"""From groups to a `tf.data.Dataset` that draws instances afresh every epoch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from symae_keras.data.groups import GroupedData
from symae_keras.errors import InputError

if TYPE_CHECKING:
    import tensorflow as tf


def batches(
    groups: GroupedData,
    batch_size: int = 16,
    instances: int | None = 8,
    seed: int = 0,
    shuffle: bool = True,
) -> tf.data.Dataset:
    """Batch groups for training, with new instances of every group in every epoch.

    Every iteration over the dataset is an epoch: it visits each group once and draws
    `instances` of its instances at random without replacement. A group with fewer
    present instances gives all of them, followed by masked padding; what stands behind
    the mask is emitted as zeros.

    Two datasets made from the same data with the same arguments give the same first
    epoch, the same second epoch and so on. As everywhere in TensorFlow, a global seed
    (`keras.utils.set_random_seed`), if set, takes part in the draw.

    Args:
        groups: The data.
        batch_size: Groups in a batch; the last batch of an epoch may be smaller.
        instances: Instances drawn from each group. `None` takes all of them, in order.
        seed: Seed of the order of the groups and of the draw of the instances.
        shuffle: Whether groups come in a new order in every epoch.

    Returns:
        `tf.data.Dataset` of known cardinality that yields `(inputs, targets)`. Targets
        are `x (batch, instances, *instance_shape)` float32. Inputs are the same `x`
        where `groups.mask` is `None`, else `{"instances": x, "mask": m}` with
        `m (batch, instances)` bool.

    Raises:
        InputError: There are no groups, `batch_size` is below 1, or `instances` is
            below 1 or above the instances of a group.

    Example:
    >>> groups = GroupedData(np.zeros((40, 12, 64), "float32"))
    >>> train = batches(groups, batch_size=16, instances=8)
    >>> [targets.shape[0] for inputs, targets in train]
    [16, 16, 8]
    """
    if len(groups) == 0:
        raise InputError("There must be at least one group; received none.")
    if batch_size < 1:
        raise InputError(f"batch_size must be at least 1; received {batch_size}.")
    total = groups.n_instances
    if instances is not None and not 1 <= instances <= total:
        raise InputError(
            f"instances must be between 1 and the {total} instances of a group, or "
            f"None for all of them; received {instances}."
        )
    import tensorflow as tf

    masked = groups.mask is not None
    x = groups.x.astype("float32", copy=False)
    if masked:
        x = np.where(groups.present_pixels, x, np.float32(0))
    # The map below runs on the CPU: data placed on a GPU would travel every step.
    with tf.device("CPU:0"):
        rows = tf.constant(x.reshape(-1, *groups.instance_shape))
        present = tf.constant(groups.present)
        present_rows = tf.reshape(present, [-1])

    def gather(group: Any, place: Any) -> Any:
        row = group[:, None] * total + place
        targets = tf.gather(rows, row)
        if not masked:
            return targets, targets
        mask = tf.gather(present_rows, row)
        return {"instances": targets, "mask": mask}, targets

    def take_all(group: Any) -> Any:
        return gather(group, tf.range(total, dtype=tf.int64)[None])

    def draw(group: Any, salt: Any) -> Any:
        # The places of the largest of `total` random keys are a draw without
        # replacement; keys of present instances are lifted above all others.
        key = tf.random.stateless_uniform((tf.size(group), total), salt)
        if masked:
            key += tf.cast(tf.gather(present, group), key.dtype)
        place = tf.math.top_k(key, instances).indices
        return gather(group, tf.cast(place, tf.int64))

    order = tf.data.Dataset.range(len(groups))
    if shuffle:
        order = order.shuffle(len(groups), seed=seed, reshuffle_each_iteration=True)
    order = order.batch(batch_size)
    if instances is None:
        dataset = order.map(take_all)
    else:
        salts = tf.data.Dataset.random(seed, rerandomize_each_iteration=True).batch(2)
        dataset = tf.data.Dataset.zip(order, salts).map(draw)
    # Workers take turns at the batches of one common draw; there are no files to share.
    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = (
        tf.data.experimental.AutoShardPolicy.DATA
    )
    return dataset.prefetch(tf.data.AUTOTUNE).with_options(options)
