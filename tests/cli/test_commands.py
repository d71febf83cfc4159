"""The commands on good input."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

import symae_keras
from symae_keras.data import load, simulate_exposures
from symae_keras.evaluation import relative_error


@pytest.mark.parametrize("simulated", [True, False])
def test_what_is_in_a_run_folder(simulated, run_folder, measured_run, read_rows):
    folder = run_folder if simulated else measured_run
    epochs = 2 if simulated else 1
    figures = (
        ["codes", "history", "redatuming"] if simulated else ["history", "redatuming"]
    )
    assert sorted(os.listdir(folder)) == [
        *("config.json", "environment.json", "figures", "history.csv"),
        *("metrics.json", "model.keras"),
    ]
    # Nothing is left beside it.
    assert os.listdir(folder.parent) == [folder.name]
    assert sorted(path.stem for path in folder.glob("figures/*.png")) == figures
    for path in folder.glob("figures/*.png"):
        assert path.read_bytes().startswith(b"\x89PNG")
    rows = read_rows(folder / "history.csv")
    assert [row["epoch"] for row in rows] == [str(n) for n in range(epochs)]
    assert all(float(row["loss"]) > 0 < float(row["val_loss"]) for row in rows)
    environment = json.loads((folder / "environment.json").read_text())
    assert environment["keras"] == keras.__version__
    assert environment["backend"] == keras.backend.backend()
    assert {"python", "platform", "numpy", "command"} < set(environment)


def test_metrics_and_config_of_a_simulated_run(run_folder):
    metrics = json.loads((run_folder / "metrics.json").read_text())
    assert metrics["groups"] == 22 and metrics["instances"] == 66
    for name in ("reconstruction_error", "redatuming_error", "mean_swap_error"):
        assert 0.0 < metrics[name] < 2.0
    config = json.loads((run_folder / "config.json").read_text())
    assert config["recipe"]["name"] == "tiny" and config["seed"] == 0
    assert config["groups"] == {"train": 88, "held_out": 22}


def test_train_prints_what_it_writes(symae, recipe, data_file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = symae("train", recipe, "--data", data_file, "--epochs", 1)
    assert code == 0, err
    metrics = json.loads(Path("runs/tiny/metrics.json").read_text())
    assert "redatuming_error" not in metrics and "No redatuming error" in out
    assert "runs/tiny" in out and f"{metrics['reconstruction_error']:.4f}" in out
    assert err.startswith("tiny: epoch 1/1: loss") and err.count("\n") == 1


def test_evaluate_finds_the_held_out_part_again(symae, own_run, recipe):
    before = json.loads((own_run / "metrics.json").read_text())
    code, out, err = symae("evaluate", own_run, "--recipe", recipe)
    assert (code, err) == (0, "")
    metrics = json.loads((own_run / "metrics.json").read_text())
    leakage = metrics.pop("leakage")
    assert metrics == pytest.approx(before)
    states = {"temperature", "abundance", "line_width"}
    assert set(leakage["state_from_nuisance"]) == states
    assert f"{leakage['state_from_coherent']['temperature']:.4f}" in out
    again = symae("evaluate", own_run, "--recipe", recipe, "--no-leakage")
    assert again.out.count("temperature") == 0
    assert json.loads((own_run / "metrics.json").read_text()) == metrics


def test_leakage_that_cannot_be_had_is_a_note(symae, own_run, recipe, monkeypatch):
    config = json.loads((own_run / "config.json").read_text())
    config["train_fraction"] = 0.9
    (own_run / "config.json").write_text(json.dumps(config))
    code, out, err = symae("evaluate", own_run, "--recipe", recipe)
    assert (code, err) == (0, "symae: note: leakage needs 20 groups, not 11\n")
    assert "11 groups" in out
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    code, out, err = symae("evaluate", own_run, "--recipe", recipe)
    assert code == 0 and 'pip install "symae_keras[data]"' in err


def test_a_changed_recipe_is_told(symae, own_run, recipe):
    config = json.loads((own_run / "config.json").read_text())
    config["recipe"]["sha256"] = "another"
    (own_run / "config.json").write_text(json.dumps(config))
    code, _, err = symae("evaluate", own_run, "--recipe", recipe, "--no-leakage")
    assert code == 0 and "has changed since" in err


def test_evaluate_a_run_on_a_file(symae, measured_run, recipe, data_file, tmp_path):
    before = (measured_run / "metrics.json").read_text()
    code, _, err = symae("evaluate", measured_run, "--recipe", recipe)
    assert (code, err) == (0, "")
    again = json.loads((measured_run / "metrics.json").read_text())
    assert again == pytest.approx(json.loads(before))

    # All of another file goes beside, and does not touch that.
    mine = tmp_path / "my.npz"
    mine.write_bytes(data_file.read_bytes())
    code, out, err = symae("evaluate", measured_run, "--data", mine)
    assert (code, err) == (0, "") and "metrics-my.json" in out
    metrics = json.loads((measured_run / "metrics-my.json").read_text())
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
    np.savez(many, x=groups.x)
    np.savez(one, x=groups.x[:1, :2])

    files = ("--coherent-from", one, "--nuisance-from", many, "--out", out)
    code, printed, err = symae("redatum", run_folder, *files)
    assert (code, err) == (0, "") and "(5, 3, 256)" in printed
    first = np.repeat(groups.x[:1, :2], 5, axis=0)
    expected = np.asarray(model.redatum(first, groups.x))
    with np.load(out) as written:
        assert written.files == ["x"] and written["x"].dtype == np.float32
        np.testing.assert_allclose(written["x"], expected, atol=1e-5)

    files = ("--coherent-from", many, "--nuisance-from", one, "--out", out)
    assert symae("redatum", run_folder, *files, "--force").code == 0
    expected = np.asarray(model.redatum(groups.x, first))
    np.testing.assert_allclose(load(out).x, expected, atol=1e-5)


def test_integer_data_are_converted_and_said_so(symae, run_folder, tmp_path):
    x = (100 * simulate_exposures(3, 2, seed=9).x).astype("int16")
    np.savez(tmp_path / "counts.npz", x=x)
    np.savez(tmp_path / "floats.npz", x=x.astype("float32"))
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
    np.savez(tmp_path / "a.npz", x=groups.x)
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
