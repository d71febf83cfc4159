"""Which machines train together: what TF_CONFIG or Slurm says."""

from __future__ import annotations

import json
import os
from typing import NamedTuple

from symae_keras.errors import InputError

#: Kinds of workers, in the order in which they are numbered.
JOBS = ("chief", "worker")


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
        return [address for job in JOBS for address in self.jobs.get(job, ())]


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
        if set(jobs) - set(JOBS):
            problem = f"it has the jobs {', '.join(jobs)}"
        elif not 0 <= task[1] < len(jobs.get(task[0], ())):
            problem = f"its cluster has no {task[0]} of index {task[1]}"
    if problem:
        raise InputError(
            'TF_CONFIG must look like {"cluster": {"worker": ["host:port", ...]}, '
            '"task": {"type": "worker", "index": 0}}, with every worker\'s own index; '
            f"{problem}."
        )
    return Cluster(jobs, *task)


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
