"""`symae tune`."""

from __future__ import annotations

import csv
import os
import sys

import numpy as np
import pytest

from symae_keras._utils.files import read_json
from symae_keras._utils.folders import Draft
from symae_keras.cli._run_folder import load_run
from symae_keras.cli.tune import _CONTENTS
from symae_keras.evaluation import tuning
from symae_keras.training.checkpoint import read_history

pytest.importorskip("optuna")


@pytest.fixture(autouse=True)
def _short(monkeypatch):
    """Two epochs for each training."""
    for where in ("symae_keras.training", "symae_keras.training.fit"):
        monkeypatch.setattr(f"{where}.EPOCHS", 2)
        monkeypatch.setattr(f"{where}.MIN_UPDATES", 0)


@pytest.fixture(scope="session")
def few_pixels(tmp_path_factory):
    """Groups that train fast."""
    x = np.random.default_rng(0).normal(size=(20, 3, 6)).astype("float32")
    x += np.random.default_rng(1).normal(size=(20, 1, 6))
    path = tmp_path_factory.mktemp("data") / "few.npz"
    mask = np.ones((20, 3), bool)
    mask[::4, 2] = False
    np.savez(path, x=x, mask=mask)
    return path


@pytest.fixture
def command(few_pixels, here):
    """A search with two trials."""
    return "tune", "--data", few_pixels, "--out", here / "run", "--trials", 2


# === The run folder ===


@pytest.mark.large
def test_tune_ends_with_a_run_folder(succeeds, refuses, command, here, few_pixels):
    _, out, err = succeeds(*command)
    run = here / "run"
    assert os.listdir(here) == ["run"]
    assert sorted(os.listdir(run)) == [
        *(".symae.json", "config.json", "environment.json", "figures", "history.csv"),
        *("metrics.json", "model.keras", "recipe.py", "study.db", "trials.csv"),
    ]
    assert (run / "figures" / "trials.png").read_bytes().startswith(b"\x89PNG")
    with (run / "trials.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["number"] for row in rows] == ["0", "1"]
    best = min(rows, key=lambda row: float(row["estimate"]))
    config = read_json(run / "config.json")
    assert config["recipe"]["name"] == "run"
    assert config["recipe"]["source"] == str(run / "recipe.py")
    assert config["tuning"]["trials"] == 2
    assert str(config["tuning"]["chosen"]["number"]) == best["number"]
    model = load_run(run).model
    for name in ("coherent_dim", "nuisance_dim"):
        assert getattr(model, name) == int(best[name])
    # The output has each trial, the table, and the errors of the held-out groups.
    assert "trial 0: 8 + 8 numbers, gaussian 0.5, width 1, linear backbone: 0%" in err
    assert "2 trials; the best ones" in out
    assert read_json(run / "metrics.json")["verdict"] in out

    # The run folder is an ordinary one: it is evaluated, kept, and its recipe can be
    # used.
    succeeds("evaluate", run)
    assert "--force" in refuses(*command)
    assert "already complete" in succeeds(*command, "--resume").out
    assert "seed: 0, not 1" in refuses(*command, "--resume", "--seed", 1)
    again = ("train", run / "recipe.py", "--data", few_pixels, "--out", here / "again")
    succeeds(*again)
    first, second = (read_history(here / n / "history.csv") for n in ("run", "again"))
    assert [row["loss"] for row in first] == [row["loss"] for row in second]
    # Nothing foreign is in the folder, so that it may be replaced.
    Draft(run, _CONTENTS, resume=None, force=True)


@pytest.mark.large
def test_a_search_is_resumed_after_its_last_trial(
    symae, succeeds, refuses, command, here, monkeypatch
):
    run = tuning._Runner.run
    ran = []

    def counted(self, study):
        ran.append(1)
        if len(ran) == 2:
            raise MemoryError
        return run(self, study)

    monkeypatch.setattr(tuning._Runner, "run", counted)
    code, _, err = symae(*command)
    assert code == 1 and os.listdir(here) == ["run.partial"]
    assert "--resume" in refuses(*command)
    assert "seed: 0, not 3" in refuses(*command, "--resume", "--seed", 3)
    succeeds(*command, "--resume")
    assert len(ran) == 3 and os.listdir(here) == ["run"]


@pytest.mark.large
def test_interruptions(symae, succeeds, command, here, monkeypatch):
    """The first Ctrl-C ends the search, the second one the final training."""
    run, fit = tuning._Runner.run, "symae_keras.cli.train._fit"
    ran = []

    def interrupted(self, study):
        ran.append(1)
        if len(ran) == 2:
            raise KeyboardInterrupt
        return run(self, study)

    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(tuning._Runner, "run", interrupted)
    with monkeypatch.context() as patch:
        patch.setattr(fit, stop)
        code, _, err = symae(*command)
    assert code == 1
    assert "the search was interrupted after 1 trials; " in err
    last = err.splitlines()[-1]
    assert "interrupted; " in last and "run.partial is kept" in last
    # The search is complete; only the final training is resumed.
    succeeds(*command, "--resume")
    assert len(ran) == 2
    assert read_json(here / "run" / "config.json")["tuning"]["trials"] == 1


def test_an_interruption_of_the_first_trial_leaves_nothing(
    symae, command, here, monkeypatch
):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(tuning._Rungs, "on_epoch_end", stop)
    code, _, err = symae(*command)
    assert code == 1 and err.splitlines()[-1] == "symae: interrupted"
    assert os.listdir(here) == []


@pytest.mark.large
def test_data_in_shards(succeeds, few_pixels, here):
    succeeds("data", "convert", few_pixels, "--out", here / "shards")
    command = ("tune", "--data", here / "shards", "--out", here / "run", "--trials", 1)
    succeeds(*command)
    config = read_json(here / "run" / "config.json")
    assert config["groups"] == {"train": 16, "held_out": 4}


def test_a_budget_too_small_for_one_trial(succeeds, few_pixels, here):
    command = ("tune", "--data", few_pixels, "--out", here / "run", "--budget", "0.1s")
    _, out, err = succeeds(*command)
    assert "too small for one trial, so the default settings are used" in err
    assert "trial 0" not in out
    assert load_run(here / "run").model.coherent_dim == 8
    assert read_json(here / "run" / "config.json")["tuning"]["chosen"] is None


# === Invalid arguments ===


@pytest.mark.parametrize("budget", ["15x", "0m", "m", "-3m", "nanm", "1e3s", ""])
def test_budgets_that_are_none(refuses, command, budget):
    err = refuses(*command, "--budget", budget)
    assert "such as 90s, 15m or 2h" in err and repr(budget) in err


def test_without_optuna(refuses, command, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    assert 'pip install "symae_keras[tune]"' in refuses(*command)


def test_folders_and_data_that_cannot_be_used(refuses, few_pixels, here):
    (here / "taken").mkdir()
    (here / "taken" / "notes.txt").write_text("mine", encoding="utf-8")
    assert "is not empty" in refuses("tune", "--data", few_pixels, "--out", "taken")
    force = ("tune", "--data", few_pixels, "--out", "taken", "--force")
    assert "notes.txt" in refuses(*force)
    assert "missing.npz" in refuses("tune", "--data", "missing.npz", "--out", "run")
    np.savez(here / "one.npz", x=np.ones((20, 3, 6)))
    assert "nothing to learn" in refuses("tune", "--data", "one.npz", "--out", "run")
    x = np.random.default_rng(0).normal(size=(4, 3, 6))
    np.savez(here / "four.npz", x=x)
    assert "at least 10 groups" in refuses("tune", "--data", "four.npz", "--out", "run")


def test_a_run_of_another_command_is_not_resumed(
    symae, command, recipe, here, after_epochs, contents
):
    def stop(done):
        raise KeyboardInterrupt

    after_epochs(stop)
    symae("train", recipe, "--out", here / "run")
    before = contents(here)
    assert os.listdir(here) == ["run.partial"]
    code, _, err = symae(*command, "--resume")
    assert code == 2 and "contains no search for settings to resume" in err
    assert contents(here) == before
