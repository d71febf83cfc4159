"""The commands on good input."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest

import symae_keras
from symae_keras._utils.files import read_json
from symae_keras.data import GroupedData, load, save, simulate_exposures
from symae_keras.evaluation import relative_error


@pytest.mark.parametrize("simulated", [True, False])
def test_what_is_in_a_run_folder(simulated, run_folder, measured_run, read_rows):
    folder = run_folder if simulated else measured_run
    epochs = 2 if simulated else 1
    figures = (
        ["codes", "history", "redatuming"] if simulated else ["history", "redatuming"]
    )
    assert sorted(os.listdir(folder)) == [
        *(".symae.json", "axis.json", "config.json", "environment.json", "figures"),
        *("history.csv", "metrics.json", "model.keras"),
    ]
    # Nothing is left beside it.
    assert os.listdir(folder.parent) == [folder.name]
    assert sorted(path.stem for path in folder.glob("figures/*.png")) == figures
    for path in folder.glob("figures/*.png"):
        assert path.read_bytes().startswith(b"\x89PNG")
    rows = read_rows(folder / "history.csv")
    assert [row["epoch"] for row in rows] == [str(n) for n in range(epochs)]
    assert all(float(row["loss"]) > 0 < float(row["val_loss"]) for row in rows)
    environment = read_json(folder / "environment.json")
    assert environment["keras"] == keras.__version__
    assert environment["backend"] == keras.backend.backend()
    assert {"python", "platform", "numpy", "command"} < set(environment)


def test_metrics_and_config_of_a_simulated_run(run_folder):
    metrics = read_json(run_folder / "metrics.json")
    assert metrics["groups"] == 22 and metrics["instances"] == 66
    for name in ("reconstruction_error", "redatuming_error", "mean_swap_error"):
        assert 0.0 < metrics[name] < 2.0
    config = read_json(run_folder / "config.json")
    assert config["recipe"]["name"] == "tiny" and config["seed"] == 0
    assert config["groups"] == {"train": 88, "held_out": 22}


def test_train_prints_what_it_writes(symae, recipe, data_file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = symae("train", recipe, "--data", data_file, "--epochs", 1)
    assert code == 0, err
    metrics = read_json(Path("runs/tiny/metrics.json"))
    assert "redatuming_error" not in metrics and "No redatuming error" in out
    assert "runs/tiny" in out and f"{metrics['reconstruction_error']:.4f}" in out
    assert err.startswith("tiny: epochs x updates per epoch: 1 x 1 = 1 updates\n")
    assert "\ntiny: epoch 1/1: loss" in err
    assert err.count("\n") == 2


def test_evaluate_finds_the_held_out_part_again(symae, own_run, recipe):
    before = read_json(own_run / "metrics.json")
    code, out, err = symae("evaluate", own_run, "--recipe", recipe)
    assert (code, err) == (0, "")
    metrics = read_json(own_run / "metrics.json")
    leakage = metrics.pop("leakage")
    assert metrics == pytest.approx(before)
    states = {"temperature", "abundance", "line_width"}
    assert set(leakage["state_from_nuisance"]) == states
    assert f"{leakage['state_from_coherent']['temperature']:.4f}" in out
    again = symae("evaluate", own_run, "--recipe", recipe, "--no-leakage")
    assert again.out.count("temperature") == 0
    assert read_json(own_run / "metrics.json") == metrics


def test_leakage_that_cannot_be_had_is_a_note(symae, own_run, recipe):
    config = read_json(own_run / "config.json")
    config["train_fraction"] = 0.9
    (own_run / "config.json").write_text(json.dumps(config), encoding="utf-8")
    code, out, err = symae("evaluate", own_run, "--recipe", recipe)
    assert code == 0 and "11 groups" in out
    assert err.startswith("symae: note: no leakage scores: Leakage needs at least 20")


def test_a_changed_recipe_is_told(symae, own_run, recipe):
    config = read_json(own_run / "config.json")
    config["recipe"]["sha256"] = "another"
    (own_run / "config.json").write_text(json.dumps(config), encoding="utf-8")
    code, _, err = symae("evaluate", own_run, "--recipe", recipe, "--no-leakage")
    assert code == 0 and "has changed since" in err


def test_evaluate_a_run_on_a_file(symae, measured_run, recipe, data_file, tmp_path):
    before = (measured_run / "metrics.json").read_text(encoding="utf-8")
    give = ("--recipe", recipe, "--no-leakage")
    code, _, err = symae("evaluate", measured_run, *give)
    assert (code, err) == (0, "")
    again = read_json(measured_run / "metrics.json")
    assert again == pytest.approx(json.loads(before))

    # All of another file goes beside, and does not touch that.
    mine = tmp_path / "my.npz"
    mine.write_bytes(data_file.read_bytes())
    code, out, err = symae("evaluate", measured_run, "--data", mine)
    assert code == 0 and "metrics-my.json" in out
    assert err.startswith("symae: note: no leakage scores: Leakage is measured against")
    assert err.count("\n") == 1
    metrics = read_json(measured_run / "metrics-my.json")
    (measured_run / "metrics-my.json").unlink()
    assert metrics["groups"] == 10 and metrics["instances"] == 38
    model = keras.saving.load_model(measured_run / "model.keras", compile=False)
    groups = load(mine)
    output = np.asarray(model.reconstruct(groups.x, groups.mask))
    expected = relative_error(output[groups.present], groups.x[groups.present])
    assert metrics["reconstruction_error"] == pytest.approx(expected, rel=1e-5)


def test_a_changed_data_file_is_refused(symae, measured_run, data_file):
    content = data_file.read_bytes()
    try:
        np.savez(data_file, x=load(data_file).x[::-1])
        code, out, err = symae("evaluate", measured_run)
    finally:
        data_file.write_bytes(content)
    assert (code, out) == (2, "") and err.count("\n") == 1
    assert f"{data_file} has changed" in err and "--data" in err


def test_redatum_a_file_under_its_own_nuisances(
    symae, measured_run, data_file, tmp_path
):
    out = tmp_path / "new" / "virtual.npz"
    files = ("--coherent-from", data_file, "--nuisance-from", data_file)
    code, printed, err = symae("redatum", measured_run, *files, "--out", out)
    assert (code, err) == (0, "")
    assert printed == f"{out}: x (10, 4, 256)\n"
    groups, virtual = load(data_file), load(out)
    there = groups.present
    model = keras.saving.load_model(measured_run / "model.keras", compile=False)
    expected = np.asarray(model.reconstruct(groups.x, groups.mask))
    np.testing.assert_array_equal(virtual.mask, groups.mask)
    np.testing.assert_allclose(virtual.axis, groups.axis)
    np.testing.assert_allclose(virtual.x[there], expected[there], atol=1e-5)
    np.testing.assert_array_equal(virtual.x[~there], 0.0)
    assert os.listdir(out.parent) == ["virtual.npz"]


def test_one_group_serves_all(symae, run_folder, tmp_path):
    groups = simulate_exposures(5, 3, seed=9)
    model = keras.saving.load_model(run_folder / "model.keras", compile=False)
    many, one, out = (tmp_path / f"{n}.npz" for n in ("many", "one", "virtual"))
    np.savez(many, x=groups.x, axis=groups.axis)
    np.savez(one, x=groups.x[:1, :2], axis=groups.axis)

    files = ("--coherent-from", one, "--nuisance-from", many, "--out", out)
    code, printed, err = symae("redatum", run_folder, *files)
    assert (code, err) == (0, "") and "(5, 3, 256)" in printed
    first = np.repeat(groups.x[:1, :2], 5, axis=0)
    expected = np.asarray(model.redatum(first, groups.x))
    with np.load(out) as written:
        assert written.files == ["x", "axis", "axis_label"]
        assert written["x"].dtype == np.float32
        np.testing.assert_allclose(written["x"], expected, atol=1e-5)

    files = ("--coherent-from", many, "--nuisance-from", one, "--out", out)
    assert symae("redatum", run_folder, *files, "--force").code == 0
    expected = np.asarray(model.redatum(groups.x, first))
    np.testing.assert_allclose(load(out).x, expected, atol=1e-5)


def test_integer_data_are_converted_and_said_so(symae, run_folder, tmp_path):
    groups = simulate_exposures(3, 2, seed=9)
    x = (100 * groups.x).astype("int16")
    np.savez(tmp_path / "counts.npz", x=x, axis=groups.axis)
    np.savez(tmp_path / "floats.npz", x=x.astype("float32"), axis=groups.axis)
    results = []
    for name in ("counts.npz", "floats.npz"):
        file, out = tmp_path / name, tmp_path / f"virtual-{name}"
        files = ("--coherent-from", file, "--nuisance-from", file)
        code, _, err = symae("redatum", run_folder, *files, "--out", out)
        assert code == 0
        results.append((err, load(out).x))
    note = f"symae: note: {tmp_path / 'counts.npz'}: x holds int16; converted"
    assert results[0][0].startswith(note)
    assert results[1][0] == ""
    np.testing.assert_array_equal(results[0][1], results[1][1])


def test_a_fresh_process_loads_the_run_and_stays_quiet(run_folder, tmp_path):
    """No notices of TensorFlow, and nothing to import by hand."""
    groups = simulate_exposures(2, 3, seed=9)
    np.savez(tmp_path / "a.npz", x=groups.x, axis=groups.axis)
    root = Path(symae_keras.__file__).parents[1]
    env = {**os.environ, "PYTHONPATH": str(root)}
    del env["TF_CPP_MIN_LOG_LEVEL"]
    command = [sys.executable, "-m", "symae_keras.cli", "redatum", str(run_folder)]
    files = ["--coherent-from", "a.npz", "--nuisance-from", "a.npz", "--out", "b.npz"]
    done = subprocess.run(
        command + files, cwd=tmp_path, env=env, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "b.npz: x (2, 3, 256)\n"
    model = keras.saving.load_model(run_folder / "model.keras", compile=False)
    expected = np.asarray(model.redatum(groups.x, groups.x))
    np.testing.assert_allclose(load(tmp_path / "b.npz").x, expected, atol=1e-5)


# === Axes ===


def _write(path: Path, groups: GroupedData, **changes: object) -> Path:
    save(dataclasses.replace(groups, render=None, **changes), path)
    return path


@pytest.fixture
def on_axis(tmp_path, measured_run) -> Callable[..., Path]:
    """A function that writes groups on the axis of a run, or on another one."""
    assert (measured_run / "axis.json").is_file()
    groups = simulate_exposures(n_states=2, n_instances=3, seed=7)

    def write(name: str, axis: np.ndarray) -> Path:
        return _write(tmp_path / name, groups, axis=axis)

    return write


def test_other_axes_are_refused(symae, measured_run, on_axis, tmp_path):
    axis = np.linspace(-1.0, 1.0, 256)
    same, back = on_axis("same.csv", axis), on_axis("back.csv", axis[::-1])
    other = on_axis("other.csv", axis + 300.0)
    out = tmp_path / "v.csv"
    give = ("--nuisance-from", same, "--out", out)
    code, _, err = symae("redatum", measured_run, "--coherent-from", same, *give)
    assert (code, err) == (0, "")
    np.testing.assert_allclose(load(out).axis, axis, atol=1e-6)
    out.unlink()
    for file, words in ((back, "in reverse order"), (other, "299 to 301")):
        for command in (
            ("redatum", measured_run, "--coherent-from", file, *give),
            ("redatum", measured_run, "--coherent-from", same)
            + ("--nuisance-from", file, "--out", out),
            ("evaluate", measured_run, "--data", file),
            ("anomalies", measured_run, "--data", file, "--out", out),
        ):
            code, _, err = symae(*command)
            assert code == 2 and words in err and str(file) in err
    assert not out.exists()
    assert not list(measured_run.glob("metrics-back*"))


def test_data_without_an_axis_are_a_note(symae, measured_run, tmp_path):
    groups = simulate_exposures(n_states=2, n_instances=3, seed=7)
    file = _write(tmp_path / "plain.npz", groups, axis=None)
    out = tmp_path / "v.npz"
    code, _, err = symae(
        *("redatum", measured_run, "--out", out),
        *("--coherent-from", file, "--nuisance-from", file),
    )
    assert code == 0 and "plain.npz has no axis" in err
    # They come out on the axis of the run.
    np.testing.assert_allclose(load(out).axis, np.linspace(-1.0, 1.0, 256), atol=1e-6)


def test_a_run_without_an_axis_compares_the_two_files(
    symae, measured_run, on_axis, tmp_path
):
    old = Path(shutil.copytree(measured_run, tmp_path / "old"))
    (old / "axis.json").unlink()
    axis = np.linspace(-1.0, 1.0, 256)
    one, other = on_axis("one.csv", axis), on_axis("other.csv", axis + 300.0)
    code, _, err = symae(
        *("redatum", old, "--out", tmp_path / "v.npz"),
        *("--coherent-from", one, "--nuisance-from", other),
    )
    assert code == 2 and "resample one of them" in err


# === Updates ===


@pytest.mark.large
def test_a_preset_trains_small_data_for_enough_updates(
    symae, altered, data_file, tmp_path, monkeypatch
):
    """Eight groups are one batch, so that two epochs would be two updates."""
    monkeypatch.setattr("symae_keras.training.MIN_UPDATES", 4)
    altered(path=tmp_path / "zoo" / "small" / "recipe.py")
    monkeypatch.setattr("symae_keras._utils.presets._folder", lambda: tmp_path / "zoo")
    out = tmp_path / "run"
    command = ("train", "small", "--data", data_file, "--out", out)
    code, _, err = symae(*command)
    assert code == 0
    assert "small: epochs x updates per epoch: 4 x 1 = 4 updates" in err
    config = read_json(out / "config.json")
    assert (config["min_updates"], config["updates"]) == (4, 4)
    # The option --epochs overrides that.
    code, _, err = symae(*command, "--epochs", 1, "--force")
    assert code == 0 and "1 x 1 = 1 updates" in err and "small data" not in err


def test_a_recipe_with_few_updates_is_a_note(symae, recipe, data_file, tmp_path):
    code, _, err = symae("train", recipe, "--data", data_file, "--out", tmp_path / "r")
    assert code == 0 and "the 2 epochs of the recipe are only 2 updates" in err
    assert "give --epochs 2000, or leave epochs out" in err
