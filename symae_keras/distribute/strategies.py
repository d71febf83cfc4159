"""Strategies of `tf.distribute`: made, entered, and left by all workers together."""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import keras

from symae_keras.distribute._keras_patches import mended_keras, split
from symae_keras.distribute.cluster import (
    Cluster,
    find_cluster,
    n_workers,
    worker_names,
    worker_number,
)
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


# === Training ===


@contextlib.contextmanager
def running(strategy: tf.distribute.Strategy | None) -> Iterator[None]:
    """A scope to build, compile, fit and evaluate Keras models in.

    Beyond `strategy.scope()`:

    - Keras's `fit` and `evaluate` work on several workers and with masks, see
      `mended_keras`.
    - Every batch is split over all replicas, into parts that differ by one row at most;
      the numbers of rows in a batch and of replicas need not divide. Each worker draws
      whole batches and keeps its part, unless they come from `per_worker`.
    - A worker that stops ends training on all others by one clear error.

    Leave it to save: inside, metrics are summed over all workers whenever they are
    read, so that a chief that saves alone waits for the others.

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

    with strategy.scope(), mended_keras():
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

    @tf.function
    def sum_of_ones(strategy: Any) -> Any:
        ones = strategy.run(lambda: tf.constant(1.0))
        return strategy.reduce(tf.distribute.ReduceOp.SUM, ones, axis=None)

    sum_of_ones(strategy)


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
    parts = split(dataset.repeat(), replicas, 0, replicas)
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
        f"{n_rows} rows in batches of {batch_size} cannot be split over {replicas} "
        "replicas; give more of them or use fewer replicas."
    )


def check_same(value: str, what: str, strategy: tf.distribute.Strategy | None) -> None:
    """Stop all workers unless they were started alike; called by all at once.

    Args:
        value: What has to be the same, such as the text of a config.
        what: What it is called.
        strategy: From `make_strategy`.

    Raises:
        InputError: Some workers have another value.
    """
    if n_workers(strategy) == 1:
        return
    import tensorflow as tf

    digest = hashlib.sha256(value.encode()).digest()
    number = int.from_bytes(digest[:7], "big")
    with running(strategy):
        assert strategy is not None
        mine = strategy.run(lambda: tf.constant([number], tf.int64))
        numbers = strategy.gather(mine, axis=0).numpy()
    if len(set(numbers.tolist())) > 1:
        raise InputError(
            f"The workers do not have the same {what}; start all of them with the same "
            "command on the same files, in folders that all of them see."
        )


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
