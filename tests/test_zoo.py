"""Presets: they load on every platform, and match their cards."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import shutil
import sys
import types

import h5py
import keras
import numpy as np
import pytest

from symae_keras import zoo
from symae_keras._utils.presets import (
    SAVED,
    compact_weights,
    preset_folder,
    preset_names,
)
from symae_keras.data import Axis, simulate_exposures
from symae_keras.errors import InputError
from symae_keras.evaluation import redatuming_error
from symae_keras.models import GVAE, MLVAE, VAE, SymAE
from symae_keras.models.base import AutoencoderBase
from symae_keras.training import Recipe
from symae_keras.zoo.cards import FIELDS, Measured, read_about, write_card
from symae_keras.zoo.recipes import about, load_recipe, recipe_file

each_preset = pytest.mark.parametrize("name", preset_names())

_EVERYWHERE = """
import json
import socket
import sys
import time


def no_network(*_):
    raise OSError("there is no network")


socket.socket.connect = no_network
import keras
import numpy as np
import symae_keras as sk
from symae_keras._utils import compiled

compiled.CALLS_BEFORE = 2  # each model is called once
start = time.perf_counter()
outputs = {}
for name in sys.argv[1:] or sk.zoo.list():
    model = sk.zoo.load(name)
    x = np.random.default_rng(0).uniform(0.5, 1.0, (2, 3, *model.instance_shape))
    x = x.astype("float32")
    if hasattr(model, "redatum"):
        made = model.redatum(coherent_from=x, nuisance_from=x[::-1])
    else:
        made = model.reconstruct(x.reshape(-1, *model.instance_shape))
    made = np.asarray(keras.ops.convert_to_numpy(made), "float64")
    assert np.isfinite(made).all(), name
    outputs[name] = [made.size, float(made.mean()), float(made.std())]
print(json.dumps([outputs, time.perf_counter() - start]))
"""


# === What is shipped ===


def test_every_recipe_has_weights() -> None:
    assert zoo.list() == preset_names()
    assert len(zoo.list()) == 27


@pytest.mark.large
def test_all_load_and_redatum_in_fresh_processes(run_python, tmp_path, monkeypatch):
    """Load presets offline, in an empty folder, with equal results on all backends."""
    monkeypatch.chdir(tmp_path)
    here, seconds = json.loads(run_python(_EVERYWHERE).splitlines()[-1])
    assert sorted(here) == zoo.list()
    assert seconds < 240.0  # they take seconds each where nothing else runs
    for backend in ("jax", "torch"):
        if importlib.util.find_spec(backend) is None:
            continue
        # JAX compiles for seconds per preset, so fewer of them are loaded.
        some = zoo.list()[:: 14 if backend == "jax" else 9]
        output = run_python(_EVERYWHERE, *some, backend=backend).splitlines()[-1]
        there, _ = json.loads(output)
        assert sorted(there) == some
        for name, found in there.items():
            assert found == pytest.approx(here[name], rel=1e-3, abs=1e-4), name


@each_preset
def test_recipe_states_all_that_a_card_needs(name) -> None:
    recipe, _, found = load_recipe(name)
    assert isinstance(recipe, Recipe) and found == name and recipe.epochs >= 1
    # The tablets are third-party measurements, which are not shipped.
    assert (recipe.data is None) == name.startswith("symae_tablets")
    fields = about(name).fields
    assert tuple(fields) == FIELDS
    assert fields["Command"].startswith(f"symae train {name}")
    assert "?" not in fields["Cost"]
    measured = Measured.read(preset_folder(name))
    expected = about(name).expected
    assert expected
    for metric, (low, high) in expected.items():
        for value in (*measured.reference[metric], measured.shipped[metric]):
            assert low <= value <= high, metric


@each_preset
def test_card_and_checksums_are_those_of_the_files(name) -> None:
    folder = preset_folder(name)
    text = write_card(name, about(name), Measured.read(folder))
    assert (folder / "README.md").read_text(encoding="utf-8") == text, (
        "run benchmarks/ship_presets.py"
    )
    lines = (folder / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
    named = dict(line.split("  ")[::-1] for line in lines)
    axis = ["axis.json"] if zoo.axis(name) is not None else []
    assert sorted(named) == sorted([*SAVED, *axis])
    for each, digest in named.items():
        assert hashlib.sha256((folder / each).read_bytes()).hexdigest() == digest


def test_weights_are_small() -> None:
    sizes = [
        (preset_folder(name) / "model.weights.h5").stat().st_size for name in zoo.list()
    ]
    assert max(sizes) <= 3_000_000
    assert sum(sizes) <= 25_000_000


def test_shipped_weights_are_as_good_as_told() -> None:
    """Evaluate on stars with a seed that no run has used."""
    told = Measured.read(preset_folder("symae_exposures")).shipped["redatuming_error"]
    stars = simulate_exposures(n_states=200, n_instances=16, seed=77)
    error = redatuming_error(zoo.load("symae_exposures"), stars)
    assert float(error) < 1.3 * told
    assert float(error) < 0.4 * error.mean_swap


def test_help_prints_the_card(capsys) -> None:
    zoo.help("symae_exposures")
    out = capsys.readouterr().out
    assert out.startswith("# symae_exposures")
    assert "redatuming_error" in out and "Licence" in out


def test_docstrings_of_recipes_are_read() -> None:
    about = read_about("Title.\n\nData: a\n  b\nnone\n  of it\nUse: c\n")
    assert about.title == "Title."
    assert about.fields == {"Data": "a b", "Use": "c"}


# === Recipes ===


def test_a_recipe_is_named_after_its_file_or_its_folder(tmp_path, monkeypatch):
    text = '"""Mine."""\nfrom symae_keras.training import Recipe\n'
    text += "RECIPE = Recipe(model=None, epochs=7)\n"
    for name in ("mine.py", "recipe.py", "no_suffix"):
        (tmp_path / name).write_text(text, encoding="utf-8")
    assert load_recipe(tmp_path / "mine.py")[1:] == ("Mine.", "mine")
    assert load_recipe(tmp_path / "recipe.py").name == tmp_path.name
    assert load_recipe(tmp_path / "no_suffix").recipe.epochs == 7
    monkeypatch.chdir(tmp_path)
    assert recipe_file("mine.py") == tmp_path / "mine.py"
    # A preset takes precedence over a file of the same name.
    (tmp_path / "symae_exposures").write_text(text, encoding="utf-8")
    assert load_recipe("symae_exposures").recipe.epochs != 7


def test_an_edited_recipe_is_run_anew_and_leaves_no_files(tmp_path, monkeypatch):
    """A recipe is read again even if its size and rounded file time are the same."""
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    path = tmp_path / "mine.py"
    for epochs in (1, 2):
        path.write_text(
            "from symae_keras.training import Recipe\n"
            f"RECIPE = Recipe(model=print, epochs={epochs})\n",
            encoding="utf-8",
        )
        os.utime(path, (1.0, 1.0))
        assert load_recipe(path).recipe.epochs == epochs
        assert list(tmp_path.iterdir()) == [path]


def test_a_recipe_may_hide_no_module_and_may_hold_dataclasses(tmp_path):
    (tmp_path / "json.py").write_text(
        "from __future__ import annotations\n"
        "import dataclasses, json\n"
        "from symae_keras.training import Recipe\n"
        "@dataclasses.dataclass\n"
        "class Sizes:\n"
        "    small: int = 1\n"
        "RECIPE = Recipe(model=None, epochs=json.loads('3'))\n",
        encoding="utf-8",
    )
    assert load_recipe(tmp_path / "json.py").recipe.epochs == 3
    assert sys.modules["json"] is json


# === Saving, loading ===


@pytest.fixture
def model() -> SymAE:
    return SymAE((24,), coherent_dim=3, nuisance_dim=2, seed=0)


X = np.random.default_rng(0).normal(size=(2, 3, 24)).astype("float32")


def test_a_saved_preset_gives_the_same_digits(model, tmp_path) -> None:
    folders = (
        zoo.save_preset(model, tmp_path / "a"),
        model.save_to_preset(tmp_path / "b"),
    )
    names = [sorted(each.name for each in folder.iterdir()) for folder in folders]
    assert names[0] == names[1]
    loaded = [zoo.load(folders[0]), keras.saving.load_model(folders[0])]
    loaded += [SymAE.from_preset(folders[1]), AutoencoderBase.from_preset(folders[1])]
    for again in loaded:
        assert type(again) is SymAE
        np.testing.assert_array_equal(again.reconstruct(X), model.reconstruct(X))


def test_from_preset_checks_the_class(tmp_path) -> None:
    assert SymAE.from_preset("symae_exposures").instance_shape == (256,)
    # Subclasses also count as models of the class.
    assert isinstance(MLVAE.from_preset("gvae_exposures"), GVAE)
    with pytest.raises(InputError, match="symae_exposures holds a SymAE, not a VAE; "):
        VAE.from_preset("symae_exposures")
    with pytest.raises(InputError, match="did you mean symae_exposures"):
        SymAE.from_preset("symae_exposure")


def test_half_precision_is_small_and_near(model, tmp_path) -> None:
    whole = zoo.save_preset(model, tmp_path / "whole") / "model.weights.h5"
    half = zoo.save_preset(model, tmp_path / "half", half=True)
    assert (half / "model.weights.h5").stat().st_size < 0.6 * whole.stat().st_size
    again = zoo.load(half)
    assert again.dtype_policy == model.dtype_policy
    np.testing.assert_allclose(again.reconstruct(X), model.reconstruct(X), atol=2e-2)


def test_what_float16_cannot_hold_stays(tmp_path) -> None:
    path = tmp_path / "w.h5"
    values = np.array([[1e9, 2.0]], "float32")
    with h5py.File(path, "w") as file:
        file.create_group("layer").attrs["kept"] = "yes"
        file["layer"]["0"] = values
        file["layer"]["1"] = values[0]
        file["layer"]["2"] = np.arange(6).reshape(2, 3)
    compact_weights(path)
    with h5py.File(path) as file:
        assert file["layer"].attrs["kept"] == "yes"
        np.testing.assert_array_equal(file["layer"]["0"], values)
        np.testing.assert_array_equal(file["layer"]["1"], values[0])
        assert file["layer"]["2"].dtype == np.arange(2).dtype
    assert [each.name for each in tmp_path.iterdir()] == ["w.h5"]


def test_save_preset_overwrites_nothing(model, tmp_path) -> None:
    (tmp_path / "note.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(InputError, match="is not empty"):
        zoo.save_preset(model, tmp_path)
    unbuilt = keras.Sequential([keras.layers.Dense(2)])
    with pytest.raises(InputError, match="not built"):
        zoo.save_preset(unbuilt, tmp_path / "mine")
    assert [each.name for each in tmp_path.iterdir()] == ["note.txt"]


def test_bad_names_and_folders(tmp_path, model) -> None:
    with pytest.raises(InputError, match="did you mean symae_exposures"):
        zoo.load("symae_exposure")
    with pytest.raises(InputError, match="no config.json and no metadata.json"):
        zoo.load(tmp_path)
    folder = zoo.save_preset(model, tmp_path / "mine")
    weights = folder / "model.weights.h5"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(InputError, match="cannot be loaded"):
        zoo.load(folder)


# === The hub ===


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """Stand-in for huggingface_hub that keeps repositories in a folder."""
    module = types.ModuleType("huggingface_hub")
    module.__spec__ = types.SimpleNamespace(name="huggingface_hub")

    class Url(str):
        repo_id = "someone/stars"

    class HfApi:
        def __init__(self, **_):
            pass

        def create_repo(self, repo_id, private, exist_ok):
            assert repo_id == "someone/stars" and exist_ok
            module.private = private
            return Url("somewhere/someone/stars")

        def upload_folder(self, repo_id, folder_path, **_):
            shutil.copytree(folder_path, tmp_path / "hub" / repo_id)

    def snapshot_download(repo_id, revision, allow_patterns, **_):
        """Return links into a cache, like the package."""
        module.revision, module.patterns = revision, allow_patterns
        if not (tmp_path / "hub" / repo_id).is_dir():
            raise OSError(f"404: there is no {repo_id}")
        snapshot = tmp_path / "snapshot"
        shutil.rmtree(snapshot, ignore_errors=True)
        snapshot.mkdir()
        for name in allow_patterns:
            if (tmp_path / "hub" / repo_id / name).exists():
                (snapshot / name).symlink_to(tmp_path / "hub" / repo_id / name)
        return str(snapshot)

    module.HfApi = HfApi
    module.snapshot_download = snapshot_download
    monkeypatch.setitem(sys.modules, "huggingface_hub", module)
    return module


def test_push_and_load_from_the_hub(hub, model, tmp_path) -> None:
    folder = zoo.save_preset(model, tmp_path / "mine")
    (folder / "README.md").write_text("# Stars\n", encoding="utf-8")
    for name in ("environment.json", "recipe.py", "notes.txt", ".env"):
        (folder / name).write_text("of no use to others", encoding="utf-8")
    assert zoo.push(folder, "hf://someone/stars") == "somewhere/someone/stars"
    assert hub.private is True
    there = tmp_path / "hub" / "someone" / "stars"
    uploaded = {*SAVED, "SHA256SUMS", "README.md"}
    assert {each.name for each in there.iterdir()} == uploaded
    assert (there / "README.md").read_text(encoding="utf-8") == "# Stars\n"
    again = SymAE.from_preset("hf://someone/stars")
    np.testing.assert_array_equal(again.reconstruct(X), model.reconstruct(X))
    assert hub.revision is None and set(hub.patterns) == {*SAVED, "SHA256SUMS"}

    zoo.load("hf://someone/stars@v1.0")
    assert hub.revision == "v1.0"
    (there / "model.weights.h5").write_bytes(b"changed on the way")
    with pytest.raises(InputError, match="hf://someone/stars@0f3 .* SHA256SUMS lists"):
        zoo.load("hf://someone/stars@0f3")
    (there / "config.json").unlink()
    with pytest.raises(InputError, match=r"hf://someone/stars has no config\.json"):
        zoo.load("hf://someone/stars")
    with pytest.raises(InputError, match="cannot be downloaded: OSError: 404"):
        zoo.load("hf://someone/else")
    for handle in ("hf://stars", "hf://a/b/c", "hf://a/b@", "hf://a/b@c d"):
        with pytest.raises(InputError, match="is named like"):
            zoo.load(handle)


def test_push_follows_no_links_and_publishes_on_demand(hub, model, tmp_path) -> None:
    (tmp_path / "secret.txt").write_text("password", encoding="utf-8")
    folder = zoo.save_preset(model, tmp_path / "mine")
    (folder / "README.md").symlink_to(tmp_path / "secret.txt")
    with pytest.raises(InputError, match=r"README\.md is a link"):
        zoo.push(folder, "hf://someone/stars")
    assert not (tmp_path / "hub").exists()
    (folder / "README.md").unlink()
    zoo.push(folder, "hf://someone/stars", private=False)
    assert hub.private is False


def test_push_checks_first(model, tmp_path, monkeypatch) -> None:
    handle = "hf://someone/stars"
    for wrong in ("someone/stars", f"{handle}@v1.0"):
        with pytest.raises(InputError, match="must be like"):
            zoo.push(tmp_path, wrong)
    with pytest.raises(InputError, match="not a preset"):
        zoo.push(tmp_path, handle)
    folder = zoo.save_preset(model, tmp_path / "mine")
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    for needs_hub in (lambda: zoo.push(folder, handle), lambda: zoo.load(handle)):
        with pytest.raises(
            InputError, match="needs huggingface_hub; install it with: pip"
        ):
            needs_hub()


def test_the_axis_of_a_preset(tmp_path) -> None:
    axis = zoo.axis("symae_exposures")
    groups = simulate_exposures(2, 2, seed=0)
    assert axis is not None and axis.equals(Axis.of(groups))
    assert zoo.axis("symae_shapes") is None
    folder = tmp_path / "mine"
    SymAE.from_preset("symae_exposures").save_to_preset(folder, data=groups)
    assert axis.equals(zoo.axis(folder))
    assert "axis.json" in (folder / "SHA256SUMS").read_text(encoding="utf-8")
