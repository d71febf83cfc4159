"""Recipe files, the history of a run and the progress display."""

from __future__ import annotations

import json
import sys

import pytest

from symae_keras._utils.text import one_line
from symae_keras.cli._progress import ProgressDisplay
from symae_keras.errors import InputError
from symae_keras.training.checkpoint import HistoryFile, read_history
from symae_keras.zoo.recipes import load_recipe, recipe_file


def test_a_recipe_is_named_after_its_file_or_its_folder(tmp_path, monkeypatch):
    text = '"""Mine."""\nfrom symae_keras.training import Recipe\n'
    text += "RECIPE = Recipe(model=None, epochs=7)\n"
    for name in ("mine.py", "recipe.py", "no_suffix"):
        (tmp_path / name).write_text(text, encoding="utf-8")
    assert load_recipe(tmp_path / "mine.py")[1:] == ("Mine.", "mine")
    assert load_recipe(tmp_path / "recipe.py").name == tmp_path.name
    assert load_recipe(tmp_path / "no_suffix").recipe.epochs == 7
    monkeypatch.chdir(tmp_path)
    assert recipe_file("mine.py") == tmp_path / "mine.py"
    # A preset comes before a file of the same name.
    (tmp_path / "symae_exposures").write_text(text, encoding="utf-8")
    assert load_recipe("symae_exposures").recipe.epochs != 7


def test_a_recipe_may_hide_no_module_and_may_hold_dataclasses(tmp_path):
    (tmp_path / "json.py").write_text(
        "from __future__ import annotations\n"
        "import dataclasses, json\n"
        "from symae_keras.training import Recipe\n"
        "@dataclasses.dataclass\n"
        "class Sizes:\n"
        "    small: int = 1\n"
        "RECIPE = Recipe(model=None, epochs=json.loads('3'))\n",
        encoding="utf-8",
    )
    assert load_recipe(tmp_path / "json.py").recipe.epochs == 3
    assert sys.modules["json"] is json


def test_one_line():
    assert one_line(ValueError("first\n  line.\n\nCall arguments: ...")) == (
        "ValueError: first line"
    )
    assert one_line(InputError("A sentence.")) == "A sentence"
    assert one_line(KeyboardInterrupt()) == "KeyboardInterrupt"


def test_history_file_keeps_and_mends(tmp_path):
    path = tmp_path / "history.csv"
    assert read_history(path) == []
    callback = HistoryFile(path)
    callback.on_epoch_end(0, {"loss": 0.5, "val_loss": 0.25})
    callback.on_epoch_end(1, {"loss": 0.25, "val_loss": 0.125})
    callback.on_epoch_end(2, {"loss": 9.0, "val_loss": 9.0})
    resumed = HistoryFile(path)
    resumed.on_epoch_end(2, {"loss": 0.125, "val_loss": 0.0625})
    assert path.read_text(encoding="utf-8").split() == [
        *("epoch,loss,val_loss", "0,0.5,0.25", "1,0.25,0.125", "2,0.125,0.0625"),
    ]


@pytest.mark.parametrize("terminal", [True, False])
def test_progress_over_a_resumed_run(terminal, monkeypatch, capsys):
    monkeypatch.delenv("NO_COLOR", raising=False)
    if terminal:
        monkeypatch.setenv("FORCE_COLOR", "1")
    with ProgressDisplay("tiny [x]", 20) as progress:
        for epoch in range(5, 20):
            progress.start(epoch)
            progress.update(epoch + 1, f"epoch {epoch + 1}/20: val_loss [0.25]")
    out, err = capsys.readouterr()
    assert out == ""
    if terminal:
        assert "tiny [x]" in err and "epoch 20/20: val_loss [0.25]" in err
    else:
        lines = err.splitlines()
        assert lines[0] == "tiny [x]: epoch 6/20: val_loss [0.25]"
        # Every tenth of the epochs.
        assert [line.split("/")[0].split()[-1] for line in lines] == [
            *("6", "8", "10", "12", "14", "16", "18", "20"),
        ]
