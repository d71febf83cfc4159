"""Interrupted runs."""

from __future__ import annotations

import os

import keras
import pytest

from symae_keras._utils.files import read_json
from symae_keras.cli._progress import ProgressDisplay


@pytest.fixture
def interrupt(monkeypatch):
    """Raise at the end of an epoch, counted from 0, as long as the test wants."""
    original = ProgressDisplay.update

    def at(epoch: int | None, error: type[BaseException] = KeyboardInterrupt) -> None:
        def update(self, done, text):
            original(self, done, text)
            if done - 1 == epoch:
                raise error

        monkeypatch.setattr(ProgressDisplay, "update", update)

    return at


@pytest.fixture
def epochs(read_rows):
    """Epochs in the history of a run folder."""
    return lambda folder: [row["epoch"] for row in read_rows(folder / "history.csv")]


@pytest.mark.large
def test_resume_ends_with_the_full_history(
    symae, recipe, altered, tmp_path, interrupt, epochs, monkeypatch
):
    run, aside = tmp_path / "run", tmp_path / "run.partial"
    train = ("train", recipe, "--out", run, "--epochs", 4)
    interrupt(1)
    code, _, err = symae(*train)
    assert code == 1 and not run.exists()
    lines = err.splitlines()
    assert lines[-1].startswith("symae: interrupted") and "--resume" in lines[-1]
    assert epochs(aside) == ["0", "1"]
    before = (aside / "history.csv").read_text(encoding="utf-8")

    # Not by accident, not with other settings, and not as a finished run.
    code, _, err = symae(*train)
    assert code == 2 and "--resume" in err and "--force" in err
    code, _, err = symae(*train, "--resume", "--seed", 3)
    assert code == 2 and "seed: 0, not 3" in err
    other = altered(("epochs=2", "epochs=3"))
    code, _, err = symae("train", other, *train[2:], "--resume")
    assert code == 2 and "recipe: another" in err
    code, _, err = symae("evaluate", aside)
    assert code == 2 and "--resume" in err
    assert (aside / "history.csv").read_text(encoding="utf-8") == before

    # Killed between writing the row of an epoch and saving its state.
    with (aside / "history.csv").open("a", encoding="utf-8") as file:
        file.write("2,9.0,9.0\n")
    interrupt(None)
    code, _, err = symae(*train, "--resume")
    assert code == 0, err
    assert "epoch 2/4" not in err and "epoch 3/4" in err and "epoch 4/4" in err
    assert epochs(run) == ["0", "1", "2", "3"]
    text = (run / "history.csv").read_text(encoding="utf-8")
    assert text.startswith(before) and "9.0,9.0" not in text
    assert os.listdir(tmp_path) == ["run"] and "checkpoint" not in os.listdir(run)
    # The optimiser went on too: 4 epochs of 2 batches.
    monkeypatch.undo()  # models are not loaded with a `compile` of their own
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


def test_a_complete_run_is_left_alone(symae, recipe, own_run):
    train = ("train", recipe, "--out", own_run)
    before = {path: path.stat().st_mtime_ns for path in own_run.rglob("*")}
    code, out, err = symae(*train, "--resume")
    assert (code, err) == (0, "") and "complete already" in out
    code, out, err = symae(*train, "--resume", "--force")
    assert (code, err) == (0, "") and "complete already" in out
    code, _, err = symae(*train, "--resume", "--epochs", 3)
    assert code == 2 and "epochs: 2, not 3" in err
    code, _, err = symae(*train, "--resume", "--seed", 1)
    assert code == 2 and "seed: 0, not 1" in err
    code, _, err = symae(*train)
    assert code == 2 and "--force" in err
    assert {path: path.stat().st_mtime_ns for path in own_run.rglob("*")} == before


@pytest.mark.large
def test_force_keeps_the_finished_run_until_the_new_one_is(
    symae, recipe, own_run, interrupt
):
    train = ("train", recipe, "--out", own_run, "--seed", 1)
    config = own_run / "config.json"
    interrupt(0, RuntimeError)
    code, _, err = symae(*train, "--force")
    assert code == 1 and "internal error: RuntimeError" in err
    assert read_json(config)["seed"] == 0

    interrupt(None)
    code, _, err = symae(*train, "--resume")
    assert code == 2 and "--resume and --force" in err
    code, _, err = symae(*train, "--resume", "--force")
    assert code == 0, err
    assert read_json(config)["seed"] == 1
    assert os.listdir(own_run.parent) == ["run"]


def test_a_loss_that_is_not_a_number_ends_the_run(symae, altered, tmp_path):
    wild = altered(("epochs=2", "epochs=2, learning_rate=1e30"))
    code, _, err = symae("train", wild, "--out", tmp_path / "run")
    assert code == 2 and "loss became nan in epoch 1" in err and "learning rate" in err
    assert err.count("\n") == 2  # the first one says how long the training is
    assert os.listdir(tmp_path) == []
