"""Safety of user files: with --force, after termination and on a full disk."""

from __future__ import annotations

import os
import resource
import shutil
import signal
from contextlib import ExitStack, contextmanager

import numpy as np
import pytest

from symae_keras._utils.files import read_json
from symae_keras._utils.folders import Draft
from symae_keras._utils.lock import FolderLock
from symae_keras._utils.markers import read_marker
from symae_keras.cli import compare
from symae_keras.cli._run_folder import FIGURES, RUN_CONTENTS, load_run
from symae_keras.cli.evaluate import write_figures
from symae_keras.data import GroupedData, Shards, save
from symae_keras.training import Training


@pytest.fixture(autouse=True)
def _here(here):
    """Use an empty current folder."""


# === --force and inputs ===


def test_train_forced_over_users_files(refuses, recipe, own_run, data_file, tmp_path):
    train = ("train", recipe, "--epochs", 1, "--force", "--out")
    paper = tmp_path / "paper"
    (paper / "figures").mkdir(parents=True)
    (paper / "figures" / "fig1.pdf").write_text("mine", encoding="utf-8")
    assert "figures/fig1.pdf, and no .symae.json" in refuses(*train, paper)
    for name in ("figures/mine.png", "figures/codes.pdf", "metrics-mine.json"):
        (own_run / name).write_text("mine", encoding="utf-8")
        assert f"run holds {name}, which" in refuses(*train, own_run)
        (own_run / name).unlink()
    (own_run / "metrics.json").write_text("{}", encoding="utf-8")
    assert "metrics.json, which has changed since" in refuses(*train, own_run)
    # Inputs of the command are not replaced either.
    data = shutil.copy(data_file, own_run / "figures" / "data.npz")
    mine, to = shutil.copy(recipe, own_run / "mine.py"), ("--out", own_run, "--force")
    assert "holds the input" in refuses("train", recipe, "--data", data, *to)
    assert "holds the input" in refuses("train", mine, *to)


def test_redatum_and_anomalies_never_replace_a_run(
    refuses, own_run, data_file, tmp_path
):
    two = ("--coherent-from", data_file, "--nuisance-from", data_file)
    (tmp_path / "link.npz").symlink_to(own_run / "model.keras")
    err = refuses("redatum", own_run, *two, "--out", "link.npz", "--force")
    assert "is the input" in err and "model.keras" in err
    (tmp_path / "link.csv").symlink_to(own_run / "history.csv")
    anomalies = ("anomalies", own_run, "--data", data_file, "--force", "--out")
    for out in (own_run / "history.csv", "link.csv"):
        assert "is the input" in refuses(*anomalies, out)


def test_export_never_replaces_a_run_or_a_users_folder(refuses, own_run, tmp_path):
    (tmp_path / "site" / "assets").mkdir(parents=True)
    (tmp_path / "site" / "assets" / "logo.svg").write_text("mine", encoding="utf-8")
    export = ("export", own_run, "--force", "--out")
    assert "assets/logo.svg, and no .symae.json" in refuses(*export, "site")
    assert "holds the input" in refuses(*export, own_run)
    assert "holds the input" in refuses(*export, tmp_path / "run" / ".." / "run")


def test_compare_never_writes_into_its_data(refuses, tmp_path):
    (tmp_path / "data").mkdir()
    save(GroupedData(np.ones((4, 2, 8))), "data/d.npz")
    command = ("compare", "--models", "pca", "--data")
    assert "holds the input" in refuses(*command, "data/d.npz", "--out", "data")
    assert "lies in the input" in refuses(*command, "data", "--out", "data/table")


def test_reproduce_replaces_no_file_but_a_table(refuses, tmp_path, monkeypatch):
    monkeypatch.setattr("symae_keras.cli.zoo.trained_presets", lambda: ["tiny"])
    (tmp_path / "thesis.md").write_text("# Thesis\n", encoding="utf-8")
    err = refuses("zoo", "reproduce", "tiny", "--results", "thesis.md")
    assert "thesis.md exists and is not a table of this command" in err
    save(GroupedData(np.ones((4, 2, 8))), "d.npz")
    command = ("zoo", "reproduce", "tiny", "--data", "d.npz", "--results")
    assert "is the input" in refuses(*command, "d.npz")


def test_evaluate_lists_what_it_writes(succeeds, refuses, own_run, recipe, data_file):
    shutil.copy(data_file, "mine.npz")
    evaluate = ("evaluate", own_run, "--no-leakage")
    for _ in range(2):
        succeeds(*evaluate, "--recipe", recipe)
        succeeds(*evaluate, "--data", "mine.npz")
    assert "metrics-mine.json" in read_marker(own_run)["files"]
    # The scores of another file of this name do not replace them.
    os.mkdir("other")
    shutil.copy("mine.npz", "other")
    out = succeeds(*evaluate, "--data", "other/mine.npz").out
    assert "metrics-mine-2.json" in out
    assert read_json(own_run / "metrics-mine.json")["data"] == "mine.npz"
    Draft(own_run, RUN_CONTENTS, force=True)
    (own_run / "metrics-mine.json").write_text("my notes", encoding="utf-8")
    err = refuses(*evaluate, "--data", "mine.npz")
    assert "metrics-mine.json is not as symae wrote it" in err


@pytest.mark.large
def test_a_run_of_version_0_1_is_used_as_before(succeeds, own_run, recipe):
    (own_run / ".symae.json").unlink()
    succeeds("evaluate", own_run, "--recipe", recipe, "--no-leakage")
    succeeds("export", own_run, "--out", "model")


# === Two at once ===


def test_a_second_command_in_one_folder(refuses, recipe, run_folder, tmp_path):
    for name in ("run.partial", "shards.partial", "model.partial", "table"):
        (tmp_path / name).mkdir()
        FolderLock(tmp_path / name, tmp_path / name).acquire()
    save(GroupedData(np.random.default_rng(0).normal(size=(20, 2, 8))), "d.npz")
    flags = ((), ("--force",), ("--resume",))
    for n_flags, *command in (
        (3, "train", recipe, "--out", "run"),
        (3, "data", "convert", "d.npz", "--out", "shards"),
        (2, "export", run_folder, "--out", "model"),
    ):
        for flag in flags[:n_flags]:
            err = refuses(*command, *flag)
            assert f"in use: process {os.getpid()} on " in err and "is running" in err
    err = refuses("compare", "--data", "d.npz", "--models", "pca", "--out", "table")
    assert "table is in use" in err


# === Figures ===


@pytest.mark.large
@pytest.mark.parametrize(
    "error", [ValueError("no mathtext"), RuntimeError("font"), OSError(28, "full")]
)
def test_a_figure_that_fails_costs_nothing(
    error, run_folder, tmp_path, monkeypatch, caplog
):
    def fail(*_):
        raise error

    monkeypatch.setattr("symae_keras.plotting.plot_history", fail)
    run = load_run(run_folder)
    rng = np.random.default_rng(0)
    # The label is not valid mathtext, so it is drawn literally.
    groups = GroupedData(
        rng.normal(size=(3, 4, 256)),
        axis=np.arange(256.0),
        axis_label="flux $_{bad (a$\n$^ b$",
    )
    written = write_figures(
        tmp_path / "figures", run.model, groups, run_folder / "history.csv"
    )
    assert [each.name for each in written] == ["redatuming.png"]
    assert os.listdir(tmp_path / "figures") == ["redatuming.png"]
    assert "no figure history" in caplog.text
    assert {each.stem for each in written} <= set(FIGURES)


# === Signals ===


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_like_an_interruption(symae, recipe, after_epochs, number):
    after_epochs(lambda done: os.kill(os.getpid(), number))
    before = signal.getsignal(number)
    code, _, err = symae("train", recipe, "--out", "run")
    assert code == 1
    assert err.splitlines()[-1].startswith("symae: interrupted; run.partial is kept")
    assert os.listdir() == ["run.partial"]
    assert ".symae.lock" not in os.listdir("run.partial")
    assert signal.getsignal(number) == before


# === Full disks ===


@contextmanager
def small_disk(n_bytes):
    """Limit the size of files: the system reacts as for a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture
def on_full_disk(symae, tmp_path):
    """Run a command with a limit on file sizes, and return its last line."""

    def run(*args, n_bytes=1000):
        with small_disk(n_bytes):
            code, _, err = symae(*args)
        assert code == 2 and "Traceback" not in err
        assert not [each for each in os.listdir() if each.startswith(".symae")]
        last = err.splitlines()[-1]
        assert last.startswith("symae: ") and "File too large" in last
        return last

    return run


@pytest.fixture
def in_memory(run_folder, monkeypatch) -> None:
    """Give commands the model of the run without a copy of it on the full disk."""
    run = load_run(run_folder)
    for command in ("redatum", "export"):
        monkeypatch.setattr(f"symae_keras.cli.{command}.load_run", lambda *_: run)


def test_redatum_on_a_full_disk(
    on_full_disk, in_memory, succeeds, contents, run_folder, data_file, tmp_path
):
    two = ("--coherent-from", data_file, "--nuisance-from", data_file)
    for name in ("v.npz", "v.csv"):
        redatum = ("redatum", run_folder, *two, "--out", name)
        assert f"{name} cannot be written: File" in on_full_disk(*redatum)
        assert os.listdir() == []
        succeeds(*redatum)
        before = contents(tmp_path)
        on_full_disk(*redatum, "--force")
        assert contents(tmp_path) == before
        (tmp_path / name).unlink()


@pytest.mark.large
@pytest.mark.parametrize(
    ("format", "needs"),
    [("saved_model", None), ("onnx", "tf2onnx"), ("tflite", "ai_edge_litert")],
)
def test_export_on_a_full_disk(
    on_full_disk, in_memory, succeeds, run_folder, format, needs
):
    if needs:
        pytest.importorskip(needs)
    name = "model" if format == "saved_model" else f"model.{format}"
    export = ("export", run_folder, "--endpoint", "encode", "--out", name)
    last = on_full_disk(*export, "--format", format)
    assert f"{name} cannot be written: File too large" in last
    assert os.listdir() == []
    succeeds(*export, "--format", format)


def test_convert_on_a_full_disk(on_full_disk, succeeds, contents, tmp_path):
    rng = np.random.default_rng(0)
    save(GroupedData(rng.normal(size=(6, 2, 1 << 16)).astype("float32")), "d.npz")
    command = ("data", "convert", "d.npz", "--shard-mb", 1, "--out", "shards")
    assert "shards cannot be written" in on_full_disk(*command, n_bytes=1 << 19)
    assert os.listdir() == ["d.npz"]
    # The last shard contains the index, which is too large.
    succeeds(*command)
    before = contents(tmp_path)
    on_full_disk(*command, "--force", n_bytes=1 << 19)
    assert contents(tmp_path) == before
    assert len(Shards("shards")) == 6


@pytest.mark.large
def test_train_on_a_full_disk(on_full_disk, symae, succeeds, recipe, after_epochs):
    train = ("train", recipe, "--out", "run")
    assert "run cannot be written" in on_full_disk(*train, n_bytes=20_000)
    assert os.listdir() == []

    # The model is trained, and there is only enough space for its checkpoint.
    with ExitStack() as disk:
        after_epochs(lambda done: done == 2 and disk.enter_context(small_disk(20_000)))
        code, _, err = symae(*train)
    after_epochs(lambda done: None)
    assert code == 2 and "internal error" not in err
    assert "File too large; run.partial is kept, to be resumed with --resume" in err
    assert os.listdir() == ["run.partial"]
    assert "epoch 1/2" not in succeeds(*train, "--resume").err
    assert os.listdir() == ["run"] and "checkpoint" not in os.listdir("run")
    assert load_run("run").config["seed"] == 0


def test_compare_on_a_full_disk(on_full_disk, succeeds, tmp_path, monkeypatch):
    # Notes would be written to a file on the same disk.
    monkeypatch.setattr(compare, "_training", lambda *_: Training(epochs=1))
    save(GroupedData(np.random.default_rng(0).normal(size=(40, 3, 8))), "d.npz")
    command = ("compare", "--data", "d.npz", "--out", "table", "--seeds", 1, "--models")
    rows = tmp_path / "table" / "rows.csv"
    assert "cannot be written" in on_full_disk(*command, "pca", n_bytes=100)
    succeeds(*command, "pca")
    before = rows.read_text(encoding="utf-8")
    last = on_full_disk(*command, "pca,mean_swap", n_bytes=len(before))
    assert "table/rows.csv cannot be written" in last
    assert rows.read_text(encoding="utf-8") == before
    succeeds(*command, "pca,mean_swap")
    assert rows.read_text(encoding="utf-8").startswith(before)


def test_compare_notices_every_change_of_its_data(symae, succeeds, monkeypatch):
    monkeypatch.setattr(compare, "QUICK_EPOCHS", 1)
    x = np.random.default_rng(0).normal(size=(20, 3, 8)).astype("float32")
    command = ("compare", "--data", "d.npz", "--models", "pca", "--out", "table")
    save(GroupedData(x), "d.npz")
    out = succeeds(*command).out
    assert "reconstruction error" in out and "redatuming error, estimated" in out
    for change in (
        {"weights": np.linspace(0.5, 1, 8)},
        {"mask": np.arange(60).reshape(20, 3) != 14},
        {"pixel_mask": np.arange(8) > 0},
        {"ids": np.arange(20) + 7},
        {"axis": np.arange(8.0)},
        {"group_metadata": {"a": np.arange(20)}},
        {"x": x + 5},
    ):
        save(GroupedData(**{"x": x, **change}), "d.npz")
        code, _, err = symae(*command)
        assert code == 2 and "table contains a comparison with other data" in err, (
            change
        )
    save(GroupedData(x), "d.npz")
    succeeds(*command)
