"""Bad input: one line, exit code 2, nothing written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

X = np.random.default_rng(0).normal(size=(6, 4, 256)).astype("float32")
#: The axis of the runs.
AXIS = np.linspace(-1.0, 1.0, 256)

#: Two files that readers reject, and files that only the checks of runs reject.
BAD_FILES = {
    "wrong rank": ({"x": X[0]}, "(groups, instances, *instance_shape)", "(4, 256)"),
    "infinity": (
        {"x": np.where(X == X[1, 2, 3], np.inf, X)},
        "group 1, instance 2, pixel 3",
    ),
    "one instance": (
        {"x": X[:, :1]},
        "6 of 6 groups",
        "fewer than 2",
        "group 0",
        "remove",
    ),
    "constant": ({"x": np.full_like(X, 7)}, "all present values are 7"),
    "equal instances": (
        {"x": np.broadcast_to(X[0, 0], X.shape)},
        "all instances are identical",
    ),
    "tiny values": ({"x": X * 1e-32}, "vary by about 1e-32", "rescale"),
    "huge values": ({"x": X * 1e20}, "vary by about 1e+20", "rescale"),
    "one group": ({"x": X[:1]}, "at least two states", "received 1"),
}


#: Files that all commands reject.
BAD_FOR_ALL = {
    **{name: BAD_FILES[name] for name in ("infinity", "constant")},
    "another shape": ({"x": X[..., :100]}, "(100,)", "(256,)"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_train_refuses_a_file(refuses, recipe, name):
    arrays, *words = BAD_FILES[name]
    np.savez("my.npz", **arrays)
    err = refuses("train", recipe, "--data", "my.npz", "--out", "run")
    assert all(word in err for word in ("my.npz", *words)), err
    assert "/my.npz" not in err


@pytest.mark.parametrize("name", BAD_FOR_ALL)
def test_other_commands_refuse_a_file(refuses, run_folder, listing, name):
    arrays, *words = BAD_FOR_ALL[name]
    np.savez("my.npz", **arrays)
    np.savez("good.npz", x=X, axis=AXIS)
    before = listing(run_folder)
    redatum = ("redatum", run_folder, "--out", "virtual.npz", "--coherent-from")
    for command in (
        ("evaluate", run_folder, "--data", "my.npz"),
        (*redatum, "my.npz", "--nuisance-from", "good.npz"),
        (*redatum, "good.npz", "--nuisance-from", "my.npz"),
    ):
        err = refuses(*command)
        assert all(word in err for word in ("my.npz", *words)), err
    assert listing(run_folder) == before


def test_missing_and_truncated_files(refuses, recipe, run_folder, tmp_path):
    err = refuses("train", recipe, "--data", "no.npz", "--out", "run")
    assert "no.npz" in err and "No such file" in err
    err = refuses("evaluate", run_folder, "--data", "no.npz")
    assert "no.npz does not exist" in err
    np.savez(tmp_path / "whole.npz", x=X)
    content = (tmp_path / "whole.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(content[: len(content) // 2])
    err = refuses("train", recipe, "--data", "cut.npz", "--out", "run")
    assert "cut.npz cannot be read" in err
    (tmp_path / "empty").mkdir()
    err = refuses("train", recipe, "--data", "empty", "--out", "run")
    assert "empty: the folder is empty; expected" in err


def test_output_folders_that_cannot_be_made(refuses, recipe, tmp_path):
    (tmp_path / "file").write_text("mine", encoding="utf-8")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine", encoding="utf-8")
    (tmp_path / "begun.partial").mkdir()
    (tmp_path / "begun.partial" / "config.json").write_text("{}", encoding="utf-8")
    train = ("train", recipe, "--out")
    assert "file is not a folder" in refuses(*train, "file/run")
    assert "file exists and is not a folder" in refuses(*train, "file")
    err = refuses(*train, "full")
    assert "--force" in err and "--resume" in err
    # Files that no run has written are not deleted, even with --force.
    for flags in ((), ("--force",), ("--resume",)):
        assert "begun.partial is there, but symae did not make it" in refuses(
            *train, "begun", *flags
        )
    assert "notes.txt" in refuses(*train, "full", "--force")
    assert "full is not empty" in refuses(*train, "full", "--resume")
    assert "current folder" in refuses(*train, ".")


def test_demo_refuses_a_folder_in_use(symae, here, listing):
    (here / "symae_demo").mkdir()
    (here / "symae_demo" / "notes.txt").write_text("mine", encoding="utf-8")
    before = listing(here)
    code, _, err = symae("demo")
    assert code == 2 and err.count("\n") == 1
    assert "--force" in err and "--resume" not in err
    assert listing(here) == before


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--format", "h5"], "The format must be one of"),
        (["--endpoint", "denoise"], "The endpoint must be one of"),
        (["--out", "model.onnx"], "makes a folder"),
    ],
)
def test_export_refuses(refuses, run_folder, arguments, sentence):
    assert sentence in refuses("export", run_folder, *arguments)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--models", "symea"], "did you mean symae?"),
        (["--models", ""], "There is no model ''"),
        (["--encoder", "conv3d"], "--encoder must be one of dense, conv1d, conv2d"),
        (["--data", "missing.npz"], "missing.npz"),
        (["--models", "pca", "--out", "mine"], "no comparison to resume"),
    ],
)
def test_compare_refuses(refuses, here, arguments, sentence):
    (here / "mine").mkdir()
    (here / "mine" / "notes.txt").write_text("mine", encoding="utf-8")
    assert sentence in refuses("compare", *arguments)


def test_the_data_of_a_run_are_never_replaced(
    refuses, measured_run, data_file, tmp_path
):
    """They are an input of every command that uses the run."""
    before = data_file.read_bytes()
    np.savez(tmp_path / "new.npz", x=X[:2], axis=AXIS)
    encode = ("encode", measured_run, "--data", "new.npz", "--out", data_file)
    err = refuses(*encode, "--force")
    assert f"is the input {data_file}, which is never replaced" in err
    assert data_file.read_bytes() == before


def test_redatum_output_and_groups(refuses, run_folder, tmp_path):
    np.savez(tmp_path / "three.npz", x=X[:3], axis=AXIS)
    np.savez(tmp_path / "two.npz", x=X[:2], axis=AXIS)
    np.savez(tmp_path / "other.npz", x=X[:2], axis=AXIS + 0.5)
    (tmp_path / "file").write_text("mine", encoding="utf-8")
    (tmp_path / "old.npz").write_text("mine", encoding="utf-8")
    (tmp_path / "folder.npz").mkdir()
    two = ("--coherent-from", "two.npz", "--nuisance-from", "two.npz")
    command = ("redatum", run_folder, *two, "--out")
    assert "end in .npz" in refuses(*command, "virtual.txt")
    assert "--force" in refuses(*command, "old.npz")
    assert "folder" in refuses(*command, "folder.npz", "--force")
    assert "file is not a folder" in refuses(*command, "file/virtual.npz")
    assert "two.npz" in refuses(*command, "two.npz", "--force")
    command = ("redatum", run_folder, "--out", "virtual.npz")
    command += ("--coherent-from", "two.npz", "--nuisance-from")
    err = refuses(*command, "three.npz")
    assert "two.npz has 2 groups and three.npz has 3" in err
    err = refuses(*command, "other.npz")
    assert "other.npz is on the axis -0.5 to 1.5" in err
    command = ("anomalies", run_folder, "--data", "two.npz", "--out", "found.npz")
    assert "must end in .csv" in refuses(*command)


BAD_RECIPES = {
    "model = 1": "defines no RECIPE",
    "RECIPE = {}": "class dict",
    "RECIPE = (": "SyntaxError",
    "1 / 0": "ZeroDivisionError: division by zero",
    "RECIPE = Recipe(model=None)": "--data",
    "RECIPE = Recipe(model=None, data=lambda seed: 1 / 0)": "failed in data(): ZeroDiv",
    "RECIPE = Recipe(model=None, data=lambda seed: 3)": (
        "GroupedData; received an object of class int"
    ),
}


def test_recipes_that_cannot_be_used(refuses, here):
    assert "did you mean symae_exposures?" in refuses("train", "symae_exposure")
    assert "my.py does not exist" in refuses("train", "my.py")
    (here / "folder").mkdir()
    assert "folder is a folder" in refuses("train", "folder")
    head, file = "from symae_keras.training import Recipe\n", Path("my.py")
    for text, words in BAD_RECIPES.items():
        file.write_text(head + text, encoding="utf-8")
        assert words in refuses("train", file, "--out", "run")
    file.write_text(head + "RECIPE = Recipe(model=lambda g, s: 3)", encoding="utf-8")
    np.savez("my.npz", x=X)
    mine = ("--data", "my.npz", "--out", "run")
    assert "int without encode" in refuses("train", file, *mine)
    # A recipe for images rejects spectra.
    err = refuses("train", "symae_shapes", *mine)
    assert "symae_shapes failed in model() on instances of shape (256,)" in err


def test_run_folders_that_cannot_be_read(refuses, run_folder, here):
    broken = here / "broken"
    assert "does not exist" in refuses("evaluate", broken)
    assert "does not exist" in refuses("export", broken, "--out", "model")
    broken.mkdir()
    assert "no config.json" in refuses("evaluate", broken)
    for text in (b"{", b"[1, 2]", b'"text"', b"3", b"null", b"\xff"):
        (broken / "config.json").write_bytes(text)
        assert "config.json cannot be read" in refuses("evaluate", broken)
    (broken / "config.json").write_text("{}", encoding="utf-8")
    assert "config.json has no entry" in refuses("evaluate", broken)
    (broken / "config.json").write_bytes((run_folder / "config.json").read_bytes())
    assert "--resume" in refuses("evaluate", broken)
    content = (run_folder / "model.keras").read_bytes()
    for cut in (0, 1000, len(content) // 2, len(content) - 100):
        (broken / "model.keras").write_bytes(content[:cut])
        assert "model.keras cannot be loaded" in refuses("evaluate", broken)
