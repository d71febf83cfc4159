"""A recipe whose model takes single instances, from the command line."""

from __future__ import annotations

import numpy as np
import pytest

from symae_keras import cli
from symae_keras._utils.files import read_json
from symae_keras.cli._run_folder import load_run
from symae_keras.cli.evaluate import write_figures
from symae_keras.data import simulate_exposures
from symae_keras.training.checkpoint import read_history

pytestmark = pytest.mark.large


@pytest.fixture(scope="module")
def run(altered):
    """Return a trained run, made once; do not modify it."""
    recipe = altered(
        ("SymAE", "Autoencoder"),
        ("coherent_dim=3", "code_dim=4"),
        ("        nuisance_dim=2,\n", ""),
        ("n_states=110", "n_states=40"),
        (
            "epochs=2, batch_size=44, instances=3",
            "epochs=20, batch_size=8, instances=2",
        ),
    )
    folder = recipe.parent
    assert cli.main(["train", str(recipe), "--out", str(folder / "run")]) == 0
    return folder / "run"


def test_metrics_history_and_figures(run) -> None:
    metrics = read_json(run / "metrics.json")
    assert metrics["instances"] == 24 and not metrics["swaps_codes"]
    # The error is lower than that of the mean spectrum.
    assert 0.0 < metrics["reconstruction_error"] < 0.8
    assert "redatuming_error" not in metrics
    history = read_history(run / "history.csv")
    assert list(history[0]) == ["epoch", "loss", "val_loss"] and len(history) == 20
    groups = simulate_exposures(n_states=10, n_instances=3, seed=9)
    files = write_figures(
        run.parent / "figures", load_run(run).model, groups, run / "history.csv"
    )
    assert [each.stem for each in files] == ["history", "reconstruction", "codes"]


def test_evaluate(run, succeeds) -> None:
    out = succeeds("evaluate", run, "--recipe", run.parent / "altered.py").out
    assert "reconstruction error" in out
    assert "No redatuming error: this is a model of single instances." in out
    assert "leakage" not in read_json(run / "metrics.json")


def test_own_data_with_missing_pixels(run, succeeds, here, data_file) -> None:
    with np.load(data_file) as file:
        x, mask = file["x"].copy(), file["mask"]
    x[:, :, 40:60] = np.nan
    np.savez("own.npz", x=x, mask=mask, pixel_mask=np.isfinite(x))
    recipe = run.parent / "altered.py"
    succeeds("train", recipe, "--data", "own.npz", "--out", "own")
    metrics = read_json(here / "own" / "metrics.json")
    assert np.isfinite(metrics["reconstruction_error"])


def test_nothing_to_swap(run, refuses, data_file) -> None:
    files = ("--coherent-from", data_file, "--nuisance-from", data_file)
    err = refuses("redatum", run, *files, "--out", "virtual.npz")
    assert "a model of single instances" in err


def test_anomalies(run, succeeds, data_file, tmp_path) -> None:
    out, recipe = tmp_path / "found.csv", run.parent / "altered.py"
    command = ("anomalies", run, "--data", data_file, "--out", out)
    assert "24 held-out" in succeeds(*command, "--recipe", recipe).out
    assert len(read_history(out)) == 38  # two of forty are absent
