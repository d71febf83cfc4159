"""The demo, with recipes that train in a second."""

from __future__ import annotations

import os

import keras
import pytest

from symae_keras._utils.files import read_json
from symae_keras._utils.folders import Draft
from symae_keras._utils.markers import write_marker
from symae_keras.cli import demo
from symae_keras.data import simulate_exposures
from symae_keras.evaluation import exposures_limit, redatuming_error


@pytest.fixture
def tiny(altered, tmp_path, monkeypatch):
    """Small presets, few test stars, and an empty current folder."""
    for name, conditional in (("conditional", True), ("original", False)):
        altered(
            ("seed=seed,\n", f"seed=seed, conditional_nuisance={conditional}\n"),
            path=tmp_path / "zoo" / demo.PRESETS[name] / "recipe.py",
        )
    monkeypatch.setattr("symae_keras._utils.presets._folder", lambda: tmp_path / "zoo")
    monkeypatch.setattr(demo, "_STATES", 6)
    monkeypatch.setattr(demo, "_INSTANCES", 4)
    monkeypatch.setattr(demo, "QUICK_EPOCHS", 1)
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    return work


@pytest.mark.large
def test_demo(symae, succeeds, tiny):
    out = succeeds("demo", "--quick", "--seed", 3).out
    assert sorted(os.listdir(tiny)) == ["symae_demo"]
    folder = tiny / "symae_demo"
    assert sorted(os.listdir(folder)) == [
        *(".symae.json", "conditional", "metrics.json", "original"),
    ]
    metrics = read_json(folder / "metrics.json")
    assert metrics["quick"] is True
    # All rows are for the same stars, which are new to all models.
    test = simulate_exposures(6, 4, seed=4)
    errors = metrics["errors"]
    for name, conditional in (("conditional", True), ("original", False)):
        assert sorted(os.listdir(folder / name)) == [
            *("axis.json", "config.json", "environment.json", "history.csv"),
            *("metrics.json", "model.keras"),
        ]
        model = keras.saving.load_model(folder / name / "model.keras", compile=False)
        assert model.conditional_nuisance is conditional
        again = redatuming_error(model, test)
        assert errors[name]["redatuming_error"] == pytest.approx(again, rel=1e-5)
        assert errors[name]["reconstruction_error"] == pytest.approx(
            again.reconstruction, rel=1e-5
        )
        assert f"{errors[name]['redatuming_error']:.4f}" in out
    swap, limit = errors["linear mean swap"], errors["limit"]
    assert swap["redatuming_error"] == pytest.approx(again.mean_swap)
    assert limit["redatuming_error"] == pytest.approx(exposures_limit(4, 6, 4))
    assert "Quick mode: only 1 epochs" in out
    assert "symae_demo/conditional" in out and "symae train" in out

    # A run of the demo is an ordinary run.
    succeeds("evaluate", "symae_demo/original", "--no-leakage")
    code, _, err = symae("demo", "--quick")
    assert code == 2 and "--force" in err

    # The metrics of that evaluation are listed; a user's file is not.
    mine = folder / "original" / "figures.txt"
    mine.write_text("mine", encoding="utf-8")
    code, _, err = symae("demo", "--quick", "--force")
    assert code == 2 and "original/figures.txt" in err and mine.exists()
    mine.unlink()
    Draft(folder, demo.CONTENTS, resume=None, force=True)


def test_the_full_demo_replaces_by_force(symae, succeeds, tiny, monkeypatch):
    old = tiny / "symae_demo"
    old.mkdir()
    (old / "metrics.json").write_text("old", encoding="utf-8")
    code, _, err = symae("demo", "--force")
    assert code == 2 and "no .symae.json shows that symae wrote it" in err
    write_marker(old, None, demo.CONTENTS)
    epochs = []
    monkeypatch.setattr(
        demo, "fill_run", lambda folder, plan: epochs.append(plan.recipe.epochs)
    )
    assert "Quick mode" not in succeeds("demo", "--force").out
    assert epochs == [2, 2]
    metrics = read_json(old / "metrics.json")
    assert metrics["quick"] is False and metrics["test"]["seed"] == 1
    assert os.listdir(tiny) == ["symae_demo"]


def test_an_interrupted_demo_leaves_nothing(symae, tiny, monkeypatch):
    def stop(folder, plan):
        if folder.name == "original":
            raise KeyboardInterrupt

    monkeypatch.setattr(demo, "fill_run", stop)
    code, _, err = symae("demo", "--quick")
    assert (code, err) == (1, "symae: interrupted\n")
    assert os.listdir(tiny) == []
