"""The commands on good input."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import platform
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest

import symae_keras
from symae_keras._utils.files import read_json
from symae_keras.cli import compare
from symae_keras.cli._run_folder import NEEDED, few_held_out, load_run
from symae_keras.cli.evaluate import next_command
from symae_keras.cli.train import run_config
from symae_keras.data import load, save, simulate_exposures
from symae_keras.evaluation import relative_error
from symae_keras.evaluation._conformal import groups_needed
from symae_keras.evaluation.leakage import MIN_GROUPS
from symae_keras.training.checkpoint import read_history


@pytest.mark.parametrize("simulated", [True, False])
def test_what_is_in_a_run_folder(simulated, run_folder, measured_run):
    folder, epochs, figures = measured_run, 1, ["history", "redatuming"]
    if simulated:
        folder, epochs, figures = run_folder, 2, ["codes", *figures]
    assert sorted(os.listdir(folder)) == [
        *(".symae.json", "axis.json", "config.json", "environment.json", "figures"),
        *("history.csv", "metrics.json", "model.keras", "report.html"),
    ]
    # Nothing else is left in the folder.
    assert os.listdir(folder.parent) == [folder.name]
    assert sorted(path.stem for path in folder.glob("figures/*.png")) == figures
    for path in folder.glob("figures/*.png"):
        assert path.read_bytes().startswith(b"\x89PNG")
    rows = read_history(folder / "history.csv")
    assert [row["epoch"] for row in rows] == [str(n) for n in range(epochs)]
    assert all(float(row["loss"]) > 0 < float(row["val_loss"]) for row in rows)
    environment = read_json(folder / "environment.json")
    assert environment["keras"] == keras.__version__
    assert environment["backend"] == keras.backend.backend()
    assert environment["python"] == platform.python_version()
    assert {"platform", "numpy", "command"} < set(environment)


def test_metrics_and_config(run_folder, measured_run, data_file):
    metrics = read_json(run_folder / "metrics.json")
    assert metrics["groups"] == 22 and metrics["instances"] == 66
    for name in ("reconstruction_error", "redatuming_error", "mean_swap_error"):
        assert 0.0 < metrics[name] < 2.0
    config = read_json(run_folder / "config.json")
    assert config["recipe"]["name"] == "tiny" and config["seed"] == 0
    assert config["groups"] == {"train": 88, "held_out": 22}
    digest = hashlib.sha256(data_file.read_bytes()).hexdigest()
    assert read_json(measured_run / "config.json")["data"]["sha256"] == digest


def test_train_prints_what_it_writes(succeeds, recipe, data_file, here):
    _, out, err = succeeds("train", recipe, "--data", data_file, "--epochs", 1)
    metrics = read_json(here / "runs" / "tiny" / "metrics.json")
    assert "redatuming_error" not in metrics and metrics["verdict"] in out
    # Two groups are too few to show an improvement.
    assert metrics["detail_gain"] == 0.0 and "\nDetail of the state: off. " in out
    assert f"{metrics['estimated_redatuming_error']:.4f}" in out
    assert "runs/tiny" in out and f"{metrics['reconstruction_error']:.4f}" in out
    note, length, epoch = err.splitlines()
    assert "--epochs 1 makes only 1 updates" in note and "--updates 2000" in note
    assert length == "tiny: 8 groups, 1 updates of 8 groups x 3 instances"
    assert epoch.startswith("tiny: epoch 1/1: loss")
    # The result is poor after one epoch, so the next step is a search for settings.
    file = data_file.relative_to(here) if here in data_file.parents else data_file
    assert out.endswith(f"\nNext: symae tune --data {file} --out tuned\n")


def test_the_next_command_follows_from_the_estimate(tmp_path, monkeypatch):
    folder = Path("my runs/a")
    config = {
        "data": {"file": "s.csv"},
        "instance_shape": [256],
        "recipe": {"source": "symae_exposures"},
    }

    def next_of(error, linear, mixed=1.0, **changed):
        metrics = {
            "estimated_redatuming_error": error,
            "estimated_mean_swap_error": linear,
            "estimated_mixed_model_error": mixed,
        }
        return next_command(folder, config | changed, metrics)

    swap = (
        "symae redatum 'my runs/a' --coherent-from s.csv --nuisance-from reference.csv "
        "--out virtual.csv"
    )
    assert next_of(0.1, 0.2) == swap
    assert next_of(0.1, 0.2, recipe={"source": "r.py"}) == f"{swap} --recipe r.py"
    images = next_of(0.1, 0.2, instance_shape=[8, 8, 1])
    assert images.endswith("reference.npz --out virtual.npz")
    search = "symae tune --data s.csv --out tuned"
    assert next_of(0.3, 0.4) == next_of(0.1, 0.05) == search
    assert next_of(0.1, 0.2, mixed=0.08) == search
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tuned").mkdir()
    assert next_of(0.3, 0.4) == f"{search}2"
    (tmp_path / "tuned").rmdir()
    assert next_of(0.1, 0.2, mixed=0.095) == swap  # not clearly better
    grouped = next_of(0.3, 0.4, data={"file": "s.csv", "group": "my sample"})
    assert grouped == "symae tune --data s.csv --group 'my sample' --out tuned"
    assert next_command(folder, config, {}) is None


#: The command line without compiled methods, figures and the report, which other tests
#: check, and which take longer here than the training.
_WORKER = """
import gc
import sys

gc.disable()
import keras
from symae_keras import cli
from symae_keras._utils import compiled
from symae_keras.cli import train

compiled.CALLS_BEFORE = 8
train.write_figures = lambda *_: []
train.write_report = lambda *_: None
raise SystemExit(cli.main(sys.argv[1:]))
"""


@pytest.mark.large
def test_two_workers_make_one_run(altered, tmp_path, tf, cluster):
    # Too few groups for leakage scores, which take most of the time.
    recipe, out = altered(("n_states=110", "n_states=40")), tmp_path / "run"
    command = [
        *(sys.executable, "-c", _WORKER, "train", str(recipe)),
        *("--out", str(out), "--strategy", "multiworker"),
    ]
    workers = [
        subprocess.Popen(
            command,
            env={**os.environ, "TF_CONFIG": config},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for config in cluster(2)
    ]
    ends = [each.communicate(timeout=300) for each in workers]
    assert [each.returncode for each in workers] == [0, 0], ends
    # Both print the same metrics, and only the chief shows its progress.
    assert ends[0][0] == ends[1][0] and "redatuming error" in ends[0][0]
    assert "epoch 2/2" in ends[0][1] and "epoch" not in ends[1][1]
    assert os.listdir(tmp_path) == ["run"]
    assert read_json(out / "metrics.json")["groups"] == 8


# === evaluate ===


def test_evaluate_finds_the_held_out_part_again(succeeds, own_run, recipe):
    before = read_json(own_run / "metrics.json")
    _, out, err = succeeds("evaluate", own_run, "--recipe", recipe)
    assert err == ""
    metrics = read_json(own_run / "metrics.json")
    leakage = metrics.pop("leakage")
    assert metrics == pytest.approx(before)
    states = {"temperature", "abundance", "line_width"}
    assert set(leakage["state_from_nuisance"]) == states
    assert f"{leakage['state_from_coherent']['temperature']:.4f}" in out
    again = succeeds("evaluate", own_run, "--recipe", recipe, "--no-leakage")
    assert again.out.count("temperature") == 0
    assert read_json(own_run / "metrics.json") == metrics


def test_notes_of_evaluate(succeeds, own_run, recipe, edited):
    with edited(own_run / "config.json") as config:
        config["train_fraction"] = 0.9
        config["recipe"]["sha256"] = "another"
    _, out, err = succeeds("evaluate", own_run, "--recipe", recipe)
    assert "11 groups" in out
    changed, leakage = err.splitlines()
    assert changed.startswith("symae: note: ") and "has changed since" in changed
    few = "symae: note: no leakage scores: Leakage needs at least 20"
    assert leakage.startswith(few)


def test_evaluate_a_run_on_a_file(succeeds, measured_run, recipe, data_file, tmp_path):
    before = read_json(measured_run / "metrics.json")
    give = ("--recipe", recipe, "--no-leakage")
    assert succeeds("evaluate", measured_run, *give).err == ""
    assert read_json(measured_run / "metrics.json") == pytest.approx(before)

    # Results for another file are written to separate files.
    mine = tmp_path / "my.npz"
    mine.write_bytes(data_file.read_bytes())
    _, out, err = succeeds("evaluate", measured_run, "--data", mine)
    # The content is that of the training data.
    assert "No verdict: 8 of these 10 groups were used for training" in out
    assert "virtual instances are wrong by" not in out and "Next:" not in out
    assert "metrics-my.json" in out
    assert err.startswith("symae: note: no leakage scores, because the data have no")
    assert err.count("\n") == 1
    metrics = read_json(measured_run / "metrics-my.json")
    (measured_run / "metrics-my.json").unlink()
    assert metrics["groups"] == 10 and metrics["instances"] == 38
    model = keras.saving.load_model(measured_run / "model.keras", compile=False)
    groups = load(mine)
    output = np.asarray(model.reconstruct(groups.x, groups.mask))
    expected = relative_error(output[groups.present], groups.x[groups.present])
    assert metrics["reconstruction_error"] == pytest.approx(expected, rel=1e-5)


def test_few_held_out_groups_are_refused_with_a_remedy(
    refuses, own_run, recipe, edited
):
    with edited(own_run / "config.json") as config:
        config["groups"] = {"train": 32, "held_out": 8}
    command = ("evaluate", own_run, "--recipe", recipe, "--state")
    # A wrong name is no reason to train again.
    assert "no column abundanc; did you mean" in refuses(*command, "abundanc")
    err = refuses(*command, "abundance")
    assert f"--state needs at least 20 held-out groups, but {own_run} has 8; " in err
    assert "train with --held-out 0.5, or give other groups with --data" in err
    assert NEEDED == {"--bands": groups_needed(0.9), "--state": MIN_GROUPS}
    config = {"groups": {"train": 32, "held_out": 8}}
    assert "--held-out 0.25" in few_held_out(own_run, config, 9)
    assert few_held_out(own_run, config, 8) is few_held_out(own_run, {}, 8) is None


def test_a_changed_data_file_is_refused(refuses, measured_run, data_file):
    content = data_file.read_bytes()
    try:
        np.savez(data_file, x=load(data_file).x[::-1])
        err = refuses("evaluate", measured_run)
    finally:
        data_file.write_bytes(content)
    assert f"{data_file} has changed" in err and "--data" in err


# === redatum ===


#: Reasons why small runs, and those of an unnamed recipe, give no warnings.
NOT_COMPARED = "symae: note: inputs are not compared with held-out groups: "


def from_files(coherent: object, nuisance: object) -> tuple[object, ...]:
    return ("--coherent-from", coherent, "--nuisance-from", nuisance)


def test_redatum_a_file_under_its_own_nuisances(
    succeeds, measured_run, data_file, tmp_path
):
    out = tmp_path / "new" / "virtual.npz"
    files = from_files(data_file, data_file)
    done = succeeds("redatum", measured_run, *files, "--out", out)
    assert done.out == f"{out}: 10 groups x 4 instances of shape (256,)\n"
    assert done.err.startswith(NOT_COMPARED) and done.err.count("\n") == 1
    assert "at least 19 held-out groups" in done.err
    groups, virtual = load(data_file), load(out)
    there = groups.present
    model = keras.saving.load_model(measured_run / "model.keras", compile=False)
    expected = np.asarray(model.reconstruct(groups.x, groups.mask))
    np.testing.assert_array_equal(virtual.mask, groups.mask)
    np.testing.assert_allclose(virtual.axis, groups.axis)
    np.testing.assert_allclose(virtual.x[there], expected[there], atol=1e-5)
    np.testing.assert_array_equal(virtual.x[~there], 0.0)
    assert os.listdir(out.parent) == ["virtual.npz"]


def test_one_group_serves_all(succeeds, run_folder, here):
    groups = simulate_exposures(5, 3, seed=9)
    model = keras.saving.load_model(run_folder / "model.keras", compile=False)
    np.savez("many.npz", x=groups.x, axis=groups.axis)
    np.savez("one.npz", x=groups.x[:1, :2], axis=groups.axis)

    redatum = ("redatum", run_folder, "--out", "virtual.npz", "--force")
    _, printed, err = succeeds(*redatum, *from_files("one.npz", "many.npz"))
    assert "5 groups x 3 instances of shape (256,)" in printed
    assert err.startswith(NOT_COMPARED)
    assert "--recipe FILE" in err
    first = np.repeat(groups.x[:1, :2], 5, axis=0)
    expected = np.asarray(model.redatum(first, groups.x))
    with np.load("virtual.npz") as written:
        assert written.files == ["x", "axis", "axis_label"]
        assert written["x"].dtype == np.float32
        np.testing.assert_allclose(written["x"], expected, atol=1e-5)

    succeeds(*redatum, *from_files("many.npz", "one.npz"))
    expected = np.asarray(model.redatum(groups.x, first))
    np.testing.assert_allclose(load("virtual.npz").x, expected, atol=1e-5)


def test_detail_of_the_state(succeeds, own_run, here):
    groups = simulate_exposures(5, 3, seed=9)
    np.savez("some.npz", x=groups.x, axis=groups.axis)
    model = keras.saving.load_model(own_run / "model.keras", compile=False)
    files = from_files("some.npz", "some.npz")
    for reliability in (None, np.full(256, 0.25)):
        model.detail = reliability
        model.save(own_run / "model.keras")
        expected = np.asarray(model.redatum(groups.x, groups.x))
        succeeds("redatum", own_run, *files, "--out", "virtual.npz", "--force")
        np.testing.assert_allclose(load("virtual.npz").x, expected, atol=1e-5)
        printed = succeeds("evaluate", own_run, "--data", "some.npz").out
        gain = read_json(own_run / "metrics-some.json")["detail_gain"]
        if reliability is None:
            assert "Detail of the state: off" in printed and gain == 0.0
        else:
            # Three instances: 3 q / (1 + 2 q)
            assert "Detail of the state: on" in printed and "50 % of" in printed
            assert gain == pytest.approx(0.5)


def test_integer_data_are_converted_with_a_note(succeeds, run_folder, here):
    groups = simulate_exposures(3, 2, seed=9)
    x = (100 * groups.x).astype("int16")
    note = "symae: note: int16.npz: x holds int16; converted"
    made = []
    for dtype, start in (("int16", note), ("float32", NOT_COMPARED)):
        np.savez(f"{dtype}.npz", x=x.astype(dtype), axis=groups.axis)
        files = from_files(f"{dtype}.npz", f"{dtype}.npz")
        err = succeeds("redatum", run_folder, *files, "--out", f"v-{dtype}.npz").err
        assert err.startswith(start)
        made.append(load(f"v-{dtype}.npz").x)
    np.testing.assert_array_equal(*made)


def test_a_fresh_process_loads_the_run_and_stays_quiet(run_folder, tmp_path):
    """Check that no notices of TensorFlow appear and no imports are needed."""
    groups = simulate_exposures(2, 3, seed=9)
    np.savez(tmp_path / "a.npz", x=groups.x, axis=groups.axis)
    root = Path(symae_keras.__file__).parents[1]
    env = {**os.environ, "PYTHONPATH": str(root)}
    del env["TF_CPP_MIN_LOG_LEVEL"]
    command = [sys.executable, "-m", "symae_keras.cli", "redatum", str(run_folder)]
    command += [*from_files("a.npz", "a.npz"), "--out", "b.npz"]
    done = subprocess.run(
        command, cwd=tmp_path, env=env, capture_output=True, text=True
    )
    assert done.returncode == 0 and done.stderr.startswith(NOT_COMPARED)
    assert done.stderr.count("\n") == 1
    assert done.stdout == "b.npz: 2 groups x 3 instances of shape (256,)\n"
    model = keras.saving.load_model(run_folder / "model.keras", compile=False)
    expected = np.asarray(model.redatum(groups.x, groups.x))
    np.testing.assert_allclose(load(tmp_path / "b.npz").x, expected, atol=1e-5)


@pytest.mark.parametrize("suffix", ["csv", "npz"])
def test_bands_beside_virtual_instances(succeeds, run_folder, recipe, here, suffix):
    groups = simulate_exposures(4, 3, seed=9)
    mask = np.arange(3) < np.array([3, 2, 3, 3])[:, None]
    save(dataclasses.replace(groups, mask=mask, render=None), "my.npz")
    command = ("redatum", run_folder, *from_files("my.npz", "my.npz"), "--bands")
    out = f"virtual.{suffix}"
    printed = succeeds(*command, "--recipe", recipe, "--out", out).out
    virtual = load(out)
    if suffix == "csv":
        names = ["virtual.lower.csv", "virtual.upper.csv"]
        assert printed.splitlines()[1:] == names
        assert sorted(os.listdir()) == sorted(["my.npz", out, *names])
        lower, upper = (load(name).x for name in names)
    else:
        with np.load(out) as file:
            lower, upper = file["lower"], file["upper"]
        np.testing.assert_array_equal(lower[~mask], 0.0)
    there = virtual.present
    np.testing.assert_array_equal(there, mask)
    assert (lower[there] < virtual.x[there]).all()
    assert (virtual.x[there] < upper[there]).all()


def test_bands_say_that_inputs_are_not_compared(
    succeeds, own_run, recipe, data_file, edited, here
):
    """Few held-out groups are enough for bands, but not for a comparison."""
    with edited(own_run / "config.json") as config:
        config["groups"] = {"train": 36, "held_out": 12}
    command = ("redatum", own_run, *from_files(data_file, data_file), "--bands")
    err = succeeds(*command, "--recipe", recipe, "--out", here / "v.npz").err
    assert err.startswith(f"{NOT_COMPARED}this needs at least 19 held-out groups")


def test_bands_need_the_held_out_groups(refuses, measured_run, run_folder, data_file):
    files = from_files(data_file, data_file)
    err = refuses("redatum", measured_run, *files, "--bands", "--out", "v.npz")
    # Ten groups are known to be too few before the model is read.
    few = "--bands needs at least 9 held-out groups, but {} has 2; train on at least 18"
    assert few.format(measured_run) in err
    err = refuses("redatum", run_folder, *files, "--bands", "--out", "v.npz")
    assert "--recipe FILE" in err


def test_limits_of_bands_are_not_replaced(refuses, run_folder, data_file, here):
    (here / "v.upper.csv").write_text("mine")
    files = from_files(data_file, data_file)
    err = refuses("redatum", run_folder, *files, "--bands", "--out", "v.csv")
    assert err.startswith("symae: v.upper.csv exists")


def test_inputs_unlike_the_held_out_groups(succeeds, run_folder, recipe, here):
    groups = simulate_exposures(3, 3, seed=9)
    np.savez("normal.npz", x=groups.x, axis=groups.axis)
    np.savez("bright.npz", x=5.0 * groups.x, axis=groups.axis)
    redatum = ("redatum", run_folder, "--recipe", recipe, "--out", "v.npz", "--force")
    assert succeeds(*redatum, *from_files("normal.npz", "normal.npz")).err == ""
    err = succeeds(*redatum, *from_files("normal.npz", "bright.npz")).err
    first = err.splitlines()[0]
    assert first.startswith("symae: note: bright.npz: group ")
    assert "is unlike the held-out groups: " in first and "smallest possible" in first
    assert "normal.npz" not in err


# === anomalies and export ===


def test_the_strange_instance_comes_first(
    succeeds, refuses, run_folder, recipe, data_file, here
):
    """Turn one exposure upside down; two of forty are absent."""
    groups = load(data_file)
    groups.x[4, 1] = 2.0 - groups.x[4, 1]
    np.savez("strange.npz", x=groups.x, mask=groups.mask)
    command = ("anomalies", run_folder, "--data", "strange.npz", "--out", "found.csv")
    said = succeeds(*command, "--recipe", recipe).out
    rows = read_history(here / "found.csv")
    assert len(rows) == 38
    assert (rows[0]["group"], rows[0]["instance"]) == ("4", "1")
    scores = [float(row["score"]) for row in rows]
    assert scores == sorted(scores, reverse=True)
    # The run held out 66 instances.
    assert float(rows[0]["p_value"]) == pytest.approx(1 / 67)
    # No p-value can be below 1/67, so this is the limit instead of 0.01.
    assert " of 38 instances have p <= 0.015" in said and "66 held-out" in said
    assert "give --force" in refuses(*command, "--recipe", recipe)


@pytest.mark.parametrize("command", ["encode", "anomalies"])
def test_new_data_are_reported(command, succeeds, run_folder, recipe, data_file, here):
    np.savez("far.npz", x=10.0 * load(data_file).x)
    files = ("--data", "far.npz", "--out", "out.csv", "--recipe", recipe)
    err = succeeds(command, run_folder, *files).err
    assert "far.npz: group" in err and "unlike the held-out groups" in err


def test_onnx(succeeds, refuses, run_folder, data_file, tmp_path) -> None:
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("tf2onnx")
    out = tmp_path / "new" / "codes.onnx"
    command = ["export", run_folder, "--format", "onnx", "--endpoint", "encode"]
    done = succeeds(*command, "--out", out)
    assert done.err == ""
    assert {
        "input x (batch, instances, 256) float32",
        "input mask (batch, instances) bool",
        "output coherent (batch, 3) float32",
    } <= {" ".join(line.split()) for line in done.out.splitlines()}
    groups = load(data_file)
    session = runtime.InferenceSession(out)
    outputs = session.run(["coherent"], {"x": groups.x, "mask": groups.mask})[0]
    expected = load_run(run_folder).model.encode(groups.x, groups.mask).coherent
    np.testing.assert_allclose(outputs, expected, atol=1e-4)
    assert "give --force" in refuses(*command, "--out", out)


@pytest.mark.large
def test_an_export_is_named_after_the_run(succeeds, refuses, run_folder, here) -> None:
    succeeds("export", run_folder)
    assert (here / "tiny-redatum" / "saved_model.pb").is_file()
    assert os.listdir() == ["tiny-redatum"]
    refuses("export", run_folder)
    succeeds("export", run_folder, "--force")


# === Axes ===

AXIS = np.linspace(-1.0, 1.0, 256)


@pytest.fixture
def on_axis(here) -> Callable[[str, np.ndarray | None], str]:
    """Return a function that writes groups on an axis into a file."""
    groups = simulate_exposures(n_states=2, n_instances=3, seed=7)

    def write(name: str, axis: np.ndarray | None) -> str:
        save(dataclasses.replace(groups, render=None, axis=axis), name)
        return name

    return write


def test_other_axes_are_refused(succeeds, refuses, measured_run, on_axis, here):
    same = on_axis("same.csv", AXIS)
    redatum = ("redatum", measured_run, "--out", "v.csv")
    assert succeeds(*redatum, *from_files(same, same)).err.startswith(NOT_COMPARED)
    np.testing.assert_allclose(load("v.csv").axis, AXIS, atol=1e-6)
    (here / "v.csv").unlink()
    for file, axis, words in (
        ("back.csv", AXIS[::-1], "in reverse order"),
        ("other.csv", AXIS + 300.0, "299 to 301"),
    ):
        on_axis(file, axis)
        for command in (
            (*redatum, *from_files(file, same)),
            (*redatum, *from_files(same, file)),
            ("evaluate", measured_run, "--data", file),
            ("anomalies", measured_run, "--data", file, "--out", "v.csv"),
        ):
            err = refuses(*command)
            assert words in err and file in err
    assert not list(measured_run.glob("metrics-back*"))


@pytest.mark.parametrize("method", ["linear", "flux"])
def test_other_axes_are_resampled(method, succeeds, refuses, measured_run, here):
    """Twice as many pixels, in reverse order, and slightly more on both sides."""
    fine = np.linspace(1.1, -1.1, 563)
    lines = np.exp(-0.5 * ((fine - [[0.3], [-0.4]]) / 0.1) ** 2)
    np.savez("fine.npz", x=lines[:, None].astype("float32"), axis=fine)
    command = ("redatum", measured_run, "--out", "v.npz")
    files = from_files("fine.npz", "fine.npz")
    err = refuses(*command, *files)
    assert "fine.npz is on the axis 1.1 to -1.1, 563 pixels" in err
    assert "resample the data to that axis, with --axis linear, or in Python" in err
    succeeds(*command, *files, "--axis", method)
    codes = ("encode", measured_run, "--data", "fine.npz", "--out", "codes.csv")
    succeeds(*codes, "--force", "--axis", method)
    virtual = load("v.npz")
    np.testing.assert_allclose(virtual.axis, AXIS, atol=1e-6)
    # The result is the same as for data that were resampled before.
    exact = np.exp(-0.5 * ((AXIS - [[0.3], [-0.4]]) / 0.1) ** 2)
    np.savez("same.npz", x=exact[:, None].astype("float32"), axis=AXIS)
    succeeds(
        *("redatum", measured_run, "--out", "w.npz"),
        *from_files("same.npz", "same.npz"),
    )
    np.testing.assert_allclose(virtual.x, load("w.npz").x, atol=2e-3)


def test_data_without_an_axis_cannot_be_resampled(refuses, measured_run, on_axis):
    file = on_axis("plain.npz", None)
    command = ("redatum", measured_run, "--out", "v.npz", *from_files(file, file))
    assert "plain.npz: These groups have no axis" in refuses(*command, "--axis", "flux")
    assert "cubic" in refuses(*command, "--axis", "cubic")


def test_data_without_an_axis_are_a_note(succeeds, measured_run, on_axis):
    file = on_axis("plain.npz", None)
    redatum = ("redatum", measured_run, "--out", "v.npz")
    assert "plain.npz has no axis" in succeeds(*redatum, *from_files(file, file)).err
    # The results are on the axis of the run.
    np.testing.assert_allclose(load("v.npz").axis, AXIS, atol=1e-6)


def test_a_run_without_an_axis_compares_the_two_files(refuses, own_run, on_axis):
    (own_run / "axis.json").unlink()
    files = from_files(on_axis("one.csv", AXIS), on_axis("other.csv", AXIS + 300.0))
    err = refuses("redatum", own_run, *files, "--out", "v.npz")
    assert "resample one of them" in err


# === Updates ===


@pytest.mark.large
def test_a_preset_trains_small_data_for_enough_updates(
    symae, succeeds, altered, data_file, here, monkeypatch
):
    """Eight groups are one batch, so that two epochs would be two updates."""
    monkeypatch.setattr("symae_keras.training.MIN_UPDATES", 4)
    altered(path=here / "zoo" / "small" / "recipe.py")
    monkeypatch.setattr("symae_keras._utils.presets._folder", lambda: here / "zoo")
    command = ("train", "small", "--data", data_file, "--out", "run")
    err = succeeds(*command).err
    assert "small: 8 groups, 4 updates of 8 groups x 3 instances" in err
    assert "epoch 4/4" in err
    config = read_json(here / "run" / "config.json")
    assert (config["min_updates"], config["updates"]) == (4, 4)
    # The option --epochs overrides the number of epochs, --updates that of updates.
    err = succeeds(*command, "--epochs", 1, "--force").err
    assert "8 groups, 1 updates of" in err and "give --updates 4" in err
    err = succeeds(*command, "--updates", 3, "--force").err
    assert "8 groups, 3 updates of" in err and "small data" not in err
    refused = symae(*command, "--updates", 4, "--epochs", 1, "--force").err
    assert "give one of them" in refused


def test_presets_train_own_data_with_adam(data_file):
    """Large batches and falling noise of a preset are for thousands of groups."""
    settings = ("optimizer", "learning_rate", "batch_size", "final_noise")
    for file, expected in (
        (None, ("muon", 1e-2, 64, 0.2)),
        (data_file, ("adam", 2e-3, 16, None)),
    ):
        recipe, config = run_config("symae_exposures", file, 0)
        assert tuple(getattr(recipe, name) for name in settings) == expected
        assert tuple(config[name] for name in settings) == expected


def test_a_recipe_of_your_own_keeps_its_optimizer(altered, data_file):
    path = altered(("epochs=2", "epochs=2, optimizer='muon', final_noise=0.1"))
    recipe, config = run_config(str(path), data_file, 0)
    assert (recipe.optimizer, config["final_noise"]) == ("muon", 0.1)


def test_a_recipe_with_few_updates_is_a_note(succeeds, recipe, data_file, tmp_path):
    err = succeeds("train", recipe, "--data", data_file, "--out", tmp_path / "r").err
    assert "the recipe has 2 epochs, which are only 2 updates" in err
    assert "give --updates 2000" in err


# === compare ===


@pytest.fixture
def small_comparison(monkeypatch) -> None:
    """Few stars and one epoch."""
    stars = simulate_exposures(n_states=60, n_instances=3, seed=0)
    monkeypatch.setattr(compare, "_data", lambda *_: (stars[:40], stars[40:]))
    monkeypatch.setattr(compare, "QUICK_EPOCHS", 1)
    monkeypatch.setattr("symae_keras.training.MIN_UPDATES", 160)


@pytest.mark.large
def test_comparison(succeeds, small_comparison, tmp_path) -> None:
    out = tmp_path / "comparison"
    models = "symae, pca,mean_swap"
    command = ("compare", "--quick", "--models", models, "--out", out)
    _, stdout, err = succeeds(*command)
    for title in ("SymAE (conditional, Gaussian)", "PCA of means", "Linear mean swap"):
        assert title in stdout
    assert "redatuming" in stdout and "state from" in stdout  # headings may be broken
    assert sorted(os.listdir(out)) == [
        *(".symae.json", "comparison.csv", "comparison.md", "environment.json"),
        *("redatuming_against_reconstruction.png", "rows.csv", "settings.json"),
    ]
    assert "SymAE (conditional, Gaussian), seed 0, 1 of 3" in err
    assert "has the lowest redatuming error, 0." in stdout
    assert "\nNext: symae tune --data my.csv --out tuned\n" in stdout
    assert err.startswith(
        "each model of groups: 40 groups, 6 updates of 16 groups x 3 instances\n"
    )
    # In a second call, everything exists, so nothing is trained.
    _, again, err = succeeds(*command)
    assert again == stdout and "1 of" not in err


def test_an_interrupted_comparison_names_the_way_to_resume(
    symae, small_comparison, tmp_path, monkeypatch
) -> None:
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    # Import by the full name, because a function with the same name hides the module.
    monkeypatch.setattr(
        sys.modules["symae_keras.evaluation.compare"], "train", interrupt
    )
    out = tmp_path / "comparison"
    code, _, err = symae("compare", "--models", "pca,symae", "--out", out)
    assert code == 1 and "kept, resume with the same command" in err
    assert (out / "rows.csv").read_text(encoding="utf-8").count("\n") == 2
