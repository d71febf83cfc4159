"""Strategies: with several devices in one process, and with two real processes."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import pytest
from conformance import CASES, THREE

import symae_keras
from symae_keras import distribute
from symae_keras.distribute.cluster import find_cluster
from symae_keras.errors import InputError

# === Which strategy ===

_TWO = {"worker": ["one:1", "two:2"]}


def tf_config(index: int = 0, kind: str = "worker", jobs: Any = _TWO) -> str:
    return json.dumps({"cluster": jobs, "task": {"type": kind, "index": index}})


@pytest.fixture(autouse=True)
def _no_cluster(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    for name in [each for each in os.environ if each.startswith("SLURM_")]:
        monkeypatch.delenv(name)


@pytest.mark.jax
def test_alone():
    for name in ("auto", "none"):
        strategy = distribute.make_strategy(name)
        assert strategy is None
        assert distribute.is_chief(strategy)
        assert distribute.n_workers(strategy) == 1
        distribute.check_same("anything", "data", strategy)
        with distribute.running(strategy):
            distribute.meet(strategy)


@pytest.mark.jax
def test_per_worker_alone_is_the_dataset():
    from symae_keras.data import GroupedData, batches

    groups = GroupedData(np.zeros((21, 2, 3), "float32"))
    dataset, steps = distribute.per_worker(
        lambda shard: batches(groups, 8, instances=2, shard=shard)
    )
    assert [len(x) for x, _ in dataset] == [8, 8, 5]
    assert steps == 3


@pytest.mark.jax
def test_other_backends_have_no_strategies(monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    assert distribute.make_strategy("auto") is None
    for name in ("mirrored", "multiworker"):
        with pytest.raises(InputError, match=f"{name}.*on jax.*DataParallel"):
            distribute.make_strategy(name)


@pytest.mark.jax
def test_unknown_strategy():
    with pytest.raises(InputError, match="auto, none, mirrored.*received tpu"):
        distribute.make_strategy("tpu")


def test_multiworker_needs_workers(tf):
    with pytest.raises(InputError, match="TF_CONFIG.*srun"):
        distribute.make_strategy("multiworker")


def test_multiworker_comes_first(tf, monkeypatch):
    tf.constant(1.0) + 1.0
    monkeypatch.setenv("TF_CONFIG", tf_config())
    with pytest.raises(InputError, match="before anything else uses TensorFlow"):
        distribute.make_strategy("auto")


@pytest.mark.jax
@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{", "cannot be read"),
        ("[1]", "cannot be read"),
        ('{"cluster": {"worker": "one:1"}}', "cannot be read"),
        (json.dumps({"cluster": _TWO}), "cannot be read"),
        (tf_config(2), "no worker of index 2"),
        (tf_config(kind="chief"), "no chief of index 0"),
        (tf_config(kind="ps", jobs={"ps": ["one:1"]}), "has the jobs ps"),
        *(
            (tf_config(jobs={"worker": ["one:1", host]}), f"'{host}' is not host:port")
            for host in ("two", "two:", ":2222", "two:http", "two:70000", "two:0")
        ),
    ],
)
def test_broken_tf_config(text, problem, monkeypatch):
    monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(InputError, match=f"TF_CONFIG must look like .*{problem}"):
        find_cluster()


@pytest.mark.jax
@pytest.mark.parametrize("text", ["", " ", "{}", '{"cluster": {}}'])
def test_no_cluster(text, monkeypatch):
    monkeypatch.setenv("TF_CONFIG", text)
    assert find_cluster() is None


def test_slurm(tf, monkeypatch):
    monkeypatch.setenv("SLURM_NTASKS", "3")  # outside of srun
    assert find_cluster() is None
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "3")
    with pytest.raises(InputError, match="SLURM_STEP_.*srun"):
        find_cluster()
    monkeypatch.setenv("SLURM_JOB_ID", "20005")
    monkeypatch.setenv("SLURM_STEP_NODELIST", "node[1-2]")
    monkeypatch.setenv("SLURM_STEP_TASKS_PER_NODE", "2,1")
    monkeypatch.setenv("SLURM_PROCID", "2")
    workers = ["node1:10005", "node1:10006", "node2:10005"]
    assert find_cluster() == ({"worker": workers}, "worker", 2)


@pytest.mark.jax
def test_even_batch_size():
    three: Any = SimpleNamespace(num_replicas_in_sync=3)
    for n_rows, wanted, expected in (
        (32, 16, 16),
        (33, 16, 15),  # 33 = 2 * 16 + 1 = 2 * 15 + 3
        (35, 16, 16),
        (5, 16, 5),
        (7, 4, 4),
        (7, 6, 4),
    ):
        assert distribute.even_batch_size(n_rows, wanted, three) == expected
        assert distribute.even_batch_size(n_rows, wanted, None) == min(n_rows, wanted)
    for n_rows, wanted in ((2, 16), (30, 2), (4, 3)):
        with pytest.raises(InputError, match="cannot be split over 3 replicas"):
            distribute.even_batch_size(n_rows, wanted, three)


# === Lost workers, with errors as TensorFlow raises them ===

_RING = (
    "Collective ops is aborted by: failed to connect to all addresses\nAdditional GRPC "
    "error information from remote target /job:worker/replica:0/task:1 while calling"
)
_HEARTBEAT = "Collective ops is aborted by: RPC: /tensorflow.CoordinationService/Heart"


@pytest.mark.parametrize(
    ("kind", "message", "task", "told"),
    [
        ("UnavailableError", _RING, 0, r"Worker 1 \(two:2\) stopped"),
        ("DeadlineExceededError", _HEARTBEAT + "beat", 1, r"Worker 0 \(one:1\) stop"),
        ("InternalError", "Collective ops is aborted", 0, r"Another worker \(worker 1"),
        ("InternalError", "cuDNN", 0, None),
        ("UnavailableError", "of a file system", 0, None),
        ("InvalidArgumentError", _RING, 0, None),
    ],
)
def test_lost_workers(kind, message, task, told, tf):
    strategy: Any = SimpleNamespace(
        scope=contextlib.nullcontext,
        cluster_resolver=tf.distribute.cluster_resolver.SimpleClusterResolver(
            tf.train.ClusterSpec(_TWO), task_type="worker", task_id=task
        ),
    )
    error = getattr(tf.errors, kind)(None, None, message)
    expected = type(error) if told is None else distribute.WorkerLost
    with pytest.raises(expected, match=told) as raised:
        with distribute.running(strategy):
            raise error
    if told is not None:
        assert "--resume" in str(raised.value)
        assert "\n" not in str(raised.value)


# === Three devices in one process ===

_THREE_DEVICES = """
import json

import tensorflow as tf

cpu = tf.config.list_physical_devices("CPU")[0]
one = tf.config.LogicalDeviceConfiguration()
tf.config.set_logical_device_configuration(cpu, [one] * 3)
# Optimising graphs takes longer than their few steps gain.
tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})

import keras
import numpy as np
from symae_keras import distribute
from symae_keras.data import GroupedData, batches
from symae_keras.errors import InputError
from symae_keras.layers import NuisanceDropout

strategy = distribute.make_strategy("mirrored")
results = {
    "auto": distribute.make_strategy("auto") is None,
    "replicas": strategy.num_replicas_in_sync,
    "names": distribute.worker_names(strategy),
}

# === Noise ===

ones, stock = tf.ones((2, 4)), keras.random.SeedGenerator(7)
layer = NuisanceDropout("additive", seed=7)
alone = [layer(ones, training=True).numpy() for _ in range(2)]
usual = [1.0 + 0.5 * keras.random.normal((2, 4), seed=stock) for _ in range(2)]
results["as Keras's"] = bool(np.array_equal(alone, [each.numpy() for each in usual]))
with strategy.scope():
    layer = NuisanceDropout("additive", seed=7)
draw = tf.function(lambda: strategy.run(lambda: layer(ones, training=True)))
steps = [[each.numpy() for each in draw().values] for _ in range(2)]
results["first as alone"] = bool(np.array_equal([step[0] for step in steps], alone))
results["draws"] = np.reshape(steps, -1).tolist()

# === Batches ===

seen = []


class Witness(keras.layers.Layer):
    def call(self, inputs):
        def note(numbers):
            seen.append(numbers.astype(int).tolist())

        tf.numpy_function(note, [inputs["instances"][:, 0, 0]], [])
        return inputs["instances"]


def witness():
    shapes = {
        "instances": keras.Input((2, 3), name="instances"),
        "mask": keras.Input((2,), dtype="bool", name="mask"),
    }
    model = keras.Model(shapes, keras.layers.Dense(3)(Witness()(shapes)))
    model.compile(keras.optimizers.SGD(1e-9), "mse")
    return model


def groups(n):
    x = np.zeros((n, 4, 3), "float32") + np.arange(n)[:, None, None]
    mask = np.arange(4 * n).reshape(n, 4) % 4 > 0
    return GroupedData(x, mask=mask)


data = groups(33)
dataset = lambda shard=(0, 1): batches(data, 10, 2, seed=0, shard=shard)
one_device = dataset()  # each iteration is an epoch
results["steps"] = [
    [x[:, 0, 0].numpy().astype(int).tolist() for _, x in one_device] for _ in range(2)
]
with distribute.running(strategy):
    witness().fit(dataset(), epochs=2, shuffle=False, verbose=0)
    results["fit"] = list(seen)
    seen.clear()
    model = witness()
    parts, steps = distribute.per_worker(dataset)
    model.fit(parts, steps_per_epoch=steps, epochs=2, shuffle=False, verbose=0)
    results["per worker"] = list(seen)
try:
    with distribute.running(strategy):
        model.evaluate(batches(groups(31), 10, 2), verbose=0)
except InputError as error:
    results["short"] = str(error)
with strategy.scope():
    model = witness()
    try:
        model.fit(dataset(), shuffle=False, verbose=0)
    except Exception as error:
        results["stock"] = type(error).__name__
print(json.dumps(results))
"""


@pytest.fixture(scope="module")
def three_devices(tf, run_python) -> dict[str, Any]:
    return json.loads(run_python(_THREE_DEVICES).splitlines()[-1])


@pytest.mark.large
def test_mirrored(three_devices):
    assert three_devices["auto"]  # logical devices count as devices
    assert three_devices["replicas"] == 3
    assert three_devices["names"] == ["worker 0"]


@pytest.mark.large
def test_replicas_draw_noise_of_their_own(three_devices):
    assert three_devices["as Keras's"]
    assert three_devices["first as alone"]
    draws = three_devices["draws"]
    assert len(set(draws)) == len(draws)


@pytest.mark.large
@pytest.mark.parametrize("how", ["fit", "per worker"])
def test_replicas_share_every_batch(how, three_devices):
    """Batches are the same as on one device, for all sizes; no part is empty."""
    expected = [sorted(step) for epoch in three_devices["steps"] for step in epoch]
    parts = three_devices[how]
    found = [sum(parts[i : i + 3], []) for i in range(0, len(parts), 3)]
    assert [sorted(step) for step in found] == expected
    sizes = [sorted(map(len, parts[i : i + 3])) for i in range(0, len(parts), 3)]
    assert sizes == [[3, 3, 4], [3, 3, 4], [3, 3, 4], [1, 1, 1]] * 2


@pytest.mark.large
def test_batch_of_fewer_rows_than_replicas(three_devices):
    assert "fewer rows than the 3 parts" in three_devices["short"]
    assert "batch_size" in three_devices["short"]


@pytest.mark.large
def test_stock_keras_still_fails_on_masks(three_devices):
    assert "stock" in three_devices, (
        "Keras fits batches of bools under MirroredStrategy without patches now: check "
        "whether symae_keras/distribute/_keras_patches.py can be removed"
    )


# === Two workers ===

#: Groups are trained by a separate job; `test_conformance.py` trains all on replicas.
TWO = [
    name for name in THREE if CASES[name].n_classes is None and not CASES[name].grouped
]


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def pair(tf, tmp_path_factory, cluster) -> Iterator[Any]:
    """Return the results of two workers, and how one ended after the other's death."""
    folder = tmp_path_factory.mktemp("workers")
    said = [folder / f"{number}.txt" for number in range(2)]
    found = [folder / f"{number}.json" for number in range(2)]
    configs = cluster(2)
    script = Path(__file__).with_name("two_workers.py")
    package = str(Path(symae_keras.__file__).parents[1])
    processes: list[subprocess.Popen[bytes]] = []
    try:
        for config, path in zip(configs, said, strict=True):
            with path.open("w", encoding="utf-8") as errors:
                process = subprocess.Popen(
                    [sys.executable, script, folder, *TWO],
                    env={**os.environ, "PYTHONPATH": package, "TF_CONFIG": config},
                    stdout=subprocess.DEVNULL,
                    stderr=errors,
                )
            processes.append(process)
        patience = time.monotonic() + 1200
        while not all(path.exists() for path in found):
            for process, path in zip(processes, said, strict=True):
                assert process.poll() is None, read(path)
            assert time.monotonic() < patience, "the workers are not getting on"
            time.sleep(0.2)
        results = [json.loads(read(path)) for path in found]
        processes[1].kill()
        killed = time.monotonic()
        yield SimpleNamespace(
            addresses=json.loads(configs[0])["cluster"]["worker"],
            results=results,
            # Each job is repeated by one of the workers, as a single process.
            alone={
                key: each[key] for each in results for key in each if "alone" in key
            },
            code=processes[0].wait(120),
            seconds=time.monotonic() - killed,
            said=read(said[0]),
        )
    finally:
        for process in processes:
            process.kill()
            process.wait()


@pytest.mark.large
def test_workers_know_each_other(pair):
    names = [f"worker {i} ({address})" for i, address in enumerate(pair.addresses)]
    for number, result in enumerate(pair.results):
        assert result["worker"] == [number, 2]
        assert result["chief"] == (number == 0)
        assert result["names"] == names
        assert "same data" in result["refused"]


@pytest.mark.large
@pytest.mark.parametrize("job", ["symae", "user", *(f"case {n}" for n in TWO)])
def test_two_workers_train_as_one_process(job, pair):
    """Ten steps of gradient descent, and evaluation, agree to the last digit."""
    first, second = (each[job] for each in pair.results)
    assert first["logs"] == second["logs"]
    assert first["weights"] == second["weights"]
    alone = pair.alone[f"alone {job}"]
    assert set(first["logs"]) == set(alone["logs"])
    for key, expected in alone["logs"].items():
        assert first["logs"][key] == pytest.approx(expected, rel=1e-5, abs=1e-5), key
    np.testing.assert_allclose(first["weights"], alone["weights"], rtol=0, atol=1e-5)


@pytest.mark.large
def test_each_group_goes_to_one_worker(pair):
    first, second = (each["user"]["seen"] for each in pair.results)
    alone = pair.alone["alone user"]["seen"]
    assert [one + other for one, other in zip(first, second, strict=True)] == alone
    half = len(alone) // 2
    for epoch in (alone[:half], alone[half:]):
        assert sorted(sum(epoch, [])) == list(range(36))


@pytest.mark.large
def test_stock_keras_still_fails_on_workers(pair):
    for result in pair.results:
        assert result["stock"]["error"] is not None, (
            "Keras fits under MultiWorkerMirroredStrategy without patches now (issue "
            "20585): check if symae_keras/distribute/_keras_patches.py can be removed"
        )


@pytest.mark.large
def test_a_killed_worker_ends_the_other(pair):
    assert pair.seconds < 60
    assert pair.code == 1
    # A thread pool may print an error when the interpreter ends, which Python ignores
    # (tensorflow/tensorflow#50487).
    said = pair.said.partition("Exception ignored in")[0]
    sentence = said.splitlines()[-1]
    dead = f"Worker 1 ({pair.addresses[1]})"
    assert sentence.startswith(f"WorkerLost: {dead} stopped or cannot be reached")
    assert "Traceback" not in said
