"""The command that finds instances unlike those of the training."""

from __future__ import annotations

import numpy as np
import pytest

from symae_keras.data import load


@pytest.fixture
def strange_file(data_file, tmp_path):
    """Exposures, one of which is upside down, and one of which is not there."""
    groups = load(data_file)
    groups.x[4, 1] = 2.0 - groups.x[4, 1]
    path = tmp_path / "strange.npz"
    np.savez(path, x=groups.x, mask=groups.mask)
    return path


def test_the_strange_instance_comes_first(
    symae, run_folder, recipe, strange_file, tmp_path, read_rows
) -> None:
    out = tmp_path / "found.csv"
    command = ("anomalies", run_folder, "--data", strange_file, "--out", out)
    code, said, err = symae(*command, "--recipe", recipe)
    assert code == 0, err
    rows = read_rows(out)
    assert len(rows) == 38  # two of forty are absent
    assert (rows[0]["group"], rows[0]["instance"]) == ("4", "1")
    scores = [float(row["score"]) for row in rows]
    assert scores == sorted(scores, reverse=True)
    # The run held 66 instances out.
    assert float(rows[0]["p_value"]) == pytest.approx(1 / 67)
    assert "of 38 instances" in said and "66 held-out" in said
    again = symae(*command, "--recipe", recipe)
    assert again.code == 2 and "give --force" in again.err


def test_refused(symae, run_folder, data_file, tmp_path) -> None:
    command = ["anomalies", run_folder, "--data", data_file, "--out"]
    result = symae(*command, tmp_path / "found.npz")
    assert result.code == 2 and "must end in .csv" in result.err
    assert not list(tmp_path.iterdir())
