"""A recipe whose model takes single instances, from the command line."""

from __future__ import annotations

import numpy as np
import pytest

from symae_keras import cli
from symae_keras._utils.files import read_json


@pytest.fixture(scope="module")
def run(altered):
    """A trained run, made once; do not write into it."""
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


@pytest.mark.large
def test_train(run) -> None:
    metrics = read_json(run / "metrics.json")
    assert metrics["instances"] == 24 and not metrics["swaps_codes"]
    # Better than always giving the mean spectrum.
    assert 0.0 < metrics["reconstruction_error"] < 0.8
    assert "redatuming_error" not in metrics
    history = (run / "history.csv").read_text(encoding="utf-8").splitlines()
    assert history[0] == "epoch,loss,val_loss" and len(history) == 21


@pytest.mark.large
def test_figures(run) -> None:
    from symae_keras.cli._run_folder import load_run
    from symae_keras.cli.evaluate import write_figures
    from symae_keras.data import simulate_exposures

    groups = simulate_exposures(n_states=10, n_instances=3, seed=9)
    files = write_figures(
        run.parent / "figures", load_run(run).model, groups, run / "history.csv"
    )
    assert [each.stem for each in files] == ["history", "reconstruction", "codes"]


@pytest.mark.large
def test_evaluate(run, symae) -> None:
    done = symae("evaluate", run, "--recipe", run.parent / "altered.py")
    assert done.code == 0
    assert "reconstruction error" in done.out
    assert "No redatuming error: this is a model of single instances." in done.out
    assert "leakage" not in read_json(run / "metrics.json")


@pytest.mark.large
def test_own_data_with_missing_pixels(run, symae, tmp_path, data_file) -> None:
    with np.load(data_file) as file:
        x, mask = file["x"].copy(), file["mask"]
    x[:, :, 40:60] = np.nan
    good = np.isfinite(x)
    np.savez(tmp_path / "own.npz", x=x, mask=mask, pixel_mask=good)
    out = tmp_path / "own"
    recipe = run.parent / "altered.py"
    done = symae("train", recipe, "--data", tmp_path / "own.npz", "--out", out)
    assert done.code == 0, done.err
    metrics = read_json(out / "metrics.json")
    assert np.isfinite(metrics["reconstruction_error"])


@pytest.mark.large
def test_nothing_to_swap(run, symae, data_file, tmp_path) -> None:
    files = ("--coherent-from", data_file, "--nuisance-from", data_file)
    done = symae("redatum", run, *files, "--out", tmp_path / "virtual.npz")
    assert done.code == 2
    assert "a model of single instances" in done.err
    assert not (tmp_path / "virtual.npz").exists()


@pytest.mark.large
def test_anomalies(run, symae, data_file, tmp_path, read_rows) -> None:
    out = tmp_path / "found.csv"
    recipe = run.parent / "altered.py"
    done = symae(
        "anomalies", run, "--data", data_file, "--out", out, "--recipe", recipe
    )
    assert done.code == 0, done.err
    assert len(read_rows(out)) == 38  # two of forty are absent
    assert "24 held-out" in done.out
