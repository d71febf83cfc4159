"""Bad input: one line, exit code 2, nothing written."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

X = np.random.default_rng(0).normal(size=(6, 4, 256)).astype("float32")
#: The axis of the runs.
AXIS = np.linspace(-1.0, 1.0, 256)


def one_instance() -> np.ndarray:
    mask = np.ones((6, 4), bool)
    mask[2, 1:] = False
    return mask


#: Two files that readers refuse, and those that only the checks of runs refuse.
BAD_FILES = {
    "wrong rank": ({"x": X[0]}, ["(groups, instances, *instance_shape)", "(4, 256)"]),
    "infinity": (
        {"x": np.where(X == X[1, 2, 3], np.inf, X)},
        ["group 1, instance 2, pixel 3"],
    ),
    "one instance": ({"x": X[:, :1]}, ["6 of 6 groups", "fewer than 2", "group 0"]),
    "one instance present": (
        {"x": X, "mask": one_instance()},
        ["1 of 6 groups", "fewer than 2", "group 2 with 1"],
    ),
    "constant": ({"x": np.full_like(X, 7)}, ["all present values are 7"]),
    "equal instances": (
        {"x": np.broadcast_to(X[0, 0], X.shape)},
        ["all instances are identical"],
    ),
    "tiny values": ({"x": X * 1e-32}, ["vary by about 1e-32", "rescale"]),
    "huge values": ({"x": X * 1e20}, ["vary by about 1e+20", "rescale"]),
    "one group": ({"x": X[:1]}, ["at least two states", "received 1"]),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_train_refuses_a_file(refuses, recipe, name):
    arrays, words = BAD_FILES[name]
    np.savez("my.npz", **arrays)
    err = refuses("train", recipe, "--data", "my.npz", "--out", "run")
    assert "my.npz" in err
    for word in words:
        assert word in err


@pytest.mark.parametrize("name", ["infinity", "constant"])
def test_evaluate_and_redatum_refuse_a_file(refuses, run_folder, listing, name):
    arrays, words = BAD_FILES[name]
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
        assert "my.npz" in err
        for word in words:
            assert word in err
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
    assert "empty: it is a folder with nothing in it" in err


def test_instances_unlike_the_models(refuses, run_folder, tmp_path):
    np.savez(tmp_path / "short.npz", x=X[..., :100])
    np.savez(tmp_path / "good.npz", x=X, axis=AXIS)
    err = refuses("evaluate", run_folder, "--data", "short.npz")
    assert "short.npz" in err and "(100,)" in err and "(256,)" in err
    err = refuses(
        *("redatum", run_folder, "--out", "virtual.npz"),
        *("--coherent-from", "good.npz", "--nuisance-from", "short.npz"),
    )
    assert "short.npz" in err and "(100,)" in err and "(256,)" in err


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
    # What no run has written is not deleted, asked or not.
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
    groups = ("--coherent-from", "two.npz", "--nuisance-from", "three.npz")
    err = refuses("redatum", run_folder, *groups, "--out", "virtual.npz")
    assert "two.npz holds 2 groups" in err and "three.npz 3" in err
    axes = ("--coherent-from", "two.npz", "--nuisance-from", "other.npz")
    err = refuses("redatum", run_folder, *axes, "--out", "virtual.npz")
    assert "other.npz is on the axis -0.5 to 1.5" in err


def test_recipes_that_cannot_be_used(refuses, tmp_path):
    def recipe(text: str) -> str:
        Path("my.py").write_text(text, encoding="utf-8")
        return refuses("train", "my.py", "--out", "run")

    err = refuses("train", "symae_exposure")
    assert "did you mean symae_exposures?" in err
    assert "my.py does not exist" in refuses("train", "my.py")
    os.mkdir("folder")
    assert "folder is a folder" in refuses("train", "folder")
    assert "no RECIPE" in recipe("model = 1").replace("defines no", "no")
    assert "class dict" in recipe("RECIPE = {}")
    assert "SyntaxError" in recipe("RECIPE = (")
    assert "ZeroDivisionError: division by zero" in recipe("1 / 0")
    head = "from symae_keras.training import Recipe\n"
    err = recipe(head + "RECIPE = Recipe(model=None)")
    assert "--data" in err
    err = recipe(head + "RECIPE = Recipe(model=None, data=lambda seed: 1 / 0)")
    assert "failed in data()" in err and "ZeroDivisionError" in err
    err = recipe(head + "RECIPE = Recipe(model=None, data=lambda seed: 3)")
    assert "GroupedData" in err and "class int" in err
    np.savez(tmp_path / "my.npz", x=X)
    Path("my.py").write_text(
        head + "RECIPE = Recipe(model=lambda g, s: 3)", encoding="utf-8"
    )
    err = refuses("train", "my.py", "--data", "my.npz", "--out", "run")
    assert "int without encode" in err


def test_a_recipe_for_images_refuses_spectra(refuses, tmp_path):
    np.savez(tmp_path / "my.npz", x=X)
    err = refuses("train", "symae_shapes", "--data", "my.npz", "--out", "run")
    assert "symae_shapes failed in model() on instances of shape (256,)" in err


def test_run_folders_that_cannot_be_read(refuses, run_folder, tmp_path):
    broken = tmp_path / "broken"
    assert "does not exist" in refuses("evaluate", broken)
    broken.mkdir()
    assert "no config.json" in refuses("evaluate", broken)
    (broken / "config.json").write_text("{", encoding="utf-8")
    assert "config.json cannot be read" in refuses("evaluate", broken)
    (broken / "config.json").write_text("{}", encoding="utf-8")
    assert "config.json has no entry" in refuses("evaluate", broken)
    (broken / "config.json").write_bytes((run_folder / "config.json").read_bytes())
    assert "--resume" in refuses("evaluate", broken)
    content = (run_folder / "model.keras").read_bytes()
    for cut in (0, 1000, len(content) // 2, len(content) - 100):
        (broken / "model.keras").write_bytes(content[:cut])
        assert "model.keras cannot be loaded" in refuses("evaluate", broken)
