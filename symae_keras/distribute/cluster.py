"""Which machines train together: what TF_CONFIG or Slurm says."""

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
    """The workers, and which of them this process is."""

    jobs: dict[str, list[str]]
    """Addresses of the workers of each kind."""
    task_type: str
    """This worker's kind."""
    task_id: int
    """Its number among those of its kind."""

    @property
    def addresses(self) -> list[str]:
        """Those of all workers, the chief's first."""
        return [address for job in _JOBS for address in self.jobs.get(job, ())]


def find_cluster() -> Cluster | None:
    """What the environment says, `None` where it says nothing.

    Raises:
        InputError: TF_CONFIG or Slurm's variables cannot be used.
    """
    text = os.environ.get("TF_CONFIG", "")
    if text.strip():
        return _cluster_of(text)
    # srun sets it for each step; SLURM_NTASKS is there outside of steps, too, where no
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
            problem = f"{wrong[0]!r} is no host:port"
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
        # It is asked for hosts and ranks alone: how it counts GPUs fails where there
        # are none and where Slurm has given each task its own.
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
            "Slurm's variables SLURM_STEP_* and SLURM_PROCID do not tell the workers "
            f"({error}); start the command with srun, or set TF_CONFIG."
        ) from error
    return Cluster(jobs, resolver.task_type, resolver.task_id)


# === Of a strategy ===


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
        for job in _JOBS
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
