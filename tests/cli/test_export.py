"""The command that exports models."""

from __future__ import annotations

import numpy as np
import pytest

from symae_keras.cli._run_folder import load_run
from symae_keras.data import load


def test_onnx(symae, run_folder, data_file, tmp_path) -> None:
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("tf2onnx")
    out = tmp_path / "new" / "codes.onnx"
    command = ["export", run_folder, "--format", "onnx", "--endpoint", "encode"]
    done = symae(*command, "--out", out)
    assert done.code == 0, done.err
    assert done.err == ""
    rows = [" ".join(line.split()) for line in done.out.splitlines()]
    for row in (
        "input x (batch, instances, 256) float32",
        "input mask (batch, instances) bool",
        "output coherent (batch, 3) float32",
    ):
        assert row in rows
    groups = load(data_file)
    session = runtime.InferenceSession(out)
    outputs = session.run(["coherent"], {"x": groups.x, "mask": groups.mask})[0]
    expected = load_run(run_folder).model.encode(groups.x, groups.mask).coherent
    np.testing.assert_allclose(outputs, expected, atol=1e-4)
    again = symae(*command, "--out", out)
    assert again.code == 2 and "give --force" in again.err


@pytest.mark.large
def test_named_after_the_run(symae, run_folder, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = symae("export", run_folder)
    assert done.code == 0, done.err
    assert (tmp_path / "tiny-redatum" / "saved_model.pb").is_file()
    assert [each.name for each in tmp_path.iterdir()] == ["tiny-redatum"]
    assert symae("export", run_folder).code == 2
    assert symae("export", run_folder, "--force").code == 0


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--format", "h5"], "The format must be one of"),
        (["--endpoint", "decode"], "The endpoint must be one of"),
        (["--out", "model.onnx"], "makes a folder"),
    ],
)
def test_refused(symae, run_folder, tmp_path, monkeypatch, arguments, sentence) -> None:
    monkeypatch.chdir(tmp_path)
    done = symae("export", run_folder, *arguments)
    assert done.code == 2 and sentence in done.err
    assert len(done.err.splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_no_run(symae, tmp_path) -> None:
    done = symae("export", tmp_path / "none", "--out", tmp_path / "model")
    assert done.code == 2 and "does not exist" in done.err
