"""Training by two workers on this machine, from the command line."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from symae_keras._utils.files import read_json


@pytest.mark.large
def test_two_workers_make_one_run(recipe, tmp_path, tf, cluster):
    out = tmp_path / "run"
    command = [
        *(sys.executable, "-m", "symae_keras.cli", "train", str(recipe)),
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
    # Both print the same metrics, and the chief alone has told how it was getting on.
    assert ends[0][0] == ends[1][0] and "redatuming error" in ends[0][0]
    assert "epoch 2/2" in ends[0][1] and "epoch" not in ends[1][1]
    assert [each.name for each in tmp_path.iterdir()] == ["run"]
    metrics = read_json(out / "metrics.json")
    assert metrics["groups"] == 22
