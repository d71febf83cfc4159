"""Mutated files of all kinds: the part of `benchmarks/fuzz.py` that takes seconds."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))

import fuzz_judge
import fuzz_runs
from fuzz_files import KINDS

from symae_keras.data import GroupedData

pytestmark = pytest.mark.large

SEED = 0


def bad(judge, kind, count):
    """Format failed cases, one per line, with the options that repeat them."""
    found = {case: judge(SEED, case) for case in range(count)}
    return "\n".join(
        f"{outcome.name}: --only {kind} --case {case} --seed {SEED}: "
        f"{outcome.mutation}: {outcome.detail}"
        for case, outcome in found.items()
        if outcome.name in fuzz_judge.BAD
    )


@pytest.mark.parametrize("kind", KINDS)
def test_data_files(tmp_path, kind):
    # The constructor reads the valid example and compares it with the truth.
    judge = fuzz_judge.Files(kind, tmp_path / "files")
    assert not judge.refusal or "comma" in judge.refusal
    assert bad(judge, kind, 24) == ""


def test_runs_and_presets(tmp_path):
    base = tmp_path / "made"
    base.mkdir()
    kinds = fuzz_runs.make(base)
    run = ("config.json", "environment.json", "figures", "history.csv", "metrics.json")
    preset = ("README.md", "config.json", "metadata.json", "model.weights.h5")
    assert set(kinds) >= {
        *("run/model.keras", *(f"run/{name}" for name in run)),
        *(f"preset/{name}" for name in preset),
    }
    found, judges = "", {}
    for kind in kinds:
        # The valid run and the valid preset are used once each.
        folder = kind.split("/")[0]
        if folder not in judges:
            judges[folder] = fuzz_runs.Runs(kind, tmp_path / folder, base)
        judges[folder].kind = kind
        found += bad(judges[folder], kind, 2)
    assert found == ""


@pytest.mark.parametrize(
    ("found", "name"),
    [
        (GroupedData(np.random.default_rng(0).normal(size=(4, 3, 10))), "silent wrong"),
        (KeyError("x"), "traceback"),
        (MemoryError(), "memory"),
        (fuzz_judge.InputError("x is empty."), "refused"),
        (fuzz_judge.InputError("x is empty"), "bad sentence"),
        (fuzz_judge.InputError("x is\nempty."), "bad sentence"),
        (fuzz_judge.InputError(500 * "x" + "."), "bad sentence"),
    ],
)
def test_outcomes_are_distinguished(monkeypatch, tmp_path, found, name):
    def load(path):
        if isinstance(found, Exception):
            raise found
        return found

    judge = fuzz_judge.Files("npy", tmp_path / "files")
    monkeypatch.setattr(fuzz_judge, "load", load)
    assert judge(SEED, 0).name == name


def test_too_slow(monkeypatch):
    with pytest.raises(fuzz_judge.Late), fuzz_judge.bounded(0.05, 1 << 30):
        while True:
            pass


def test_the_seed_decides(tmp_path):
    one = fuzz_judge.Files("csv-wide", tmp_path / "one")
    other = fuzz_judge.Files("csv-wide", tmp_path / "other")
    assert one(1, 5).mutation == other(1, 5).mutation != one(2, 5).mutation
