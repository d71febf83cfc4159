"""Training jobs of two workers; `test_distribute.py` starts them and checks results.

All random numbers in training are made equal for all rows. In the runs that are
compared, the rows are on other replicas, or there are no replicas.
"""

from __future__ import annotations

import gc
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from symae_keras import distribute
from symae_keras.data import GroupedData, batches
from symae_keras.errors import InputError
from symae_keras.layers import DenseEncoder
from symae_keras.models import SymAE

sys.path.insert(0, str(Path(__file__).parent / "models"))
from conformance import CASES  # noqa: E402

Result = dict[str, Any]
GROUPS, STEPS = 36, 10


def equal_noise() -> None:
    def same(shape: Any, dtype: Any = "float32", seed: Any = None) -> Any:
        return ops.full(shape, 0.3, dtype)

    keras.random.normal = keras.random.uniform = same
    keras.random.randint = lambda shape, low, high, seed=None: ops.full(
        shape, low, "int32"
    )


def alone() -> bool:
    """Return whether eager steps take less time than a graph of them."""
    return not tf.distribute.has_strategy()


def groups() -> GroupedData:
    """Make groups whose values are their indices, with one instance in four missing."""
    x = np.random.default_rng(0).normal(size=(GROUPS, 4, 6))
    x[:, :, 0] = np.arange(GROUPS)[:, None]
    mask = np.ones((GROUPS, 4), bool)
    mask[np.arange(GROUPS), np.arange(GROUPS) % 4] = False
    return GroupedData(x.astype("float32"), mask=mask)


def weights(model: keras.Model) -> list[Any]:
    found = [each for each in model.get_weights() if each.dtype == "float32"]
    return np.concatenate([each.ravel() for each in found]).tolist()


def evaluated(model: keras.Model, history: Any, dataset: Any) -> Result:
    """Return logs of training, and those of an evaluation of the trained model."""
    logs = model.evaluate(dataset, verbose=0, return_dict=True)
    logs = {f"evaluated_{key}": value for key, value in logs.items()}
    return {"logs": {**history.history, **logs}, "weights": weights(model)}


def train_symae() -> Result:
    data = groups()
    keras.utils.set_random_seed(0)
    encoder = DenseEncoder(4, units=(8,))
    model = SymAE((6,), 2, 2, encoder=encoder, instance_dropout=0.2, seed=0)
    model.compile(keras.optimizers.SGD(1e-3), "mse", run_eagerly=alone())
    train, steps = distribute.per_worker(
        lambda shard: batches(data, 8, instances=3, seed=0, shard=shard)
    )
    held_out = batches(data, 8, instances=None, shuffle=False)
    history = model.fit(
        train,
        steps_per_epoch=steps,
        epochs=STEPS // steps,
        validation_data=held_out,
        shuffle=False,
        verbose=0,
    )
    return evaluated(model, history, held_out)


class Witness(keras.layers.Layer):
    """Callback that records which groups occur."""

    def __init__(self, note: Callable[[list[int]], None]) -> None:
        super().__init__()
        self.note = note

    def call(self, x: Any) -> Any:
        def note(numbers: np.ndarray) -> None:
            self.note(numbers.astype(int).tolist())

        tf.numpy_function(note, [x[:, 0, 0]], [])
        return x


def train_users_model() -> Result:
    data = GroupedData(groups().x)
    seen: list[list[int]] = []
    keras.utils.set_random_seed(0)
    inputs = keras.Input((3, 6))
    hidden = keras.layers.Rescaling(1 / GROUPS)(Witness(seen.append)(inputs))
    hidden = keras.layers.Dense(4, activation="tanh")(hidden)
    model = keras.Model(inputs, keras.layers.Dense(6)(hidden))
    optimizer = keras.optimizers.SGD(1e-3, momentum=0.9)
    model.compile(optimizer, "mse", metrics=["mae"], run_eagerly=alone())
    dataset = batches(data, 8, instances=3, seed=0)
    history = model.fit(dataset, epochs=2, shuffle=False, verbose=0)
    trained_on = list(seen)
    return {**evaluated(model, history, dataset), "seen": trained_on}


def train_case(name: str) -> Result:
    case = CASES[name]
    keras.utils.set_random_seed(0)
    model, x = case.build(), np.concatenate([case.even_data()] * STEPS)
    case.compile(model, run_eagerly=alone())
    # At the full rate, rounding errors grow to 1e-5, as they also do on one device if
    # the rows come in another order.
    model.optimizer.learning_rate = 0.5 * case.learning_rate
    y = case.targets(x)
    history = model.fit(x, y, batch_size=8, shuffle=False, verbose=0).history
    return {"logs": history, "weights": weights(model)}


def stock_keras(strategy: tf.distribute.Strategy) -> Result:
    """Record what `fit` does without `running`."""
    with strategy.scope():
        model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
        model.compile("sgd", "mse")
    try:
        model.fit(np.ones((8, 3)), np.ones((8, 1)), batch_size=8, verbose=0)
    except Exception as error:
        return {"error": type(error).__name__}
    return {"error": None}


def main(folder: Path, names: list[str]) -> None:
    strategy = distribute.make_strategy("auto")
    assert strategy is not None
    # Optimising graphs takes longer than their few steps gain.
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    worker = distribute.worker_number(strategy)
    jobs: dict[str, Callable[[], Result]] = {
        "symae": train_symae,
        "user": train_users_model,
        **{f"case {name}": lambda name=name: train_case(name) for name in names},
    }
    distribute.check_same("one", "test", strategy)
    try:
        distribute.check_same(str(worker), "data", strategy)
    except InputError as error:
        refused = str(error)
    results: Result = {
        "refused": refused,
        "worker": [worker, distribute.n_workers(strategy)],
        "chief": distribute.is_chief(strategy),
        "names": distribute.worker_names(strategy),
        "stock": stock_keras(strategy),
    }
    equal_noise()
    for job, train in jobs.items():
        with distribute.running(strategy):
            results[job] = train()
    for job, train in list(jobs.items())[worker::2]:
        results[f"alone {job}"] = train()
    # Rename at the end, because the test waits for the file.
    path = folder / f"{worker}.json"
    path.with_suffix(".part").write_text(json.dumps(results), encoding="utf-8")
    path.with_suffix(".part").rename(path)

    with distribute.running(strategy):
        model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
        model.compile("sgd", "mse")
        while True:  # until the other worker has stopped
            model.fit(np.ones((8, 3)), np.ones((8, 1)), batch_size=8, verbose=0)
            time.sleep(0.1)


if __name__ == "__main__":
    gc.disable()
    try:
        main(Path(sys.argv[1]), sys.argv[2:])
    except distribute.WorkerLost as lost:
        sys.exit(f"{type(lost).__name__}: {lost}")
