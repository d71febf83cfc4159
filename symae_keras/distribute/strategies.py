"""Strategies of `tf.distribute`, and the synchronisation of all workers."""

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
    """Raised if another worker stopped, so that training cannot continue."""


# === Strategies ===


def make_strategy(name: str = "auto") -> tf.distribute.Strategy | None:
    """Return the strategy to train with.

    Call it before anything else uses TensorFlow. With `"multiworker"`, it waits until
    all workers have called it.

    Args:
        name: `"none"`: a single device. `"mirrored"`: all GPUs of this machine, or its
            logical CPUs if there is no GPU. `"multiworker"`: the machines named by
            TF_CONFIG or Slurm's `srun`, with all GPUs of each. `"auto"` (default):
            multiworker if there are several workers, mirrored if there are several
            GPUs, otherwise none.

    Returns:
        The strategy, or `None` for training on a single device.

    Raises:
        InputError: The strategy is unknown or unavailable, or TF_CONFIG is invalid.

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
            "The strategy multiworker needs a list of workers: set the environment "
            "variable TF_CONFIG, or start with Slurm's srun; neither was found."
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
    """Open a scope in which to build, compile, fit and evaluate Keras models.

    Compared with `strategy.scope()`:

    - Keras's `fit` and `evaluate` work on several workers and with masks, see
      `mended_keras`.
    - Every batch is split over all replicas, into parts that differ by at most one row;
      the number of rows does not have to be a multiple of the number of replicas. Each
      worker draws whole batches and keeps its part, unless they come from `per_worker`.
    - If a worker stops, training ends on all others with a clear error.

    Save models outside of the scope. Inside, metrics are summed over all workers
    whenever they are read, so a chief that saves alone would wait for the others.

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
    """Wait until all workers have reached this call, inside of `running`.

    A worker that exits early counts as failed.

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
    """Make a dataset that draws only this worker's part, and count its steps per epoch.

    Call it, and fit the dataset, inside of `running`. With many workers, it saves each
    worker from drawing the parts of the others.

    Args:
        make: Function of this worker's index and the number of workers that returns a
            dataset, such as
            `lambda shard: batches(groups, batch_size=16, shard=shard)`.

    Returns:
        An infinite dataset and the number of steps per epoch, for
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
    # Infinite: Keras would use the number of parts as the number of steps.
    parts = split(dataset.repeat(), replicas, 0, replicas)
    return strategy.distribute_datasets_from_function(lambda _: parts), steps


def even_batch_size(
    n_rows: int, batch_size: int, strategy: tf.distribute.Strategy | None
) -> int:
    """Return the largest batch size with rows for every replica in the last batch.

    Args:
        n_rows: Rows, or groups, per epoch.
        batch_size: Maximum batch size.
        strategy: From `make_strategy`.

    Raises:
        InputError: There are too few rows in total, or per batch.

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
        "replicas; use more rows, larger batches or fewer replicas."
    )


def check_same(value: str, what: str, strategy: tf.distribute.Strategy | None) -> None:
    """Stop all workers unless they have the same value; all must call it together.

    Args:
        value: Value that must be the same, such as the text of a config.
        what: Name of the value in the error message.
        strategy: From `make_strategy`.

    Raises:
        InputError: Some workers have a different value.
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
            "command on the same files, in folders that all of them can access."
        )


def _told(error: tf.errors.OpError, strategy: tf.distribute.Strategy) -> Any:
    """Return the clear error behind one of TensorFlow's, or `None` if that is clear."""
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
    if "CoordinationService/Heartbeat" in text:  # the chief answers these
        found.append(tuple(names[0].split()[:2]))
    others = [n for i, n in enumerate(names) if i != worker_number(strategy)]
    dead = [name for name in others if tuple(name.split()[:2]) in found]
    who = dead[0].capitalize() if dead else f"Another worker ({', '.join(others)})"
    return WorkerLost(
        f"{who} stopped or cannot be reached, which ended the training of all "
        f"{len(names)} workers; start all of them again, with --resume to continue "
        "from the last checkpoint."
    )
