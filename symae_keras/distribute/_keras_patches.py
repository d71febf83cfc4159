"""Patches for Keras 3, so that it fits models under `tf.distribute`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import keras

from symae_keras.distribute.cluster import n_workers

if TYPE_CHECKING:
    import tensorflow as tf


@contextlib.contextmanager
def mended_keras() -> Iterator[None]:
    """Replace two functions of Keras's TensorFlow trainer while models are fitted.

    Before the first step, Keras 3 reduces one batch over all replicas, only to find its
    shapes. This fails under MultiWorkerMirroredStrategy, where Keras also reduces
    scalar logs along an axis that they do not have
    (https://github.com/keras-team/keras/issues/20585). It also fails under any strategy
    if a batch contains bools, such as masks. In addition, it takes a batch out of the
    first epoch, so that data that depend on the epoch start at the second one.

    Here, shapes come from the specification of the dataset. The log of a step is that
    of this worker's replicas, as it is that of one machine's under MirroredStrategy.
    Logs of epochs come from metrics, which are still summed over all workers.

    `tests/test_distribute.py` fails when Keras works without these patches.
    """
    import tensorflow as tf
    from keras.src.backend.tensorflow import trainer

    stock_build = trainer.TensorFlowTrainer._maybe_symbolic_build
    stock_reduce = trainer.reduce_per_replica

    def build(self: Any, iterator: Any = None, data_batch: Any = None) -> None:
        strategy = self._distribute_strategy
        if strategy is None:
            return
        if iterator is not None:
            dataset = iterator.data_adapter.get_tf_dataset()
            specs = keras.tree.map_structure(_of_a_replica, dataset.element_spec)
            data_batch = specs
            if all(isinstance(e, tf.TensorSpec) for e in keras.tree.flatten(specs)):
                if isinstance(dataset, tf.data.Dataset):
                    iterator._distributed_dataset = _spread(dataset, strategy)
        with strategy.scope():
            self._symbolic_build(data_batch=data_batch)

    def reduce(values: Any, strategy: Any, reduction: str) -> Any:
        if reduction != "auto" or n_workers(strategy) == 1:
            return stock_reduce(values, strategy, reduction)
        return keras.tree.map_structure(
            lambda v: tf.reduce_mean(strategy.experimental_local_results(v), axis=0),
            values,
        )

    trainer.TensorFlowTrainer._maybe_symbolic_build = build
    trainer.reduce_per_replica = reduce
    try:
        yield
    finally:
        trainer.TensorFlowTrainer._maybe_symbolic_build = stock_build
        trainer.reduce_per_replica = stock_reduce


def _of_a_replica(spec: Any) -> Any:
    """Return the specification of one replica's part of a distributed value."""
    import tensorflow as tf

    return tf.nest.flatten(spec, expand_composites=True)[0]


def split(dataset: Any, parts: int, first: int, count: int) -> Any:
    """Split every batch into parts and return some of them, each as a batch.

    `tf.distribute` itself rounds the number of rows per part up, so that the last
    replicas may get no rows: 13 rows on 8 replicas are six times 2, 1, and 0. The mean
    of an empty batch is NaN, and so is everything after it.
    """
    import tensorflow as tf

    one_argument = not isinstance(dataset.element_spec, tuple)

    def parts_of(*arguments: Any) -> Any:
        batch = arguments[0] if one_argument else arguments
        rows = tf.shape(tf.nest.flatten(batch)[0], out_type=tf.int64)[0]
        message = f"A batch has fewer rows than the {parts} parts it is split into"
        tf.debugging.assert_greater_equal(rows, tf.constant(parts, tf.int64), message)

        def part(number: Any) -> Any:
            start, stop = number * rows // parts, (number + 1) * rows // parts
            return tf.nest.map_structure(lambda each: each[start:stop], batch)

        return tf.data.Dataset.range(first, first + count).map(part)

    return dataset.flat_map(parts_of).prefetch(2 * count)


def _spread(dataset: Any, strategy: tf.distribute.Strategy) -> Any:
    """Return the batches of a plain dataset, split over all replicas of all workers."""
    replicas = strategy.num_replicas_in_sync

    def local_parts(context: Any) -> Any:
        count = replicas // context.num_input_pipelines
        return split(dataset, replicas, context.input_pipeline_id * count, count)

    return strategy.distribute_datasets_from_function(local_parts)
