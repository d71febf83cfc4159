"""Files of version 0.1: they can be read, and give the same numbers.

`tests/golden/make.py` describes how they were made.
"""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest

from symae_keras import cli, zoo
from symae_keras.cli._run_folder import load_run
from symae_keras.data import Shards, load

ARCHIVE = Path(__file__).parent / "golden" / "0.1.zip"
NAMES = sorted(
    name.removesuffix(".keras")
    for name in zipfile.ZipFile(ARCHIVE).namelist()
    if name.endswith(".keras") and "/" not in name
)


@pytest.fixture(scope="module")
def golden(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("golden")
    shutil.unpack_archive(ARCHIVE, folder)
    return Path(folder)


@pytest.fixture(scope="module")
def expected(golden) -> dict[str, np.ndarray]:
    with np.load(golden / "expected.npz") as arrays:
        return dict(arrays)


def check(model, name: str, expected: dict[str, np.ndarray]) -> None:
    x = expected[f"{name}/x"]
    assert getattr(model, "detail", None) is None
    found = {"reconstruct": model.reconstruct(x)}
    codes = keras.tree.flatten(model.encode(x))
    found |= {f"code{k}": code for k, code in enumerate(codes)}
    for key, value in found.items():
        value = keras.ops.convert_to_numpy(value)
        np.testing.assert_allclose(
            value, expected[f"{name}/{key}"], rtol=1e-5, atol=1e-6, err_msg=key
        )


@pytest.mark.jax
@pytest.mark.parametrize("name", NAMES)
def test_models(golden, expected, name) -> None:
    model = keras.saving.load_model(golden / f"{name}.keras", compile=False)
    check(model, name, expected)


@pytest.mark.parametrize("name", NAMES)
def test_presets(golden, expected, name) -> None:
    check(zoo.load(golden / "presets" / name), name, expected)


def test_run(golden, expected, tmp_path) -> None:
    x = load(golden / "data.npz").x
    model = load_run(golden / "run").model
    virtual = keras.ops.convert_to_numpy(model.redatum(x[:3], x[3:6]))
    np.testing.assert_allclose(virtual, expected["run/redatum"], rtol=1e-5, atol=1e-6)
    # The command line reads it too; evaluated on all 20 groups, not only held-out ones.
    run = shutil.copytree(golden / "run", tmp_path / "run")
    command = ["evaluate", run, "--data", golden / "data.npz", "--no-leakage"]
    assert cli.main([str(each) for each in command]) == 0
    metrics = json.loads((run / "metrics-data.json").read_text(encoding="utf-8"))
    before = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["groups"] == 20
    error, old = (each["reconstruction_error"] for each in (metrics, before))
    assert 0.5 * old < error < 2.0 * old


def test_shards(golden) -> None:
    shards = Shards(golden / "shards")
    shards.verify()
    groups, source = shards.load(), load(golden / "data.npz")
    np.testing.assert_array_equal(groups.present, source.present)
    np.testing.assert_array_equal(
        groups.x[groups.present], source.x[source.present].astype("float32")
    )
    np.testing.assert_array_equal(groups.ids, source.ids)
    assert groups.axis_label == source.axis_label == "wavelength (nm)"
    np.testing.assert_allclose(groups.axis, source.axis)
