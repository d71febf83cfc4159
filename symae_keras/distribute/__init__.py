"""Training on several GPUs and several machines with `tf.distribute`.

    strategy = make_strategy("auto")  # before anything else uses TensorFlow
    with running(strategy):
        model = SymAE(...)
        model.compile(...)
        model.fit(batches(...))

The same lines train on one device, on all GPUs of a machine, and on several machines
that all run them; see docs/scaling.md. They work for every Keras model.
"""

from symae_keras.distribute.cluster import (
    is_chief,
    n_workers,
    worker_names,
    worker_number,
)
from symae_keras.distribute.strategies import (
    STRATEGIES,
    WorkerLost,
    check_same,
    even_batch_size,
    make_strategy,
    meet,
    per_worker,
    running,
)

__all__ = [
    "STRATEGIES",
    "WorkerLost",
    "check_same",
    "even_batch_size",
    "is_chief",
    "make_strategy",
    "meet",
    "n_workers",
    "per_worker",
    "running",
    "worker_names",
    "worker_number",
]


def __dir__() -> list[str]:
    return sorted(__all__)
