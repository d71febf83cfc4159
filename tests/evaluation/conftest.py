"""Codes with known answers for all measures: perfect, leaking and random codes."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from symae_keras.data import GroupedData

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
N_GROUPS, N_INSTANCES = 300, 4


@pytest.fixture
def import_benchmark(monkeypatch) -> Iterator[Callable[[str], Any]]:
    """Return a function that imports a benchmark, for one test only."""
    if not BENCHMARKS.exists():
        pytest.skip("needs the folder benchmarks of the repository")
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    before = set(sys.modules)
    yield importlib.import_module
    for name in set(sys.modules) - before:
        file = getattr(sys.modules[name], "__file__", None)
        if file and Path(file).parent == BENCHMARKS:
            del sys.modules[name]


class KnownModel:
    """Codes of instances whose first half is the state, the other half the nuisance.

    - `"perfect"`: each code holds what it should and nothing else.
    - `"leaking"`: each holds all there is, and the decoder reads the nuisance code
      alone, so that reconstructions are as good as the perfect ones.
    - `"random"`: codes that are independent of the data.
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.rng = np.random.default_rng(7)

    def encode(self, x, mask=None):
        if self.kind == "random":
            coherent = self.rng.normal(size=(len(x), 2))
            return coherent, self.rng.normal(size=(*x.shape[:2], 2))
        present = np.ones(x.shape[:2], bool) if mask is None else mask
        total = np.where(present[..., None], x, 0.0).sum(axis=1)
        mean, half = total / present.sum(axis=1)[:, None], x.shape[-1] // 2
        if self.kind == "leaking":
            return mean, x
        return mean[:, :half], x[..., half:]

    def decode(self, coherent, nuisance):
        if self.kind == "leaking":
            return nuisance
        instances = nuisance.shape[1]
        return np.concatenate([coherent[:, None].repeat(instances, 1), nuisance], -1)

    def redatum(
        self, coherent_from, nuisance_from, coherent_mask=None, nuisance_mask=None
    ):
        coherent, _ = self.encode(coherent_from, coherent_mask)
        return self.decode(coherent, self.encode(nuisance_from, nuisance_mask)[1])

    def reconstruct(self, x, mask=None):
        return self.decode(*self.encode(x, mask))


class Oracle:
    """Model that identifies each group by its first instance, and redatums exactly."""

    def __init__(self, groups: GroupedData) -> None:
        self.groups = groups
        self.index = {x[0].tobytes(): i for i, x in enumerate(groups.x)}
        self.masks_seen: list[object] = []

    def redatum(self, coherent_from, nuisance_from, coherent_mask, nuisance_mask):
        self.masks_seen += [coherent_mask, nuisance_mask]
        state, lender = (
            np.array([self.index[np.asarray(x)[0].tobytes()] for x in groups])[:, None]
            for groups in (coherent_from, nuisance_from)
        )
        return self.groups.virtual(state, lender, np.arange(nuisance_from.shape[1]))

    def reconstruct(self, x, mask):
        return self.redatum(x, x, mask, mask)


@pytest.fixture(scope="session")
def oracle() -> type[Oracle]:
    """Return the class of models that use the ground truth."""
    return Oracle


@pytest.fixture(scope="session")
def known_model() -> Callable[[str], KnownModel]:
    """Return a function that builds a model of a kind."""
    return KnownModel


@pytest.fixture(scope="session")
def known_groups() -> GroupedData:
    """Instances of four pixels of unit variance."""
    rng = np.random.default_rng(0)
    state = {name: rng.normal(size=N_GROUPS) for name in ("level", "tilt")}
    shape = N_GROUPS, N_INSTANCES
    nuisance = {name: rng.normal(size=shape) for name in ("gain", "offset")}

    def render(state, nuisance):
        columns = [*state.values(), *nuisance.values()]
        return np.stack(columns, axis=-1).astype("float32")

    each = {name: np.repeat(v[:, None], N_INSTANCES, 1) for name, v in state.items()}
    return GroupedData(
        render(each, nuisance), state=state, nuisance=nuisance, render=render
    )
