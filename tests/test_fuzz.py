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

SEED = 0
#: Kinds of files in a run folder and a preset.
FILES = (
    "run/config.json",
    "run/environment.json",
    "run/figures",
    "run/history.csv",
    "run/metrics.json",
    "run/model.keras",
    "preset/README.md",
    "preset/config.json",
    "preset/metadata.json",
    "preset/model.weights.h5",
)


def bad(judge, kind, count):
    """Cases that must not happen, a line each, with the options that repeat it."""
    found = {case: judge(SEED, case) for case in range(count)}
    return "\n".join(
        f"{outcome.name}: --only {kind} --case {case} --seed {SEED}: "
        f"{outcome.mutation}: {outcome.detail}"
        for case, outcome in found.items()
        if outcome.name in fuzz_judge.BAD
    )


@pytest.mark.large
@pytest.mark.parametrize("kind", KINDS)
def test_data_files(tmp_path, kind):
    # Making the judge reads the good example and compares it with the truth.
    judge = fuzz_judge.Files(kind, tmp_path / "files")
    assert not judge.refusal or "comma" in judge.refusal
    assert bad(judge, kind, 40) == ""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with a run and a preset, and the kinds of files in them."""
    folder = tmp_path_factory.mktemp("fuzz")
    return folder, fuzz_runs.make(folder)


@pytest.mark.large
@pytest.mark.parametrize("kind", FILES)
def test_runs_and_presets(tmp_path, made, kind):
    base, kinds = made
    assert kind in kinds
    judge = fuzz_runs.Runs(kind, tmp_path / "files", base)
    assert bad(judge, kind, 4) == ""


@pytest.mark.large
def test_other_files_of_runs_and_presets(tmp_path, made):
    base, kinds = made
    for kind in set(kinds) - set(FILES):
        judge = fuzz_runs.Runs(kind, tmp_path / kind.replace("/", "-"), base)
        assert bad(judge, kind, 4) == ""


def judged_with(monkeypatch, tmp_path, load, kind="npy", case=0):
    judge = fuzz_judge.Files(kind, tmp_path / "files")
    monkeypatch.setattr(fuzz_judge, "load", load)
    return judge(SEED, case).name


@pytest.mark.large
def test_a_wrong_reading_is_found(monkeypatch, tmp_path):
    def load(path):
        return GroupedData(np.random.default_rng(0).normal(size=(4, 3, 10)))

    assert judged_with(monkeypatch, tmp_path, load) == "silent wrong"


@pytest.mark.large
@pytest.mark.parametrize(
    ("error", "name"),
    [
        (KeyError("x"), "traceback"),
        (MemoryError(), "memory"),
        (fuzz_judge.InputError("x is empty."), "refused"),
        (fuzz_judge.InputError("x is empty"), "bad sentence"),
        (fuzz_judge.InputError("x is\nempty."), "bad sentence"),
        (fuzz_judge.InputError(500 * "x" + "."), "bad sentence"),
    ],
)
def test_errors_are_told_apart(monkeypatch, tmp_path, error, name):
    def load(path):
        raise error

    assert judged_with(monkeypatch, tmp_path, load) == name


@pytest.mark.large
def test_too_slow(monkeypatch):
    with pytest.raises(fuzz_judge.Late), fuzz_judge.bounded(0.05, 1 << 30):
        while True:
            pass


@pytest.mark.large
def test_the_seed_decides(tmp_path):
    one = fuzz_judge.Files("csv-wide", tmp_path / "one")
    other = fuzz_judge.Files("csv-wide", tmp_path / "other")
    assert one(1, 5).mutation == other(1, 5).mutation != one(2, 5).mutation
