"""A recipe whose model knows no groups, from the command line."""

from __future__ import annotations

import json

import numpy as np
import pytest

from symae_keras import cli

RECIPE = '''"""An autoencoder of single spectra that trains in a second."""

from symae_keras.data import simulate_exposures
from symae_keras.layers import DenseEncoder
from symae_keras.models import Autoencoder
from symae_keras.training import Recipe, normalization


def data(seed):
    return simulate_exposures(n_states=40, n_instances=3, seed=seed)


def model(groups, seed):
    return Autoencoder(
        groups.instance_shape,
        code_dim=4,
        encoder=DenseEncoder(8, units=(16,)),
        normalization=normalization(groups),
        seed=seed,
    )


RECIPE = Recipe(model=model, data=data, epochs=20, batch_size=8, instances=2)
'''


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A trained run, made once; do not write into it."""
    folder = tmp_path_factory.mktemp("single")
    recipe = folder / "single.py"
    recipe.write_text(RECIPE, encoding="utf-8")
    assert cli.main(["train", str(recipe), "--out", str(folder / "run")]) == 0
    return folder / "run"


@pytest.mark.large
def test_train(run) -> None:
    metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["instances"] == 24 and not metrics["swaps_codes"]
    # Better than always giving the mean spectrum.
    assert 0.0 < metrics["reconstruction_error"] < 0.8
    assert "redatuming_error" not in metrics
    history = (run / "history.csv").read_text(encoding="utf-8").splitlines()
    assert history[0] == "epoch,loss,val_loss" and len(history) == 21


@pytest.mark.large
def test_figures(run) -> None:
    from symae_keras.cli._measure import write_figures
    from symae_keras.cli._run_folder import load_run
    from symae_keras.data import simulate_exposures

    groups = simulate_exposures(n_states=10, n_instances=3, seed=9)
    files = write_figures(
        run.parent / "figures", load_run(run).model, groups, run / "history.csv"
    )
    assert [each.stem for each in files] == ["history", "reconstruction", "codes"]


@pytest.mark.large
def test_evaluate(run, symae) -> None:
    done = symae("evaluate", run, "--recipe", run.parent / "single.py")
    assert done.code == 0
    assert "reconstruction error" in done.out
    assert "No redatuming error: this is a model of single instances." in done.out
    assert "leakage" not in json.loads(
        (run / "metrics.json").read_text(encoding="utf-8")
    )


@pytest.mark.large
def test_own_data_with_missing_pixels(run, symae, tmp_path, data_file) -> None:
    with np.load(data_file) as file:
        x, mask = file["x"].copy(), file["mask"]
    x[:, :, 40:60] = np.nan
    good = np.isfinite(x)
    np.savez(tmp_path / "own.npz", x=x, mask=mask, pixel_mask=good)
    out = tmp_path / "own"
    recipe = run.parent / "single.py"
    done = symae("train", recipe, "--data", tmp_path / "own.npz", "--out", out)
    assert done.code == 0, done.err
    metrics = json.loads((out / "metrics.json").read_text(encoding="utf-8"))
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
    recipe = run.parent / "single.py"
    done = symae(
        "anomalies", run, "--data", data_file, "--out", out, "--recipe", recipe
    )
    assert done.code == 0, done.err
    assert len(read_rows(out)) == 38  # two of forty are absent
    assert "24 held-out" in done.out
