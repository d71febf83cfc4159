from __future__ import annotations

import functools
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from symae_keras import cli
from symae_keras.cli._progress import ProgressDisplay
from symae_keras.data import simulate_exposures
from symae_keras.models import SymAE

RECIPE = '''"""A recipe that trains in a second."""

from symae_keras.data import simulate_exposures
from symae_keras.layers import DenseEncoder
from symae_keras.models import SymAE
from symae_keras.training import Recipe, normalization


def data(seed):
    return simulate_exposures(n_states=110, n_instances=3, seed=seed)


def model(groups, seed):
    return SymAE(
        groups.instance_shape,
        coherent_dim=3,
        nuisance_dim=2,
        encoder=DenseEncoder(8, units=(16,)),
        normalization=normalization(groups),
        seed=seed,
    )


RECIPE = Recipe(model=model, data=data, epochs=2, batch_size=44, instances=3)
'''


def compile_eagerly(patch: pytest.MonkeyPatch) -> None:
    """Skip tracing, which takes most of the time of a tiny run."""
    eager = functools.partialmethod(SymAE.compile, run_eagerly=True)
    patch.setattr(SymAE, "compile", eager)


@pytest.fixture(scope="session", autouse=True)
def _small_references():
    """Fit linear mixed models to small data only: 256 pixels take seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("symae_keras.cli._linear_reference._MOST_PIXELS", 64)
        yield


@pytest.fixture(autouse=True)
def _fast(monkeypatch, short_probes, few_donors, unarranged):
    """Skip tracing and drawing; session fixtures test these."""
    compile_eagerly(monkeypatch)
    monkeypatch.setattr("symae_keras.cli.train.write_figures", lambda *_: [])
    monkeypatch.setattr("symae_keras.cli.train.write_report", lambda *_: None)


@pytest.fixture(scope="session")
def altered(recipe, tmp_path_factory):
    """Return a function that writes a modified copy of the tiny recipe."""

    def write(*changes: tuple[str, str], path: Path | None = None) -> Path:
        path = path or tmp_path_factory.mktemp("altered") / "altered.py"
        text = recipe.read_text(encoding="utf-8")
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    return write


@pytest.fixture(scope="session")
def recipe(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("recipes") / "tiny" / "recipe.py"
    path.parent.mkdir()
    path.write_text(RECIPE, encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def data_file(tmp_path_factory) -> Path:
    """Return exposures as if measured: without state and ground truth."""
    groups = simulate_exposures(n_states=10, n_instances=4, seed=5)
    path = tmp_path_factory.mktemp("data") / "exposures.npz"
    mask = np.ones((10, 4), bool)
    mask[3, 2:] = False
    np.savez(path, x=groups.x, mask=mask, axis=groups.axis, axis_label="x")
    return path


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory, recipe, estimate_coarsely) -> Path:
    """Return a run on simulated data, trained once for all tests; do not modify it."""
    out = tmp_path_factory.mktemp("runs") / "tiny"
    with pytest.MonkeyPatch.context() as patch:
        estimate_coarsely(patch)
        assert cli.main(["train", str(recipe), "--out", str(out)]) == 0
    return out


@pytest.fixture
def own_run(run_folder, tmp_path) -> Path:
    """Return a copy of that run, which tests may modify."""
    return Path(shutil.copytree(run_folder, tmp_path / "run"))


@pytest.fixture(scope="session")
def measured_run(tmp_path_factory, recipe, data_file, estimate_coarsely) -> Path:
    """Return a run on a file; do not modify it."""
    out = tmp_path_factory.mktemp("runs") / "measured"
    command = ["train", recipe, "--data", data_file, "--out", out, "--epochs", 1]
    with pytest.MonkeyPatch.context() as patch:
        compile_eagerly(patch)
        estimate_coarsely(patch)
        assert cli.main([str(each) for each in command]) == 0
    return out


@pytest.fixture(scope="session")
def contents() -> Callable[[Path], dict[str, bytes]]:
    """Return the bytes of every file in a folder, by relative path."""
    return lambda folder: {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture
def after_epochs(monkeypatch) -> Callable[[Callable[[int], object]], None]:
    """Call a function after every epoch with the number of completed epochs."""
    as_ever = ProgressDisplay.update

    def patch(act: Callable[[int], object]) -> None:
        def update(self: ProgressDisplay, done: int, text: str) -> None:
            as_ever(self, done, text)
            act(done)

        monkeypatch.setattr(ProgressDisplay, "update", update)

    return patch
