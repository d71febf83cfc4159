"""Presets, folders written aside, run folders and the files in them."""

from __future__ import annotations

import json
import os
import sys

import pytest

from symae_keras.errors import InputError
from symae_keras.folders import (
    CHECKPOINT,
    Draft,
    check_writable,
    write_json,
    written_aside,
)
from symae_keras.presets import load_recipe, one_line, preset_names, recipe_file
from symae_keras.progress import EpochProgress, HistoryFile, read_history
from symae_keras.runs import environment, file_hash, read_config
from symae_keras.training import Recipe

CONTENTS = ("a*.txt", CHECKPOINT)


# === Presets ===


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_is_a_recipe_with_a_docstring(name):
    recipe, docstring, found = load_recipe(name)
    assert isinstance(recipe, Recipe) and found == name
    # The tablets are measured data of others, which are not shipped.
    assert (recipe.data is None) == name.startswith("symae_tablets")
    assert recipe.epochs >= 1
    for word in (f"Command: symae train {name}", "Cost:", "Expect:"):
        assert word in docstring


def test_a_recipe_is_named_after_its_file_or_its_folder(tmp_path, monkeypatch):
    text = '"""Mine."""\nfrom symae_keras.training import Recipe\n'
    text += "RECIPE = Recipe(model=None, epochs=7)\n"
    for name in ("mine.py", "recipe.py", "no_suffix"):
        (tmp_path / name).write_text(text)
    assert load_recipe(tmp_path / "mine.py")[1:] == ("Mine.", "mine")
    assert load_recipe(tmp_path / "recipe.py").name == tmp_path.name
    assert load_recipe(tmp_path / "no_suffix").recipe.epochs == 7
    monkeypatch.chdir(tmp_path)
    assert recipe_file("mine.py") == tmp_path / "mine.py"
    # A preset comes before a file of the same name.
    (tmp_path / "symae_exposures").write_text(text)
    assert load_recipe("symae_exposures").recipe.epochs != 7


def test_a_recipe_may_hide_no_module_and_may_hold_dataclasses(tmp_path):
    (tmp_path / "json.py").write_text(
        "from __future__ import annotations\n"
        "import dataclasses, json\n"
        "from symae_keras.training import Recipe\n"
        "@dataclasses.dataclass\n"
        "class Sizes:\n"
        "    small: int = 1\n"
        "RECIPE = Recipe(model=None, epochs=json.loads('3'))\n"
    )
    assert load_recipe(tmp_path / "json.py").recipe.epochs == 3
    assert sys.modules["json"] is json


def test_one_line():
    assert one_line(ValueError("first\n  line.\n\nCall arguments: ...")) == (
        "ValueError: first line"
    )
    assert one_line(InputError("A sentence.")) == "A sentence"
    assert one_line(KeyboardInterrupt()) == "KeyboardInterrupt"


# === Written aside ===


def test_written_aside_replaces_only_what_succeeds(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError), written_aside(path) as aside:
        aside.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["a.txt"]
    write_json(path, {"new": 1})
    assert json.loads(path.read_text()) == {"new": 1}
    assert os.listdir(tmp_path) == ["a.txt"]
    with pytest.raises(InputError, match=r"a\.txt/b\.json cannot be written"):
        write_json(path / "b.json", {})


def test_check_writable_makes_nothing(tmp_path, monkeypatch):
    check_writable(tmp_path / "new" / "deep" / "run")
    assert os.listdir(tmp_path) == []
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="file is not a folder"):
        check_writable(tmp_path / "file" / "deep" / "run")
    # The superuser may write everywhere, so the answer of the system is made up.
    monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path)
    with pytest.raises(InputError, match="is not writable"):
        check_writable(tmp_path / "run")


# === Draft ===


def test_draft_appears_when_complete(tmp_path):
    out = tmp_path / "deep" / "out"
    draft = Draft(out, CONTENTS)
    assert os.listdir(tmp_path) == []
    with draft as folder:
        assert not out.exists() and folder.name == "out.partial"
        (folder / "a.txt").write_text("1")
    assert (out / "a.txt").read_text() == "1"
    assert os.listdir(out.parent) == ["out"]


def test_draft_takes_an_empty_folder_and_a_link(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    with Draft(tmp_path / "link", CONTENTS) as folder:
        (folder / "a.txt").write_text("1")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real" / "a.txt").read_text() == "1"
    assert sorted(os.listdir(tmp_path)) == ["link", "real"]


def test_failed_draft_is_kept_only_with_a_checkpoint(tmp_path):
    out = tmp_path / "out"
    with pytest.raises(RuntimeError), Draft(out, CONTENTS) as folder:
        (folder / "a.txt").write_text("1")
        raise RuntimeError
    assert os.listdir(tmp_path) == []
    with pytest.raises(KeyboardInterrupt), Draft(out, CONTENTS) as folder:
        (folder / CHECKPOINT).mkdir()
        (folder / CHECKPOINT / "state").write_text("1")
        raise KeyboardInterrupt
    assert os.listdir(tmp_path) == ["out.partial"]
    with pytest.raises(InputError, match=r"out\.partial .*--force .*--resume"):
        Draft(out, CONTENTS)
    with pytest.raises(InputError) as caught:
        Draft(out, CONTENTS, resume=None)
    assert "--resume" not in str(caught.value)

    draft = Draft(out, CONTENTS, resume=True)
    assert draft.resumes and not draft.complete
    with draft as folder:
        assert (folder / CHECKPOINT / "state").exists()
    draft = Draft(out, CONTENTS, force=True)
    assert not draft.resumes


def test_forced_draft_replaces_at_the_end_and_only_its_own(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "a.txt").write_text("old")
    with pytest.raises(InputError, match="not empty"):
        Draft(out, CONTENTS)
    with Draft(out, CONTENTS, force=True) as folder:
        (folder / "a.txt").write_text("new")
        assert (out / "a.txt").read_text() == "old"
    assert (out / "a.txt").read_text() == "new"
    assert os.listdir(tmp_path) == ["out"]
    (out / "b.txt").write_text("mine")
    with pytest.raises(InputError, match=r"b\.txt"):
        Draft(out, CONTENTS, force=True)
    (out / "b.txt").unlink()
    (tmp_path / "out.partial").mkdir()
    (tmp_path / "out.partial" / "c.txt").write_text("mine")
    with pytest.raises(InputError, match=r"c\.txt"):
        Draft(out, CONTENTS, force=True)
    (tmp_path / "out.replaced").mkdir()
    with pytest.raises(InputError, match=r"out\.replaced"):
        Draft(out, CONTENTS, force=True)


def test_a_failed_rename_brings_the_old_folder_back(tmp_path, monkeypatch):
    out = tmp_path / "out"
    out.mkdir()
    (out / "a.txt").write_text("old")
    rename = os.rename

    def fail(source, target):
        if str(source).endswith(".partial"):
            raise OSError("no")
        rename(source, target)

    monkeypatch.setattr(os, "rename", fail)
    with pytest.raises(OSError, match="no"), Draft(out, CONTENTS, force=True):
        pass
    assert (out / "a.txt").read_text() == "old"


# === Run folders ===


def test_environment_and_hash(tmp_path):
    versions = environment()
    assert versions["python"] == ".".join(map(str, sys.version_info[:3]))
    (tmp_path / "empty").write_bytes(b"")
    assert file_hash(tmp_path / "empty").startswith("e3b0c44298fc1c14")
    with pytest.raises(InputError, match="No such file"):
        file_hash(tmp_path / "missing")


@pytest.mark.parametrize("text", ["[1, 2]", '"text"', "3", "null", "\xff"])
def test_read_config_refuses_what_is_no_config(tmp_path, text):
    (tmp_path / "config.json").write_text(text, encoding="latin-1")
    with pytest.raises(InputError, match=r"config\.json"):
        read_config(tmp_path)


def test_history_file_keeps_and_mends(tmp_path):
    path = tmp_path / "history.csv"
    assert read_history(path) == []
    callback = HistoryFile(path)
    callback.on_epoch_end(0, {"loss": 0.5, "val_loss": 0.25})
    callback.on_epoch_end(1, {"loss": 0.25, "val_loss": 0.125})
    callback.on_epoch_end(2, {"loss": 9.0, "val_loss": 9.0})
    resumed = HistoryFile(path)
    resumed.on_epoch_end(2, {"loss": 0.125, "val_loss": 0.0625})
    assert path.read_text().split() == [
        *("epoch,loss,val_loss", "0,0.5,0.25", "1,0.25,0.125", "2,0.125,0.0625"),
    ]


@pytest.mark.parametrize("terminal", [True, False])
def test_progress_over_a_resumed_run(terminal, monkeypatch, capsys):
    monkeypatch.delenv("NO_COLOR", raising=False)
    if terminal:
        monkeypatch.setenv("FORCE_COLOR", "1")
    with EpochProgress("tiny [x]") as progress:
        progress.set_params({"epochs": 20})
        for epoch in range(5, 20):
            progress.on_epoch_begin(epoch)
            progress.on_epoch_end(epoch, {"loss": 0.5, "val_loss": 0.25, "rate": 1.0})
    out, err = capsys.readouterr()
    assert out == ""
    if terminal:
        assert "tiny [x]" in err and "epoch 20/20" in err and "val_loss 0.2500" in err
    else:
        lines = err.splitlines()
        assert lines[0] == "tiny [x]: epoch 6/20: loss 0.5000, val_loss 0.2500"
        # Every tenth of the epochs.
        assert [line.split("/")[0].split()[-1] for line in lines] == [
            *("6", "8", "10", "12", "14", "16", "18", "20"),
        ]
