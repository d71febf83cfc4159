"""Detection of the machines that train together, from TF_CONFIG or Slurm."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, NamedTuple

from symae_keras.errors import InputError

if TYPE_CHECKING:
    import tensorflow as tf


#: Kinds of workers, in the order in which they are numbered.
_JOBS = ("chief", "worker")


class Cluster(NamedTuple):
    """All workers, and the place of this process among them."""

    jobs: dict[str, list[str]]
    """Addresses of the workers of each kind."""
    task_type: str
    """Kind of this worker."""
    task_id: int
    """Index of this worker among those of its kind."""

    @property
    def addresses(self) -> list[str]:
        """Addresses of all workers, with the chief first."""
        return [address for job in _JOBS for address in self.jobs.get(job, ())]


def find_cluster() -> Cluster | None:
    """Return the cluster from the environment, or `None` if it defines none.

    Raises:
        InputError: TF_CONFIG or Slurm's variables cannot be used.
    """
    text = os.environ.get("TF_CONFIG", "")
    if text.strip():
        return _cluster_of(text)
    # srun sets it for each step. SLURM_NTASKS also exists outside of steps, where no
    # other task runs.
    tasks = os.environ.get("SLURM_STEP_NUM_TASKS", "")
    return _slurm_cluster(tasks) if tasks not in ("", "1") else None


def _cluster_of(text: str) -> Cluster | None:
    try:
        config = json.loads(text)
        jobs = config.get("cluster", {})
        if not jobs:
            return None
        if not all(isinstance(each, list) for each in jobs.values()):
            raise TypeError
        jobs = {job: [str(each) for each in jobs[job]] for job in jobs}
        task = str(config["task"]["type"]), int(config["task"]["index"])
    except (AttributeError, KeyError, TypeError, ValueError):
        problem = "it cannot be read"
    else:
        problem = ""
        if set(jobs) - set(_JOBS):
            problem = f"it has the jobs {', '.join(jobs)}"
        elif wrong := [a for each in jobs.values() for a in each if not _is_address(a)]:
            problem = f"{wrong[0]!r} is not host:port"
        elif not 0 <= task[1] < len(jobs.get(task[0], ())):
            problem = f"its cluster has no {task[0]} of index {task[1]}"
    if problem:
        raise InputError(
            'TF_CONFIG must look like {"cluster": {"worker": ["host:port", ...]}, '
            '"task": {"type": "worker", "index": 0}}, with every worker\'s own index; '
            f"{problem}."
        )
    return Cluster(jobs, *task)


def _is_address(text: str) -> bool:
    host, _, port = text.rpartition(":")
    return bool(host) and port.isdecimal() and 0 < int(port) < 65536


def _slurm_cluster(tasks: str) -> Cluster:
    import tensorflow as tf

    job = os.environ.get("SLURM_JOB_ID", "0")
    try:
        # The resolver is used only for hosts and ranks. Its count of GPUs fails if none
        # exist, or if Slurm has assigned separate GPUs to each task.
        resolver = tf.distribute.cluster_resolver.SlurmClusterResolver(
            # Other jobs may run on the same machines.
            port_base=10_000 + int(job) % 20_000,
            gpus_per_node=int(tasks),
            gpus_per_task=1,
            auto_set_gpu=False,
        )
        jobs = resolver.cluster_spec().as_dict()
    except (RuntimeError, ValueError) as error:
        raise InputError(
            "The workers cannot be determined from Slurm's variables SLURM_STEP_* and "
            f"SLURM_PROCID ({error}); start the command with srun, or set TF_CONFIG."
        ) from error
    return Cluster(jobs, resolver.task_type, resolver.task_id)


# === Queries of a strategy ===


def worker_names(strategy: tf.distribute.Strategy | None) -> list[str]:
    """Return job, index and address of each worker, with the chief first.

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
        for job in _JOBS
        for task, address in enumerate(jobs.get(job, ()))
    ]
    return names or ["worker 0"]


def worker_number(strategy: tf.distribute.Strategy | None) -> int:
    """Return the index of this process in `worker_names`; that of the chief is 0.

    Args:
        strategy: From `make_strategy`.
    """
    resolver = getattr(strategy, "cluster_resolver", None)
    if resolver is None or not resolver.cluster_spec().jobs:
        return 0
    chiefs = len(resolver.cluster_spec().as_dict().get("chief", ()))
    return int(resolver.task_id) + (chiefs if resolver.task_type == "worker" else 0)


def n_workers(strategy: tf.distribute.Strategy | None) -> int:
    """Return the number of processes that train together.

    Args:
        strategy: From `make_strategy`.
    """
    return len(worker_names(strategy))


def is_chief(strategy: tf.distribute.Strategy | None) -> bool:
    """Return whether this process writes the results.

    Args:
        strategy: From `make_strategy`.
    """
    return worker_number(strategy) == 0
