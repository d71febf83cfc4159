"""symae zoo, on a zoo of one tiny preset."""

from __future__ import annotations

import json
import shutil

import pytest

from symae_keras import zoo
from symae_keras._utils.presets import preset_folder
from symae_keras.cli._run_folder import load_run
from symae_keras.cli.zoo import Reproduced, metrics_of, quick_epochs, tolerance
from symae_keras.zoo.cards import Measured
from symae_keras.zoo.recipes import load_recipe

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
    """Return the preset `tiny`, with the metrics of its run, and a working folder."""
    folder = tmp_path / "presets" / "tiny"
    altered(DOCSTRING, path=folder / "recipe.py")
    monkeypatch.setattr(
        "symae_keras._utils.presets._folder", lambda: tmp_path / "presets"
    )
    saved = zoo.save_preset(load_run(run_folder).model, tmp_path / "saved")
    shutil.copytree(saved, folder, dirs_exist_ok=True)
    found = metrics_of(run_folder)
    content = {
        "reference": {k: [v] for k, v in found.items()},
        # Values that no training can reach.
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


def test_list_and_card(tiny_zoo, succeeds, refuses) -> None:
    out = succeeds("zoo").out
    assert "tiny" in out and "A recipe that trains in a second" in out
    assert "redatuming error" in out
    assert succeeds("zoo", "card", "tiny").out.strip() == "# tiny"
    assert "did you mean tiny" in refuses("zoo", "card", "tinny")


def test_reproduce_agrees_and_resumes(tiny_zoo, succeeds, tmp_path) -> None:
    assert "1 of 1 presets agree" in succeeds("zoo", "reproduce", "tiny").out
    text = (tmp_path / "zoo" / "RESULTS.md").read_text(encoding="utf-8")
    assert "| tiny | reconstruction error |" in text
    assert "`symae zoo reproduce tiny`" in text and "**no**" not in text
    weights = tmp_path / "runs" / "zoo" / "tiny-0" / "model.keras"
    before = weights.stat().st_mtime_ns
    succeeds("zoo", "reproduce")  # all presets, and nothing to train
    assert weights.stat().st_mtime_ns == before


def test_reproduce_marks_what_does_not_agree(tiny_zoo, symae, tmp_path) -> None:
    code, out, _ = symae("zoo", "reproduce", "tiny", "--quick")
    assert code == 1 and "0 of 1 presets agree" in out
    results = tmp_path / "zoo" / "RESULTS-quick.md"
    assert "**no**" in results.read_text(encoding="utf-8")
    assert not (tmp_path / "zoo" / "RESULTS.md").exists()


def test_results_of_other_presets_are_kept(tiny_zoo, succeeds, tmp_path) -> None:
    succeeds("zoo", "reproduce", "tiny")
    results = tmp_path / "zoo" / "RESULTS.md"
    text = results.read_text(encoding="utf-8")
    row = next(line for line in text.splitlines() if line.startswith("| tiny |"))
    others = [row.replace("| tiny |", f"| {name} |") for name in ("other", "zebra")]
    results.write_text(text.replace(row, "\n".join([*others, row])), encoding="utf-8")
    succeeds("zoo", "reproduce", "tiny")
    lines = results.read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if line.startswith(("| o", "| z"))] == others
    assert sum(line.startswith("| tiny |") for line in lines) == text.count("| tiny |")
    names = [line.split(" | ")[0] for line in lines if line.startswith("| ")][2:]
    assert names == sorted(names)


def test_recipes_without_data_are_listed(tiny_zoo, altered, succeeds) -> None:
    data = ("model=model, data=data", "model=model")
    altered(DOCSTRING, data, path=tiny_zoo / "recipe.py")
    out = succeeds("zoo", "reproduce", "tiny").out
    assert "0 of 0 presets agree" in out and "provides no data" in out


def test_bad_input(tiny_zoo, refuses, tmp_path) -> None:
    assert "did you mean tiny" in refuses("zoo", "reproduce", "tinny")
    reproduce = ("zoo", "reproduce", "tiny")
    assert "is a folder" in refuses(*reproduce, "--results", tmp_path)
    (tiny_zoo / "metrics.json").write_text("{", encoding="utf-8")
    assert "metrics.json cannot be read" in refuses(*reproduce)


def test_docstrings_do_not_make_another_run(
    tiny_zoo, altered, succeeds, refuses
) -> None:
    """Editing a recipe's docstring does not require retraining."""
    command = ("train", "tiny", "--epochs", 1, "--out", "run")
    succeeds(*command)
    file = tiny_zoo / "recipe.py"
    altered(DOCSTRING, ("nobody", "somebody"), path=file)
    assert "already complete" in succeeds(*command, "--resume").out
    altered(DOCSTRING, ("coherent_dim=3", "coherent_dim=4"), path=file)
    assert "other settings (recipe" in refuses(*command, "--resume")


def test_tolerances_and_quick_epochs() -> None:
    unused = {"shipped": {}, "seconds": 1.0, "parameters": 1, "epochs": 1}
    measured = Measured(
        reference={"a_error": [0.8, 1.0], "score": [0.5, 0.6]},
        quick={"a_error": 2.0, "score": 0.1},
        environment={},
        **unused,
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
    recipe = load_recipe(preset_folder("symae_exposures") / "recipe.py").recipe
    assert quick_epochs(recipe) == 5
