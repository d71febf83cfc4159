"""Interrupted runs."""

from __future__ import annotations

import os

import keras
import pytest

from symae_keras._utils.files import read_json
from symae_keras.cli._progress import ProgressDisplay
from symae_keras.training.checkpoint import read_history


@pytest.fixture
def interrupt(after_epochs):
    """Callback that raises at the end of a given epoch, counted from 0."""

    def at(epoch: int | None, error: type[BaseException] = KeyboardInterrupt) -> None:
        def act(done: int) -> None:
            if done - 1 == epoch:
                raise error

        after_epochs(act)

    return at


def epochs(folder):
    """Return the epochs in the history of a run folder."""
    return [row["epoch"] for row in read_history(folder / "history.csv")]


@pytest.mark.large
def test_resume_ends_with_the_full_history(
    symae, succeeds, refuses, recipe, altered, here, interrupt, monkeypatch
):
    run, partial = here / "run", here / "run.partial"
    train = ("train", recipe, "--out", run, "--epochs", 4)
    interrupt(1)
    code, _, err = symae(*train)
    assert code == 1 and not run.exists()
    last = err.splitlines()[-1]
    assert last.startswith("symae: interrupted") and "--resume" in last
    assert epochs(partial) == ["0", "1"]
    before = (partial / "history.csv").read_text(encoding="utf-8")

    # A run is not resumed without --resume, with other settings, or if it is complete.
    err = refuses(*train)
    assert "--resume" in err and "--force" in err
    assert "seed: 0, not 3" in refuses(*train, "--resume", "--seed", 3)
    other = altered(("epochs=2", "epochs=3"))
    assert "recipe: another" in refuses("train", other, *train[2:], "--resume")
    assert "--resume" in refuses("evaluate", partial)

    # The process was killed between writing an epoch's row and saving its state.
    with (partial / "history.csv").open("a", encoding="utf-8") as file:
        file.write("2,9.0,9.0\n")
    interrupt(None)
    err = succeeds(*train, "--resume").err
    assert "epoch 2/4" not in err and "epoch 3/4" in err and "epoch 4/4" in err
    assert epochs(run) == ["0", "1", "2", "3"]
    text = (run / "history.csv").read_text(encoding="utf-8")
    assert text.startswith(before) and "9.0,9.0" not in text
    assert os.listdir() == ["run"] and "checkpoint" not in os.listdir(run)
    # The optimiser was resumed too: 4 epochs of 2 batches.
    monkeypatch.undo()  # later, models are loaded with the real `compile`
    model = keras.saving.load_model(run / "model.keras")
    assert int(model.optimizer.iterations) == 8


def test_a_run_stopped_before_its_first_epoch_leaves_nothing(
    symae, recipe, tmp_path, monkeypatch
):
    def stop(self, done):
        raise KeyboardInterrupt

    monkeypatch.setattr(ProgressDisplay, "start", stop)
    code, _, err = symae("train", recipe, "--out", tmp_path / "run")
    assert code == 1 and err.splitlines()[1:] == ["symae: interrupted"]
    assert os.listdir(tmp_path) == []


def test_a_complete_run_is_left_alone(succeeds, refuses, recipe, own_run, listing):
    train = ("train", recipe, "--out", own_run)
    before = listing(own_run)
    for flags in (("--resume",), ("--resume", "--force")):
        _, out, err = succeeds(*train, *flags)
        assert err == "" and "already complete" in out
    assert "epochs: 2, not 3" in refuses(*train, "--resume", "--epochs", 3)
    assert "seed: 0, not 1" in refuses(*train, "--resume", "--seed", 1)
    assert "--force" in refuses(*train)
    assert listing(own_run) == before


@pytest.mark.large
def test_force_keeps_the_finished_run_until_the_new_one_is(
    symae, succeeds, refuses, recipe, own_run, interrupt
):
    train = ("train", recipe, "--out", own_run, "--seed", 1)
    config = own_run / "config.json"
    interrupt(0, RuntimeError)
    code, _, err = symae(*train, "--force")
    assert code == 1 and "internal error: RuntimeError" in err
    assert read_json(config)["seed"] == 0

    interrupt(None)
    assert "--resume and --force" in refuses(*train, "--resume")
    succeeds(*train, "--resume", "--force")
    assert read_json(config)["seed"] == 1
    assert os.listdir(own_run.parent) == ["run"]


def test_a_loss_that_is_nan_ends_the_run(symae, altered, tmp_path):
    wild = altered(("epochs=2", "epochs=2, learning_rate=1e30"))
    code, _, err = symae("train", wild, "--out", tmp_path / "run")
    assert code == 2 and "loss became nan in epoch 1" in err and "learning rate" in err
    assert err.count("\n") == 2  # the first one says how long the training is
    assert os.listdir(tmp_path) == []
