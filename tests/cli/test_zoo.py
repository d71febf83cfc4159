"""symae zoo, on a zoo of one tiny preset."""

from __future__ import annotations

import json
import shutil

import pytest

from symae_keras import zoo
from symae_keras.cli.zoo import Reproduced, metrics_of, quick_epochs, tolerance
from symae_keras.zoo.cards import Measured
from symae_keras.zoo.recipes import load_recipe, preset_folder

DOCSTRING = (
    '"""A recipe that trains in a second."""',
    '''"""A recipe that trains in a second.

Command: symae train tiny
Cost:    a second
Expect:  redatuming_error 0.1 to 2.0
Data:    simulated
Use:     tests
Limits:  all of them
Cite:    nobody
"""''',
)


@pytest.fixture
def tiny_zoo(tmp_path, altered, run_folder, monkeypatch):
    """The preset `tiny`, with the metrics of its run, and a working folder."""
    folder = tmp_path / "presets" / "tiny"
    altered(DOCSTRING, path=folder / "recipe.py")
    monkeypatch.setattr(
        "symae_keras._utils.presets._folder", lambda: tmp_path / "presets"
    )
    from symae_keras.cli._run_folder import load_run

    saved = zoo.save_preset(load_run(run_folder).model, tmp_path / "saved")
    shutil.copytree(saved, folder, dirs_exist_ok=True)
    found = metrics_of(run_folder)
    content = {
        "reference": {k: [v] for k, v in found.items()},
        # As far off as nothing that trains could be.
        "quick": {k: 100.0 for k in found},
        "shipped": found,
        "seconds": 1.0,
        "parameters": 10,
        "epochs": 2,
        "environment": {"keras": "3", "tensorflow": "2", "symae_keras": "0"},
    }
    (folder / "metrics.json").write_text(json.dumps(content), encoding="utf-8")
    (folder / "README.md").write_text(
        "---\nlicense: none\n---\n\n# tiny\n", encoding="utf-8"
    )
    monkeypatch.chdir(tmp_path)
    return folder


def test_list_and_card(tiny_zoo, symae) -> None:
    done = symae("zoo")
    assert done.code == 0, done.err
    assert "tiny" in done.out and "A recipe that trains in a second" in done.out
    assert "redatuming error" in done.out
    assert symae("zoo", "card", "tiny").out.strip() == "# tiny"
    missing = symae("zoo", "card", "tinny")
    assert missing.code == 2 and "did you mean tiny" in missing.err


def test_reproduce_agrees_and_goes_on(tiny_zoo, symae, tmp_path) -> None:
    done = symae("zoo", "reproduce", "tiny")
    assert done.code == 0, done.err
    assert "1 of 1 presets agree" in done.out
    text = (tmp_path / "zoo" / "RESULTS.md").read_text(encoding="utf-8")
    assert "| tiny | reconstruction error |" in text
    assert "`symae zoo reproduce tiny`" in text and "**no**" not in text
    weights = tmp_path / "runs" / "zoo" / "tiny-0" / "model.keras"
    before = weights.stat().st_mtime_ns
    assert symae("zoo", "reproduce").code == 0  # all presets, and nothing to train
    assert weights.stat().st_mtime_ns == before


def test_reproduce_tells_what_does_not_agree(tiny_zoo, symae, tmp_path) -> None:
    done = symae("zoo", "reproduce", "tiny", "--quick")
    assert done.code == 1
    assert "0 of 1 presets agree" in done.out
    assert "**no**" in (tmp_path / "zoo" / "RESULTS-quick.md").read_text(
        encoding="utf-8"
    )
    assert not (tmp_path / "zoo" / "RESULTS.md").exists()


def test_recipes_without_data_are_told_about(tiny_zoo, altered, symae) -> None:
    data = ("model=model, data=data", "model=model")
    altered(DOCSTRING, data, path=tiny_zoo / "recipe.py")
    done = symae("zoo", "reproduce", "tiny")
    assert done.code == 0, done.err
    assert "0 of 0 presets agree" in done.out and "brings no data" in done.out


def test_bad_input(tiny_zoo, symae, tmp_path) -> None:
    done = symae("zoo", "reproduce", "tinny")
    assert done.code == 2 and "did you mean tiny" in done.err
    done = symae("zoo", "reproduce", "tiny", "--results", tmp_path)
    assert done.code == 2 and "is a folder" in done.err
    (tiny_zoo / "metrics.json").write_text("{", encoding="utf-8")
    done = symae("zoo", "reproduce", "tiny")
    assert done.code == 2 and "metrics.json cannot be read" in done.err
    assert not (tmp_path / "runs").exists()


def test_docstrings_do_not_make_another_run(tiny_zoo, altered, symae) -> None:
    """Editing a recipe's docstring does not require another training."""
    command = ("train", "tiny", "--epochs", 1, "--out", "run")
    assert symae(*command).code == 0
    file = tiny_zoo / "recipe.py"
    altered(DOCSTRING, ("nobody", "somebody"), path=file)
    assert "complete already" in symae(*command, "--resume").out
    altered(DOCSTRING, ("coherent_dim=3", "coherent_dim=4"), path=file)
    done = symae(*command, "--resume")
    assert done.code == 2 and "other settings (recipe" in done.err


def test_tolerances() -> None:
    measured = Measured(
        reference={"a_error": [0.8, 1.0], "score": [0.5, 0.6]},
        quick={"a_error": 2.0, "score": 0.1},
        shipped={},
        seconds=1.0,
        parameters=1,
        epochs=1,
        environment={},
    )

    def agrees(error: float, score: float, quick: bool = False) -> tuple[bool, bool]:
        found = {"a_error": [error], "score": [score]}
        done = Reproduced("name", measured, found, [1.0], quick, "command")
        return done.agrees("a_error"), done.agrees("score")

    assert agrees(1.2, 0.64) == (True, True)
    assert agrees(1.3, 0.66) == (False, False)
    assert agrees(0.5, 0.44) == (False, False)
    assert agrees(2.4, 0.14, quick=True) == (True, True)
    assert tolerance("snr_gain_db", -4.0) == 1.0


def test_quick_epochs() -> None:
    recipe = load_recipe(preset_folder("symae_exposures") / "recipe.py").recipe
    assert quick_epochs(recipe) == 4
