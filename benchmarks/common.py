"""Shared functions of the benchmarks: print a table, and write results to disk."""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import shlex
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from symae_keras.data import GroupedData

#: A layer, and the shapes of its input and output.
KernelCall = tuple[Any, tuple[int, ...], tuple[int, ...]]

_PACKAGES = ("keras", "tensorflow", "jax", "torch", "numpy", "scikit-learn")


def environment() -> dict[str, Any]:
    """Return versions, machine and command line, on which results depend."""
    import keras

    import symae_keras

    versions = {"symae_keras": symae_keras.__version__}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    command = ["python", *sys.argv]
    if "--out" in command:  # the output path does not affect the results
        place = command.index("--out")
        del command[place : place + 2]
    return {
        "command": shlex.join(command),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu_cores": os.cpu_count(),
        "backend": keras.backend.backend(),
        "versions": versions,
    }


def worker_environments(count: int) -> list[dict[str, str]]:
    """Return environment variables of several workers, or of one process, for 1."""
    if count == 1:
        return [dict(os.environ)]
    sockets = [socket.create_server(("localhost", 0)) for _ in range(count)]
    workers = [f"localhost:{each.getsockname()[1]}" for each in sockets]
    for each in sockets:
        each.close()
    cluster = {"worker": workers}
    tasks = [{"type": "worker", "index": index} for index in range(count)]
    return [
        {**os.environ, "TF_CONFIG": json.dumps({"cluster": cluster, "task": task})}
        for task in tasks
    ]


def with_noise(groups: GroupedData, snr: float, seed: int) -> GroupedData:
    """Return simulated groups with other pixel noise: a fraction `1 / snr` of 1."""
    group, instance = np.indices(groups.x.shape[:2])
    clean = groups.virtual(group, group, instance)
    noise = np.random.default_rng([seed, 1]).normal(size=clean.shape) / snr
    return dataclasses.replace(groups, x=(clean + noise).astype("float32"))


def kernel_calls(model: Any, x: Any) -> list[KernelCall]:
    """Call a model, and return its convolutions and dense layers with their shapes."""
    from keras import layers

    kinds = (
        *(layers.Dense, layers.Conv1D, layers.Conv2D),
        *(layers.Conv1DTranspose, layers.Conv2DTranspose),
    )
    calls: list[KernelCall] = []
    kept: list[tuple[Any, Callable[..., Any]]] = []

    def watch(layer: Any) -> None:
        call = layer.call

        def recording(inputs: Any, *args: Any, **kwargs: Any) -> Any:
            output = call(inputs, *args, **kwargs)
            calls.append((layer, tuple(inputs.shape), tuple(output.shape)))
            return output

        kept.append((layer, call))
        layer.call = recording

    for layer in model._flatten_layers():
        if isinstance(layer, kinds):
            watch(layer)
    try:
        model(x)
    finally:
        for layer, call in kept:
            layer.call = call
    return calls


def write_json(path: str | Path, results: Any) -> None:
    """Write results together with a description of the environment.

    Args:
        path: File to write; its folder is created.
        results: Any value that JSON supports.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    record = {"environment": environment(), "results": results}
    path.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def print_table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> None:
    """Print rows as a table.

    Args:
        rows: One mapping per row; missing keys are left blank. Floats are printed with
            three significant digits.
        columns: The keys to print, which are also the headings.
    """
    table = Table(*columns)
    for row in rows:
        table.add_row(*(_shown(row.get(column)) for column in columns))
    # Without a terminal, headings should not be truncated.
    Console(width=None if sys.stdout.isatty() else 120).print(table)


def _shown(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.3g}" if isinstance(value, float) else str(value)
