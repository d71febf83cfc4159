"""Settings and helpers of the whole test suite."""

from __future__ import annotations

import contextlib
import functools
import gc
import importlib
import inspect
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# On JAX, most of the time is spent on compilation, for small networks. Processes that
# tests start get these options, too.
os.environ.setdefault(
    "XLA_FLAGS",
    "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true "
    "--xla_cpu_parallel_codegen_split_count=1 --xla_cpu_use_fusion_emitters=false",
)
# Each process of pytest-xdist has one core.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")

import fast_adam
import hypothesis
import keras
import numpy as np
import pytest
from matplotlib.layout_engine import ConstrainedLayoutEngine

import symae_keras
from symae_keras._utils import compiled

# Compiling a method takes as long as about ten calls.
compiled.CALLS_BEFORE = 8

# Python looks for garbage after 700 new objects, which a few operations make.
gc.set_threshold(20_000, 20, 20)

_delete = keras.Layer.__delattr__


def _delete_at_once(layer: keras.Layer, name: str) -> None:
    """Delete an attribute without a collection of garbage, as Keras does for weights.

    Each takes half a second, and each layer that is quantized or adapted needs several.
    """
    with mock.patch.object(gc, "collect"):
        _delete(layer, name)


keras.Layer.__delattr__ = _delete_at_once

# Every run uses the same examples, so that no test fails by chance.
hypothesis.settings.register_profile(
    "suite", deadline=None, max_examples=20, derandomize=True, database=None
)
hypothesis.settings.load_profile("suite")

# A background job of a shell ignores SIGINT, as do its children, but tests send it.
signal.signal(signal.SIGINT, signal.default_int_handler)


if keras.backend.backend() == "tensorflow":
    import tensorflow
    from tensorflow.python import pywrap_tfe
    from tensorflow.python.framework import ops

    # TensorFlow drops all kernels when a seed is set, as before every test; making them
    # again takes a third of the time. Keras passes its seeds to kernels as inputs.
    pywrap_tfe.TFE_ContextClearCaches = lambda context: None

    # TensorFlow keeps the lines of all callers of each operation of a graph to describe
    # failures, which takes a fifteenth of the time.
    ops._create_c_op = functools.partial(ops._create_c_op, extract_traceback=False)

    # Grappler takes longer to optimise the graphs of small networks, and of datasets in
    # every epoch, than their few steps gain.
    tensorflow.config.optimizer.set_experimental_options(
        {"disable_meta_optimizer": True}
    )

    fast_adam.use()

if keras.backend.backend() == "torch":
    import torch

    def _array(tensor, *arguments, **keywords):
        return as_ever(tensor.detach(), *arguments, **keywords)

    # Let NumPy read arrays with gradients, as on other backends.
    as_ever, torch.Tensor.__array__ = torch.Tensor.__array__, _array


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark examples that train models, and what is slow on JAX, as large."""
    parts = ("models/", "evaluation/", "callbacks/", "sklearn.py")
    for item in items:
        if isinstance(item, pytest.DoctestItem):
            # Hooks of this file do not apply to other folders.
            item.runtest = _eagerly(item.runtest)
        if item.nodeid.startswith(tuple(f"symae_keras/{each}" for each in parts)):
            item.add_marker(pytest.mark.large)
        if keras.backend.backend() == "jax" and item.get_closest_marker("compiles"):
            item.add_marker(pytest.mark.large)


def pytest_sessionstart() -> None:
    """Import the tests without looking for garbage."""
    gc.disable()


def pytest_collection_finish() -> None:
    """Exclude all imported objects from collections of garbage."""
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="module", autouse=True)
def _swept():
    """Collect the garbage of a file, and exclude what is left from later collections.

    Otherwise, collections take longer with every file.
    """
    yield
    gc.collect()
    gc.freeze()


def _eagerly(run: Callable[[], None]) -> Callable[[], None]:
    """Train eagerly, because tracing takes longer than the few steps of examples."""

    def run_eagerly() -> None:
        with pytest.MonkeyPatch.context() as patch:
            _compile_eagerly(patch)
            run()

    return run_eagerly


def _compile_eagerly(patch: pytest.MonkeyPatch) -> None:
    eager = functools.partialmethod(keras.Model.compile, run_eagerly=True)
    patch.setattr(keras.Model, "compile", eager)


@pytest.fixture(autouse=True)
def _fresh_keras():
    """Set all seeds, and restore global settings after a test."""
    keras.utils.set_random_seed(0)
    policy = keras.config.dtype_policy()
    yield
    keras.config.set_dtype_policy(policy)


@pytest.fixture
def eager(monkeypatch):
    """Skip tracing, which takes most of the time of a tiny training."""
    _compile_eagerly(monkeypatch)


@pytest.fixture(scope="session")
def tf():
    """Return TensorFlow, for tests that need its tape or its tracing."""
    if keras.backend.backend() != "tensorflow":
        pytest.skip("needs the TensorFlow backend")
    import tensorflow

    return tensorflow


@pytest.fixture(scope="module")
def optimised(tf) -> Iterator[None]:
    """Use Grappler again, which saves more than it costs in hundreds of steps."""
    options = tf.config.optimizer.set_experimental_options
    options({"disable_meta_optimizer": False})
    yield
    options({"disable_meta_optimizer": True})


@pytest.fixture(scope="session")
def run_python() -> Callable[..., str]:
    """Run code in a new process and return its output."""

    def run(code: str, *arguments: object, backend: str = "tensorflow") -> str:
        root = str(Path(symae_keras.__file__).parents[1])
        path = os.environ.get("PYTHONPATH")
        # Such processes make little garbage, but imports would look for it.
        code = f"import gc; gc.disable()\n{code}"
        finished = subprocess.run(
            [sys.executable, "-c", code, *map(str, arguments)],
            env={
                **os.environ,
                "KERAS_BACKEND": backend,
                "PYTHONPATH": f"{root}{os.pathsep}{path}" if path else root,
            },
            capture_output=True,
            text=True,
            timeout=1200,
        )
        assert finished.returncode == 0, finished.stderr
        return finished.stdout

    return run


@pytest.fixture(scope="session")
def cluster() -> Callable[[int], list[str]]:
    """Return a function that gives TF_CONFIG to each worker on this machine."""

    def make(count: int) -> list[str]:
        with contextlib.ExitStack() as stack:
            sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
            for each in sockets:
                each.bind(("127.0.0.1", 0))
            ports = [each.getsockname()[1] for each in sockets]
        workers = [f"127.0.0.1:{port}" for port in ports]
        return [
            json.dumps(
                {
                    "cluster": {"worker": workers},
                    "task": {"type": "worker", "index": index},
                }
            )
            for index in range(count)
        ]

    return make


@pytest.fixture
def unarranged(monkeypatch):
    """Draw figures without arranging their parts, which takes half of the time.

    `test_plotting.py` tests the arrangement.
    """
    monkeypatch.setattr(ConstrainedLayoutEngine, "execute", lambda *_: None)


@pytest.fixture(scope="module")
def short_probes() -> Iterator[None]:
    """Measure leakage coarsely, with networks of few epochs."""
    # The package has a function with the module's name.
    module = importlib.import_module("symae_keras.evaluation.leakage")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_MOST_EPOCHS", 5)
        yield


@pytest.fixture(scope="session")
def estimate_coarsely() -> Callable[[pytest.MonkeyPatch], None]:
    """Return a function so that errors are estimated from one swap instead of eight."""
    function = symae_keras.evaluation.estimate_redatuming_error
    assert inspect.signature(function).parameters["n_donors"].default == 8
    few = 1, *function.__defaults__[1:]
    return lambda patch: patch.setattr(function, "__defaults__", few)


@pytest.fixture
def few_donors(monkeypatch, estimate_coarsely) -> None:
    """Estimate redatuming errors coarsely."""
    estimate_coarsely(monkeypatch)


@pytest.fixture
def rng() -> np.random.Generator:
    """Return a random generator with the same numbers in every run."""
    return np.random.default_rng(0)


# === Files and commands ===


class Result(NamedTuple):
    """Exit code and output of a command."""

    code: int
    out: str
    err: str


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """Use an empty current folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def symae(capfd) -> Callable[..., Result]:
    """Run the command line in this process and capture its output."""
    from symae_keras import cli

    def run(*args: object) -> Result:
        capfd.readouterr()
        code = cli.main([str(each) for each in args])
        return Result(code, *capfd.readouterr())

    return run


@pytest.fixture
def succeeds(symae) -> Callable[..., Result]:
    """Run a command that must succeed."""

    def run(*args: object) -> Result:
        result = symae(*args)
        assert result.code == 0, result.err
        return result

    return run


@pytest.fixture
def refuses(symae, here, listing) -> Callable[..., str]:
    """Check that a command fails with one sentence and writes nothing; return it."""

    def run(*args: object) -> str:
        before = listing(here)
        code, out, err = symae(*args)
        assert (code, out) == (2, ""), err
        *progress, last = err.splitlines()
        assert all(line.endswith(" done") for line in progress), err
        assert last.startswith("symae: ")
        assert listing(here) == before
        return last

    return run


@pytest.fixture(scope="session")
def listing() -> Callable[[Path], list[tuple[str, int]]]:
    """List every path in a folder with the time of its last change."""
    return lambda folder: sorted(
        (str(path), path.lstat().st_mtime_ns) for path in folder.rglob("*")
    )


@pytest.fixture(scope="session")
def edited() -> Callable[[Path], contextlib.AbstractContextManager[Any]]:
    """Change the content of a JSON file in the body of a `with` statement."""

    @contextlib.contextmanager
    def edit(path: Path) -> Iterator[Any]:
        content = json.loads(path.read_text(encoding="utf-8"))
        yield content
        path.write_text(json.dumps(content), encoding="utf-8")

    return edit
