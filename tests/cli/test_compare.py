"""`symae compare` on simulated and on measured data."""

from __future__ import annotations

import os
import sys

import pytest

from symae_keras.cli import compare
from symae_keras.data import simulate_exposures


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    """Few stars and one epoch."""
    of_a_file = compare._data

    def data(file, group, quick):
        if file is not None:
            return of_a_file(file, group, quick)
        groups = simulate_exposures(n_states=60, n_instances=3, seed=0)
        return groups[:40], groups[40:]

    monkeypatch.setattr(compare, "_data", data)
    monkeypatch.setattr(compare, "QUICK_EPOCHS", 1)


@pytest.mark.large
def test_table_and_files(succeeds, tmp_path) -> None:
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
    # Once more: everything is there, so nothing is trained.
    _, again, err = succeeds(*command)
    assert again == stdout and "1 of" not in err


def test_the_users_data(succeeds, data_file, tmp_path) -> None:
    command = ("compare", "--data", data_file, "--models", "pca")
    stdout = succeeds(*command, "--out", tmp_path / "comparison").out
    assert "reconstruction error" in stdout and "redatuming" not in stdout


def test_an_interrupted_comparison_names_the_way_to_resume(
    symae, tmp_path, monkeypatch
) -> None:
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    # By the module's full name, which the function of that name hides.
    monkeypatch.setattr(
        sys.modules["symae_keras.evaluation.compare"], "train", interrupt
    )
    out = tmp_path / "comparison"
    code, _, err = symae("compare", "--models", "pca,symae", "--out", out)
    assert code == 1 and "kept, resume with the same command" in err
    assert (out / "rows.csv").read_text(encoding="utf-8").count("\n") == 2
