"""Training on several GPUs and several machines with `tf.distribute`.

    strategy = make_strategy("auto")  # before anything else uses TensorFlow
    with running(strategy):
        model = SymAE(...)
        model.compile(...)
        model.fit(batches(...))

The same lines train on one device, on all GPUs of a machine, and on several machines,
each of which runs them; see docs/scaling.md. Works for every Keras model.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import keras

from symae_keras.cluster import JOBS, Cluster, find_cluster
from symae_keras.errors import InputError

if TYPE_CHECKING:
    import tensorflow as tf

STRATEGIES = ("auto", "none", "mirrored", "multiworker")


class WorkerLost(RuntimeError):
    """Another worker stopped, so that training cannot go on; told in one sentence."""


# === Strategies ===


def make_strategy(name: str = "auto") -> tf.distribute.Strategy | None:
    """The strategy to train with.

    Call it before anything else uses TensorFlow. Under `"multiworker"` it waits until
    all workers have called it.

    Args:
        name: `"none"`; `"mirrored"`: all GPUs of this machine, or its logical CPUs
            where there is no GPU; `"multiworker"`: the machines that TF_CONFIG or
            Slurm's `srun` name, with all GPUs of each; `"auto"` (default): multiworker
            where there are several workers, mirrored where there are several GPUs,
            else none.

    Returns:
        The strategy, or `None` where one device trains alone.

    Raises:
        InputError: There is no such strategy here, or TF_CONFIG cannot be used.

    Example:
    >>> make_strategy("none") is None
    True
    """
    if name not in STRATEGIES:
        raise InputError(
            f"The strategy must be one of {', '.join(STRATEGIES)}; received {name}."
        )
    backend = keras.backend.backend()
    if backend != "tensorflow":
        if name in ("auto", "none"):
            return None
        raise InputError(
            f"The strategy {name} needs the TensorFlow backend, and Keras runs on "
            f"{backend}; set KERAS_BACKEND=tensorflow, or on JAX use "
            "keras.distribution.DataParallel, see docs/scaling.md."
        )
    import tensorflow as tf

    cluster = find_cluster() if name in ("auto", "multiworker") else None
    if name == "auto":
        if cluster is not None and len(cluster.addresses) > 1:
            name = "multiworker"
        else:
            several = len(tf.config.list_physical_devices("GPU")) > 1
            name = "mirrored" if several else "none"
    if name == "none":
        return None
    if name == "mirrored":
        devices = tf.config.list_logical_devices("GPU")
        devices = devices or tf.config.list_logical_devices("CPU")
        return tf.distribute.MirroredStrategy([device.name for device in devices])
    if cluster is None:
        raise InputError(
            "The strategy multiworker needs the environment variable TF_CONFIG, or a "
            "start by Slurm's srun, to know the workers; there is neither."
        )
    return _multiworker(cluster)


def _multiworker(cluster: Cluster) -> tf.distribute.MultiWorkerMirroredStrategy:
    import tensorflow as tf

    gpus = len(tf.config.list_physical_devices("GPU"))
    resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
        tf.train.ClusterSpec(cluster.jobs),
        task_type=cluster.task_type,
        task_id=cluster.task_id,
        num_accelerators={"GPU": gpus},
        rpc_layer="grpc",
    )
    try:
        return tf.distribute.MultiWorkerMirroredStrategy(resolver)
    except RuntimeError as error:
        if "program startup" not in str(error):
            raise
        raise InputError(
            "make_strategy must be called before anything else uses TensorFlow; call "
            "it at the start of the program."
        ) from error


# === Workers ===


def worker_names(strategy: tf.distribute.Strategy | None) -> list[str]:
    """Job, number and address of each worker, the chief first.

    Args:
        strategy: From `make_strategy`.

    Example:
    >>> worker_names(None)
    ['worker 0']
    """
    resolver = getattr(strategy, "cluster_resolver", None)
    jobs = resolver.cluster_spec().as_dict() if resolver is not None else {}
    names = [
        f"{job} {task} ({address})"
        for job in JOBS
        for task, address in enumerate(jobs.get(job, ()))
    ]
    return names or ["worker 0"]


def worker_number(strategy: tf.distribute.Strategy | None) -> int:
    """Place of this process in `worker_names`; the chief's is 0.

    Args:
        strategy: From `make_strategy`.
    """
    resolver = getattr(strategy, "cluster_resolver", None)
    if resolver is None or not resolver.cluster_spec().jobs:
        return 0
    chiefs = len(resolver.cluster_spec().as_dict().get("chief", ()))
    return int(resolver.task_id) + (chiefs if resolver.task_type == "worker" else 0)


def n_workers(strategy: tf.distribute.Strategy | None) -> int:
    """How many processes train together.

    Args:
        strategy: From `make_strategy`.
    """
    return len(worker_names(strategy))


def is_chief(strategy: tf.distribute.Strategy | None) -> bool:
    """Whether this process is the one that writes results.

    Args:
        strategy: From `make_strategy`.
    """
    return worker_number(strategy) == 0


# === Training ===


@contextlib.contextmanager
def running(strategy: tf.distribute.Strategy | None) -> Iterator[None]:
    """A scope to build, compile, fit and evaluate Keras models in.

    Beyond `strategy.scope()`:

    - Keras's `fit` and `evaluate` work on several workers and with masks, see
      `_mended_keras`.
    - Every batch is split over all replicas, into parts that differ by one row at most;
      the numbers of rows in a batch and of replicas need not divide. Each worker draws
      whole batches and keeps its part, unless they come from `per_worker`.
    - A worker that stops ends training on all others by one clear error.

    Args:
        strategy: From `make_strategy`; with `None` nothing is done.

    Raises:
        WorkerLost: Another worker stopped.
        InputError: A batch has fewer rows than there are replicas.
    """
    if strategy is None:
        yield
        return
    import tensorflow as tf

    with strategy.scope(), _mended_keras():
        try:
            yield
        except tf.errors.OpError as error:
            told = _told(error, strategy)
            if told is None:
                raise
            raise told from error


def meet(strategy: tf.distribute.Strategy | None) -> None:
    """Wait until all workers have come here, inside of `running`.

    A worker that leaves while others compute is taken for lost.

    Args:
        strategy: From `make_strategy`.
    """
    if n_workers(strategy) == 1:
        return
    import tensorflow as tf

    ones = strategy.run(lambda: tf.constant(1.0))
    strategy.reduce(tf.distribute.ReduceOp.SUM, ones, axis=None)


def per_worker(make: Callable[[tuple[int, int]], Any]) -> tuple[Any, int]:
    """Batches of which each worker draws its part alone, and their number in an epoch.

    To be called, and fitted to, inside of `running`. With many workers it spares each
    of them from drawing what is meant for others.

    Args:
        make: Function of this worker's number and how many there are that returns a
            dataset, such as
            `lambda shard: batches(groups, batch_size=16, shard=shard)`.

    Returns:
        A dataset without end, and steps in an epoch, for
        `model.fit(dataset, steps_per_epoch=steps)`.
    """
    if keras.backend.backend() != "tensorflow":
        dataset = make((0, 1))
        return dataset, int(dataset.cardinality())
    import tensorflow as tf

    strategy = tf.distribute.get_strategy() if tf.distribute.has_strategy() else None
    dataset = make((worker_number(strategy), n_workers(strategy)))
    steps = int(dataset.cardinality())
    if strategy is None:
        return dataset, steps
    replicas = strategy.num_replicas_in_sync // n_workers(strategy)
    # Without end: Keras would take the number of parts for that of steps.
    parts = _split(dataset.repeat(), replicas, 0, replicas)
    return strategy.distribute_datasets_from_function(lambda _: parts), steps


def even_batch_size(
    n_rows: int, batch_size: int, strategy: tf.distribute.Strategy | None
) -> int:
    """The largest batch size that leaves no replica without rows in the last batch.

    Args:
        n_rows: Rows, or groups, in an epoch.
        batch_size: The largest size wanted.
        strategy: From `make_strategy`.

    Raises:
        InputError: There are too few rows, or too few in a batch.

    Example:
    >>> even_batch_size(801, 16, None)
    16
    """
    replicas = 1 if strategy is None else strategy.num_replicas_in_sync
    for size in range(min(n_rows, batch_size), replicas - 1, -1):
        if (n_rows % size or size) >= replicas:
            return size
    raise InputError(
        f"{n_rows} groups in batches of {batch_size} cannot be split over {replicas} "
        "replicas; give more of them or use fewer replicas."
    )


def _split(dataset: Any, parts: int, first: int, count: int) -> Any:
    """Some of the parts of every batch, each a batch of the result.

    `tf.distribute` itself rounds the rows of a part up, which leaves the last replicas
    without any: 13 rows on 8 replicas are six times 2, 1, and 0. The mean of no rows is
    no number, and training would end in NaN.
    """
    import tensorflow as tf

    one_argument = not isinstance(dataset.element_spec, tuple)

    def parts_of(*arguments: Any) -> Any:
        batch = arguments[0] if one_argument else arguments
        rows = tf.shape(tf.nest.flatten(batch)[0], out_type=tf.int64)[0]
        message = f"A batch has fewer rows than the {parts} parts it is to be split in"
        tf.debugging.assert_greater_equal(rows, tf.constant(parts, tf.int64), message)

        def part(number: Any) -> Any:
            start, stop = number * rows // parts, (number + 1) * rows // parts
            return tf.nest.map_structure(lambda each: each[start:stop], batch)

        return tf.data.Dataset.range(first, first + count).map(part)

    return dataset.flat_map(parts_of).prefetch(2 * count)


def _spread(dataset: Any, strategy: tf.distribute.Strategy) -> Any:
    """Batches of a plain dataset, split over all replicas of all workers."""
    replicas = strategy.num_replicas_in_sync

    def local_parts(context: Any) -> Any:
        count = replicas // context.num_input_pipelines
        return _split(dataset, replicas, context.input_pipeline_id * count, count)

    return strategy.distribute_datasets_from_function(local_parts)


@contextlib.contextmanager
def _mended_keras() -> Iterator[None]:
    """Replace two functions of Keras's TensorFlow trainer while models are fitted.

    Before the first step Keras 3 reduces one batch over all replicas, only to learn
    its shapes. That fails under MultiWorkerMirroredStrategy, where it also reduces
    scalar logs along an axis that they do not have
    (https://github.com/keras-team/keras/issues/20585), and it fails under any strategy
    where a batch holds bools, such as masks. It also takes a batch out of the first
    epoch, so that data which know their epoch start at the second.

    Here shapes come from the specification of the dataset, and the log of a step is
    that of this worker's replicas, as it is of one machine's under MirroredStrategy.
    Logs of epochs come from metrics, which are summed over all workers as ever.

    `tests/test_distribute.py` fails once Keras works without this.
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
    """The specification of what one replica gets of a distributed value."""
    import tensorflow as tf

    return tf.nest.flatten(spec, expand_composites=True)[0]


def _told(error: tf.errors.OpError, strategy: tf.distribute.Strategy) -> Any:
    """The clear error behind one of TensorFlow's, `None` where that is clear itself."""
    import tensorflow as tf

    text = str(error)
    short = re.search(r"A batch has fewer rows than the \d+ parts[\w ]*", text)
    if short:
        return InputError(
            f"{short[0]}, one for each replica; choose another batch_size or use fewer "
            "replicas."
        )
    names = worker_names(strategy)
    kinds = (
        tf.errors.UnavailableError,
        tf.errors.AbortedError,
        tf.errors.DeadlineExceededError,
        tf.errors.InternalError,
    )
    of_workers = any(each in text for each in ("Collective ops", "/job:", "Heartbeat"))
    if len(names) == 1 or not isinstance(error, kinds) or not of_workers:
        return None
    found = re.findall(r"/job:(\w+)(?:/replica:\d+)?/task:(\d+)", text)
    if "CoordinationService/Heartbeat" in text:  # which the chief answers
        found.append(tuple(names[0].split()[:2]))
    others = [n for i, n in enumerate(names) if i != worker_number(strategy)]
    dead = [name for name in others if tuple(name.split()[:2]) in found]
    who = dead[0].capitalize() if dead else f"Another worker ({', '.join(others)})"
    return WorkerLost(
        f"{who} stopped or cannot be reached, which ended the training of all "
        f"{len(names)} workers; start all of them again, with --resume to go on from "
        "the last checkpoint."
    )
