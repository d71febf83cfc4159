"""Time and memory of training, compared with pythae, plain Keras and plain PyTorch.

Two trainings, each with the same network, batch size and optimizer everywhere:

- VAE: 10,000 rows of 784 numbers in batches of 100, hidden layers of 512, a code of 16.
- SymAE: 2,000 groups of 8 instances of 256 pixels in batches of 16, dense networks with
  hidden layers of 512 and 256, codes of 8 and 8 numbers.

Each contender runs in its own process with one thread; ours and plain Keras run on
TensorFlow and on JAX. They take turns, epoch by epoch, so that other load affects all
of them. The table has the first epoch, which includes compilation, the median of the
others with the lowest and the highest, in seconds of the processor and of the clock,
and the largest memory of the process. Ratios are medians over epochs of ours, on either
backend, over theirs. A package that is missing is skipped.

    pip install torch pythae
    python benchmarks/peers.py --out peers.json

`benchmarks/step_time.py` compares with the layer stack of the original code.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any, Final

import numpy as np

ROWS: Final = (10_000, 784)
ROWS_AT_ONCE: Final = 100
GROUPS: Final = (2_000, 8, 256)
GROUPS_AT_ONCE: Final = 16
HIDDEN: Final = 512
CODE: Final = 16
UNITS: Final = (512, 256)
FEATURES: Final = 128
CODES: Final = 8
RATE: Final = 1e-3

Epoch = Callable[[], object]


def rows() -> Any:
    """Return data of the VAE."""
    return np.random.default_rng(0).random(ROWS).astype("float32")


def groups() -> Any:
    """Return data of SymAE."""
    return np.random.default_rng(0).normal(size=GROUPS).astype("float32")


def of_keras(model: Any, x: Any, size: int) -> Epoch:
    """Return a function that trains a compiled model for an epoch."""
    options = {"batch_size": size, "epochs": 1, "verbose": 0}
    return lambda: model.fit(x, x, **options)


# === VAE ===


def our_vae() -> Epoch:
    """Return the epoch of `symae_keras.models.VAE`."""
    import keras

    from symae_keras.models import VAE

    layers = keras.layers
    hidden, output = layers.Dense(HIDDEN, "relu"), layers.Dense(ROWS[1], "sigmoid")
    decoder = keras.Sequential([hidden, output])
    model = VAE(ROWS[1:], CODE, layers.Dense(HIDDEN, "relu"), decoder, seed=0)
    model.compile(keras.optimizers.Adam(RATE), model.likelihood_loss())
    return of_keras(model, rows(), ROWS_AT_ONCE)


def keras_vae() -> Epoch:
    """Return the epoch of a VAE as tutorials of Keras write it."""
    import keras
    from keras import layers, ops

    class Sampling(layers.Layer):
        def __init__(self) -> None:
            super().__init__()
            self.generator = keras.random.SeedGenerator(0)

        def call(self, posterior: Any) -> Any:
            mean, log_variance = ops.split(posterior, 2, axis=-1)
            divergence = ops.square(mean) + ops.exp(log_variance) - log_variance - 1.0
            self.add_loss(0.5 * ops.mean(ops.sum(divergence, axis=-1)))
            noise = keras.random.normal(ops.shape(mean), seed=self.generator)
            return mean + ops.exp(0.5 * log_variance) * noise

    inputs = keras.Input(ROWS[1:])
    hidden = layers.Dense(HIDDEN, "relu")(inputs)
    code = Sampling()(layers.Dense(2 * CODE)(hidden))
    hidden = layers.Dense(HIDDEN, "relu")(code)
    model = keras.Model(inputs, layers.Dense(ROWS[1], "sigmoid")(hidden))

    def squares(y: Any, decoded: Any) -> Any:
        return 0.5 * ops.sum(ops.square(y - decoded), axis=-1)

    model.compile(keras.optimizers.Adam(RATE), squares)
    return of_keras(model, rows(), ROWS_AT_ONCE)


def pythae_vae() -> Epoch:
    """Return the epoch of pythae's trainer and VAE with their standard networks."""
    import logging

    logging.disable(logging.WARNING)
    import torch
    from pythae.data.datasets import BaseDataset
    from pythae.models import VAE, VAEConfig
    from pythae.trainers import BaseTrainer, BaseTrainerConfig

    x = torch.from_numpy(rows())
    config = BaseTrainerConfig(
        output_dir=tempfile.mkdtemp(),
        learning_rate=RATE,
        per_device_train_batch_size=ROWS_AT_ONCE,
        no_cuda=True,
    )
    trainer = BaseTrainer(
        model=VAE(VAEConfig(input_dim=ROWS[1:], latent_dim=CODE)),
        train_dataset=BaseDataset(x, torch.zeros(len(x))),
        training_config=config,
    )
    trainer.prepare_training()
    return lambda: trainer.train_step(1)


def torch_vae() -> Epoch:
    """Return the epoch of a VAE in plain PyTorch."""
    import torch
    from torch import nn

    encoder = nn.Sequential(
        nn.Linear(ROWS[1], HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 2 * CODE)
    )
    decoder = nn.Sequential(
        nn.Linear(CODE, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, ROWS[1]), nn.Sigmoid()
    )

    def loss(x: Any) -> Any:
        mean, log_variance = encoder(x).chunk(2, dim=-1)
        noise = torch.randn_like(mean)
        decoded = decoder(mean + torch.exp(0.5 * log_variance) * noise)
        divergence = mean**2 + log_variance.exp() - log_variance - 1.0
        error = ((x - decoded) ** 2).sum(-1) + divergence.sum(-1)
        return 0.5 * error.mean()

    return of_torch([encoder, decoder], loss, rows(), ROWS_AT_ONCE)


def of_torch(modules: list[Any], loss: Callable[[Any], Any], x: Any, n: int) -> Epoch:
    """Return a function that trains modules of PyTorch for an epoch."""
    import torch

    x = torch.from_numpy(x)
    weights = [each for module in modules for each in module.parameters()]
    optimizer = torch.optim.Adam(weights, RATE)

    def epoch() -> None:
        order = torch.randperm(len(x))
        for start in range(0, len(x), n):
            part = order[start : start + n]
            optimizer.zero_grad()
            loss(x[part]).backward()
            optimizer.step()

    return epoch


# === SymAE ===


def our_symae() -> Epoch:
    """Return the epoch of `symae_keras.models.SymAE`."""
    import keras

    from symae_keras.models import SymAE

    model = SymAE(GROUPS[2:], CODES, CODES, seed=0)
    model.compile(keras.optimizers.Adam(RATE), "mse")
    return of_keras(model, groups(), GROUPS_AT_ONCE)


def keras_symae() -> Epoch:
    """Return the epoch of a twin of layers that all users of Keras have."""
    import keras
    from keras import layers, ops

    def dense(x: Any, *units: int) -> Any:
        for n in units:
            x = layers.Dense(n, "gelu")(x)
        return x

    def joined(coherent: Any, each: Any) -> Any:
        repeated = layers.RepeatVector(GROUPS[1])(coherent)
        return layers.Concatenate()([repeated, each])

    x = keras.Input(GROUPS[1:])
    features = layers.Dense(FEATURES)(dense(x, *UNITS))
    pooled = layers.GlobalAveragePooling1D()(features)
    coherent = layers.Dense(CODES)(dense(pooled, FEATURES))
    features = layers.Dense(FEATURES)(dense(x, *UNITS))
    nuisance = layers.Dense(CODES)(dense(joined(coherent, features), FEATURES))
    nuisance = layers.GaussianDropout(0.2)(nuisance)
    hidden = dense(joined(coherent, nuisance), *UNITS[::-1])
    model = keras.Model(x, layers.Dense(GROUPS[2])(hidden))
    model.compile(
        keras.optimizers.Adam(RATE), lambda y, z: ops.mean(ops.square(y - z), axis=-1)
    )
    return of_keras(model, groups(), GROUPS_AT_ONCE)


def torch_symae() -> Epoch:
    """Return the epoch of the same network in plain PyTorch."""
    import torch
    from torch import nn

    def dense(size: int, *units: int, last: int) -> Any:
        parts: list[Any] = []
        for n in units:
            parts += [nn.Linear(size, n), nn.GELU()]
            size = n
        return nn.Sequential(*parts, nn.Linear(size, last))

    first, second = (dense(GROUPS[2], *UNITS, last=FEATURES) for _ in range(2))
    of_group = dense(FEATURES, FEATURES, last=CODES)
    of_each = dense(CODES + FEATURES, FEATURES, last=CODES)
    decoder = dense(2 * CODES, *UNITS[::-1], last=GROUPS[2])

    def joined(coherent: Any, each: Any) -> Any:
        repeated = coherent[:, None].expand(-1, each.shape[1], -1)
        return torch.cat([repeated, each], dim=-1)

    def loss(x: Any) -> Any:
        coherent = of_group(first(x).mean(1))
        nuisance = of_each(joined(coherent, second(x)))
        nuisance = nuisance * (1.0 + 0.5 * torch.randn_like(nuisance))
        return ((decoder(joined(coherent, nuisance)) - x) ** 2).mean()

    modules = [first, second, of_group, of_each, decoder]
    return of_torch(modules, loss, groups(), GROUPS_AT_ONCE)


#: Contenders of each training; ours is the first. Keras runs on the backend that the
#: name ends with, or on TensorFlow.
CONTENDERS: Final[dict[str, dict[str, Callable[[], Epoch]]]] = {
    "VAE": {
        "symae_keras": our_vae,
        "symae_keras, JAX": our_vae,
        "plain Keras": keras_vae,
        "plain Keras, JAX": keras_vae,
        "pythae": pythae_vae,
        "plain PyTorch": torch_vae,
    },
    "SymAE": {
        "symae_keras": our_symae,
        "symae_keras, JAX": our_symae,
        "plain Keras": keras_symae,
        "plain Keras, JAX": keras_symae,
        "plain PyTorch": torch_symae,
    },
}

# === Processes ===


def serve(training: str, name: str) -> None:
    """Train an epoch for each line of the input, and print what it cost."""
    try:
        epoch = CONTENDERS[training][name]()
    except ModuleNotFoundError as error:
        print(json.dumps({"missing": error.name}), flush=True)
        return
    print(json.dumps({}), flush=True)
    # Trainers print progress.
    out, sys.stdout = sys.stdout, open(os.devnull, "w", encoding="utf-8")
    for _ in sys.stdin:
        cpu, wall = time.process_time(), time.perf_counter()
        epoch()
        cost = {
            "cpu": time.process_time() - cpu,
            "wall": time.perf_counter() - wall,
            "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
        }
        print(json.dumps(cost), file=out, flush=True)


class Contender:
    """A process that trains one model when asked to."""

    def __init__(self, training: str, name: str) -> None:
        threads = ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS")
        environment = {
            "TF_CPP_MIN_LOG_LEVEL": "3",
            "KERAS_BACKEND": "jax" if name.endswith("JAX") else "tensorflow",
            "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false",
        }
        self.process = subprocess.Popen(
            [sys.executable, __file__, "--serve", training, name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, **dict.fromkeys(threads, "1"), **environment},
        )
        self.missing = self._answer().get("missing")

    def _answer(self) -> dict[str, Any]:
        line = self.process.stdout.readline() if self.process.stdout else ""
        if not line:
            raise RuntimeError(f"{self.process.args!r} ended without an answer.")
        return dict(json.loads(line))

    def epoch(self) -> dict[str, Any]:
        """Train one epoch and return its cost."""
        assert self.process.stdin is not None
        print(file=self.process.stdin, flush=True)
        return self._answer()

    def close(self) -> None:
        """End the process."""
        self.process.communicate()


def compare(training: str, epochs: int) -> list[dict[str, Any]]:
    """Train all contenders in turn and return the rows of the table."""
    running: dict[str, Contender] = {}
    for name in CONTENDERS[training]:
        contender = Contender(training, name)
        if contender.missing:
            print(f"{training}, {name}: skipped, {contender.missing} is not installed.")
        else:
            running[name] = contender
    costs: dict[str, list[dict[str, Any]]] = {name: [] for name in running}
    for _ in range(epochs + 1):
        for name, contender in running.items():
            costs[name].append(contender.epoch())
    for contender in running.values():
        contender.close()
    cpu = {name: [each["cpu"] for each in found[1:]] for name, found in costs.items()}
    table = []
    for name, found in costs.items():
        ratios = {
            f"{ours} / theirs": float(np.median(np.divide(cpu[ours], cpu[name])))
            for ours in cpu
            if ours.startswith("symae_keras")
        }
        table.append(
            {
                "training": training,
                "package": name,
                "first epoch, CPU (s)": found[0]["cpu"],
                "epoch, CPU (s)": float(np.median(cpu[name])),
                "lowest": min(cpu[name]),
                "highest": max(cpu[name]),
                "epoch, clock (s)": float(np.median([f["wall"] for f in found[1:]])),
                "memory (GB)": found[-1]["memory"],
                **ratios,
            }
        )
    return table


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--epochs", type=int, default=8, help="after the first")
    parser.add_argument("--serve", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--out", help="JSON file for the results")
    arguments = parser.parse_args()
    if arguments.serve:
        serve(*arguments.serve)
        return
    from common import print_table, write_json

    table = [row for name in CONTENDERS for row in compare(name, arguments.epochs)]
    print_table(table, list(table[0]))
    if arguments.out:
        write_json(arguments.out, table)


if __name__ == "__main__":
    main()
