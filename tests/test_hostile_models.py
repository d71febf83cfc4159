"""Models and run folders as a stranger could make them: refused, run and read nothing.

Each case changes one thing in a good model. All of them are loaded as a folder and as
a .keras file, and must end in one sentence.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest

from symae_keras import cli, zoo
from symae_keras._utils.untrusted_configs import LAYERS
from symae_keras._utils.untrusted_models import MAX_CONFIG_BYTES, load_model
from symae_keras.cli._run_folder import load_run
from symae_keras.errors import InputError
from symae_keras.layers import DenseEncoder
from symae_keras.models import SymAE
from symae_keras.zoo._presets import SAVED
from symae_keras.zoo.recipes import load_recipe, preset_folder, recipe_hash

Config = dict[str, Any]
opened: list[str] = []


def _note_opened(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "open":
        opened.append(str(arguments[0]))


sys.addaudithook(_note_opened)  # for the rest of the process


@pytest.fixture(scope="module")
def good(tmp_path_factory) -> Path:
    """A good model, as a folder."""
    encoder = DenseEncoder(8, units=(16,))
    model = SymAE((12,), coherent_dim=3, nuisance_dim=2, encoder=encoder, seed=0)
    return zoo.save_preset(model, tmp_path_factory.mktemp("good") / "model")


@pytest.fixture
def model(good, tmp_path) -> Path:
    """A copy of it without checksums, to change."""
    folder = Path(shutil.copytree(good, tmp_path / "model"))
    (folder / "SHA256SUMS").unlink()
    return folder


@pytest.fixture
def secret(tmp_path):
    """A file of the user that nothing may read."""
    path = tmp_path / "secret.txt"
    path.write_text("password\n", encoding="utf-8")
    os.utime(path, ns=(10**18, path.stat().st_mtime_ns))
    opened.clear()
    yield path
    assert str(path) not in opened
    # HDF5 does not open files by Python; the system notes when a file is read.
    assert path.stat().st_atime_ns == 10**18


@pytest.fixture
def canary(tmp_path):
    """A file that exists once code has run."""
    path = tmp_path / "canary"
    yield path
    assert not path.exists()


def archive(folder: Path) -> Path:
    """The same files as a .keras file."""
    path = folder.with_suffix(".keras")
    with zipfile.ZipFile(path, "w") as file:
        for each in sorted(folder.glob("[!.]*")):  # the folder assets included
            file.write(each, each.name)
    return path


def output(model: keras.Model) -> np.ndarray:
    x = np.random.default_rng(0).normal(size=(2, 3, 12)).astype("float32")
    return keras.ops.convert_to_numpy(model.reconstruct(x))


def refused(path: Path) -> str:
    """The sentence with which a model is refused."""
    with pytest.raises(InputError) as caught:
        load_model(path)
    text = str(caught.value)
    assert text.startswith(f"{path} cannot be loaded: ") and text.endswith(".")
    assert "\n" not in text and len(text) < 600
    return text


def refused_twice(folder: Path, words: str) -> None:
    assert words in refused(folder)
    assert words in refused(archive(folder))


def test_a_good_model_is_loaded_from_both(model) -> None:
    expected = output(keras.saving.load_model(model))
    for path in (model, archive(model)):
        np.testing.assert_array_equal(output(load_model(path)), expected)


# === Configs ===


def object_of(module: str | None, class_name: str, /, **config: Any) -> Config:
    return {
        "module": module,
        "class_name": class_name,
        "config": config,
        "registered_name": None,
    }


def function_of(module: str | None, name: str) -> Config:
    return {
        "module": module,
        "class_name": "function",
        "config": name,
        "registered_name": name,
    }


def the_lambda(canary: Path) -> Config:
    """The code of a Python lambda that writes a file, as Keras saves it."""
    code = f"lambda x: [open({str(canary)!r}, 'w').close(), x][1]"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {
            "class_name": "__lambda__",
            "config": {"value": keras.src.utils.python_utils.func_dump(eval(code))},
        }


def graph(node: Any) -> Config:
    """A Functional of one Dense layer that is called as a node says."""
    start = object_of("keras.layers", "InputLayer", batch_shape=[None, 12], name="x")
    dense = object_of("keras.layers", "Dense", units=8, name="y")
    start |= {"name": "x", "inbound_nodes": []}
    dense |= {"name": "y", "inbound_nodes": [node]}
    return object_of(
        "keras.src.models.functional",
        "Functional",
        name="f",
        layers=[start, dense],
        input_layers=[["x", 0, 0]],
        output_layers=[["y", 0, 0]],
    )


def popen(_: Path, canary: Path) -> Config:
    return object_of("subprocess", "Popen", args=["touch", str(canary)])


def lambda_layer(_: Path, canary: Path) -> Config:
    return object_of("keras.layers", "Lambda", function=the_lambda(canary), name="l")


ENCODERS = {
    "lambda layer": (lambda_layer, "keras.layers.Lambda"),
    "lambda layer of the source": (
        lambda s, c: lambda_layer(s, c) | {"module": "keras.src.layers"},
        "keras.src.layers.Lambda",
    ),
    "lambda layer as in Keras 2": (
        lambda s, c: {"class_name": "Lambda", "config": {"function": [0, None, None]}},
        "an incomplete entry, Lambda",
    ),
    "lambda": (lambda s, c: the_lambda(c), "code of a Python lambda"),
    "lambda as activation": (
        lambda s, c: object_of(
            "keras.layers", "Dense", units=8, activation=the_lambda(c)
        ),
        "code of a Python lambda",
    ),
    "lambda in a Sequential": (
        lambda s, c: object_of(
            "keras", "Sequential", name="s", layers=[lambda_layer(s, c)]
        ),
        "keras.layers.Lambda",
    ),
    "any class": (popen, "contains subprocess.Popen, which is not registered"),
    "any class in a list": (lambda s, c: [[popen(s, c)]], "subprocess.Popen"),
    "any class under any key": (
        lambda s, c: object_of("keras.layers", "Dense", units=8, more=popen(s, c)),
        "subprocess.Popen",
    ),
    "a class that Keras has imported": (
        lambda s, c: object_of("keras.src.saving.saving_lib", "DiskIOStore"),
        "keras.src.saving.saving_lib.DiskIOStore",
    ),
    "any function": (lambda s, c: function_of("os", "system"), "system, which is not"),
    "a function as activation": (
        lambda s, c: object_of(
            "keras.layers",
            "Dense",
            units=8,
            activation=function_of("keras.utils", "get_file"),
        ),
        "keras.utils.get_file",
    ),
    "safe mode off": (
        lambda s, c: function_of("keras.config", "enable_unsafe_deserialization"),
        "keras.config.enable_unsafe_deserialization",
    ),
    "another model": (
        lambda s, c: function_of("keras.models", "load_model"),
        "keras.models.load_model",
    ),
    "a function beside the activations": (
        lambda s, c: function_of("keras.activations", "deserialize"),
        "keras.activations.deserialize",
    ),
    "a builtin function": (lambda s, c: function_of("builtins", "eval"), "eval"),
    "a function without a module": (lambda s, c: function_of(None, "eval"), "eval"),
    "a module that is no text": (
        lambda s, c: object_of(["os"], "system"),  # type: ignore[arg-type]
        "which is not registered",
    ),
    "TFSMLayer": (
        lambda s, c: object_of("keras.layers", "TFSMLayer", filepath=str(s.parent)),
        "keras.layers.TFSMLayer",
    ),
    "StringLookup": (
        lambda s, c: object_of("keras.layers", "StringLookup", vocabulary=str(s)),
        "keras.layers.StringLookup",
    ),
    "StringLookup of the source": (
        lambda s, c: object_of(
            "keras.src.layers.preprocessing.string_lookup",
            "StringLookup",
            vocabulary=str(s),
        ),
        "string_lookup.StringLookup",
    ),
    "IntegerLookup": (
        lambda s, c: object_of("keras.layers", "IntegerLookup", vocabulary=str(s)),
        "keras.layers.IntegerLookup",
    ),
    "TextVectorization": (
        lambda s, c: object_of("keras.layers", "TextVectorization", vocabulary=str(s)),
        "keras.layers.TextVectorization",
    ),
    "TorchModuleWrapper": (
        lambda s, c: object_of("keras.layers", "TorchModuleWrapper", module="gASV"),
        "keras.layers.TorchModuleWrapper",
    ),
    "JaxLayer": (
        lambda s, c: object_of("keras.layers", "JaxLayer", call_fn=the_lambda(c)),
        "keras.layers.JaxLayer",
    ),
    "a type of TensorFlow": (
        lambda s, c: {
            "class_name": "__typespec__",
            "spec_name": "TensorSpec",
            "module": "tensorflow",
            "config": [],
            "registered_name": None,
        },
        "which is not registered",
    ),
    "an array of text": (
        lambda s, c: {
            "class_name": "__numpy__",
            "config": {"value": ["x"], "dtype": "S1000000000000"},
        },
        "an array that is not of numbers",
    ),
    "a graph as in Keras 2": (
        lambda s, c: graph([["x", 0, 0, {}]]),
        "computes on constants in Dense",
    ),
    "a graph of constants": (
        lambda s, c: graph({"args": [[[1.0] * 12]], "kwargs": {}}),
        "computes on constants in Dense",
    ),
    "a layer of terabytes": (
        lambda s, c: object_of("keras.layers", "Dense", units=2**31),
        "asks for many more weights",
    ),
    "a layer of gigabytes": (
        lambda s, c: object_of("keras.layers", "Dense", units=10**8),
        "asks for many more weights",
    ),
    "layers of gigabytes": (
        lambda s, c: object_of(
            "keras",
            "Sequential",
            name="s",
            layers=[object_of("keras.layers", "Dense", units=10**5)] * 3,
        ),
        "asks for many more weights",
    ),
    "a layer of more": (
        lambda s, c: object_of("keras.layers", "Dense", units=10**12),
        "the entry units of its config is too large",
    ),
    "many layers": (
        lambda s, c: object_of(
            "keras",
            "Sequential",
            name="s",
            layers=[object_of("keras.layers", "ReLU")] * 3000,
        ),
        "asks for many more weights",
    ),
    "negative units": (
        lambda s, c: object_of("keras.layers", "Dense", units=-5),
        "units",
    ),
}


@pytest.mark.parametrize("case", ENCODERS)
def test_hostile_encoders(case, model, secret, canary) -> None:
    make, words = ENCODERS[case]
    file = model / "config.json"
    config = json.loads(file.read_text(encoding="utf-8"))
    config["config"]["encoder"] = make(secret, canary)
    file.write_text(json.dumps(config), encoding="utf-8")
    refused_twice(model, words)


@pytest.mark.parametrize("place", ["dtype", "normalization", "build_config", "module"])
def test_hostile_classes_in_other_places(place, model, secret, canary) -> None:
    file = model / "config.json"
    config = json.loads(file.read_text(encoding="utf-8"))
    if place == "build_config":
        config["build_config"] = {"input_shape": [None, 12], "x": popen(secret, canary)}
    elif place == "module":
        config = popen(secret, canary)
    else:
        config["config"][place] = popen(secret, canary)
    file.write_text(json.dumps(config), encoding="utf-8")
    refused_twice(model, "subprocess.Popen")


def test_how_it_was_compiled_is_not_looked_at(model, canary) -> None:
    file = model / "config.json"
    config = json.loads(file.read_text(encoding="utf-8"))
    config["compile_config"] = {"optimizer": the_lambda(canary)}
    file.write_text(json.dumps(config), encoding="utf-8")
    assert not load_model(model).compiled


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ("[NaN]", "instance_shape in its config has the size nan"),
        ("[-12]", "instance_shape in its config has the size -12"),
        ('["12"]', "instance_shape in its config has the size 12"),
        ("[12.5]", "instance_shape in its config has the size 12.5"),
        ("[true]", "instance_shape in its config has the size True"),
        ("[1000000000000]", "instance_shape in its config is too large"),
        ("[100000, 100000]", "instance_shape in its config is too large"),
        ("[10000000]", "asks for many more weights"),
        ("12", "cannot be loaded"),
        ("null", "cannot be loaded"),
    ],
)
def test_hostile_shapes(shape, words, model) -> None:
    file = model / "config.json"
    text = file.read_text(encoding="utf-8")
    assert '"instance_shape": [12]' in text
    text = text.replace('"instance_shape": [12]', f'"instance_shape": {shape}')
    file.write_text(text, encoding="utf-8")
    refused_twice(model, words)


TEXTS = {
    "5,000 lists": (b"[" * 5000 + b"]" * 5000, "more than 200 levels deep"),
    "5,000 objects": (b'{"a":' * 5000 + b"1" + b"}" * 5000, "levels deep"),
    "brackets in strings": (
        b'["' + b"[" * 5000 + b'\\""]',
        "does not describe a model",
    ),
    "an endless string": (b'{"a": "' + b"x" * 10**6, "Unterminated string"),
    "a key twice": (b'{"class_name": 1, "class_name": 2}', "a key twice"),
    "no model": (b"[1, 2]", "does not describe a model"),
    "no JSON": (b"{", "JSONDecodeError"),
    "no UTF-8": (b'"\xff"', "UnicodeDecodeError"),
    "UTF-16": ("[[]]".encode("utf-16"), "UnicodeDecodeError"),
    "a long number": (b'{"class_name": ' + b"1" * 5000 + b"}", "4300 digits"),
    "too many bytes": (b" " * (MAX_CONFIG_BYTES + 1), "is larger than 67,108,864"),
}


@pytest.mark.parametrize("case", TEXTS)
def test_hostile_json(case, model) -> None:
    text, words = TEXTS[case]
    (model / "config.json").write_bytes(text)
    refused_twice(model, words)


def test_a_layer_alone_is_no_model(model) -> None:
    config = object_of("keras.layers", "ReLU", name="r")
    (model / "config.json").write_text(json.dumps(config), encoding="utf-8")
    with h5py.File(model / "model.weights.h5", "w") as file:
        file.create_group("vars")
    refused_twice(model, "it holds a ReLU, not a model")


def test_old_files_with_long_lists_are_loaded(tmp_path) -> None:
    """Mean instances are lists in the config, 7 MB of them for 327,680 pixels."""
    from symae_keras.layers import Standardization
    from symae_keras.models import LinearAutoencoder

    mean = np.random.default_rng(0).normal(size=327_680)
    model = LinearAutoencoder(
        (327_680,), code_dim=1, normalization=Standardization(mean)
    )
    folder = zoo.save_preset(model, tmp_path / "model")
    (folder / "SHA256SUMS").unlink()
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    layer = config["config"]["normalization"]["config"]
    del layer["mean_shape"], layer["scale_shape"]
    layer |= {"mean": mean.tolist(), "scale": 1.0}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    again = load_model(folder)
    np.testing.assert_allclose(again.normalization.mean, mean, rtol=1e-6)


def test_networks_of_keras_are_loaded(tmp_path) -> None:
    """Graphs, operations, wrappers, functions and constants as Keras saves them."""
    inputs = keras.Input((12,))
    x = keras.layers.Dense(8, keras.activations.gelu, kernel_regularizer="l2")(inputs)
    x = keras.ops.relu(keras.ops.add(x, 1.0))
    x = keras.layers.Add()([x, keras.layers.Dense(8, activation="selu")(x)])
    x = keras.layers.Normalization(mean=np.zeros(8), variance=np.ones(8))(x)
    x = keras.layers.Reshape((-1, 4))(x)
    x = keras.layers.Bidirectional(keras.layers.GRU(3))(x)
    encoder = keras.Model(inputs, x)
    model = SymAE((12,), coherent_dim=3, nuisance_dim=3, encoder=encoder)
    model.compile("adam", "mse")
    model.save(tmp_path / "model.keras")
    again = load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(output(again), output(model))


def test_layers_that_are_left_out() -> None:
    """A layer that a new version of Keras brings is looked at before it is listed."""
    classes = {
        name: each
        for name, each in vars(keras.layers).items()
        if isinstance(each, type)
    }
    allowed = {classes[name] for name in LAYERS}
    left_out = {name for name, each in classes.items() if each not in allowed}
    assert left_out == {
        *("Lambda", "JaxLayer", "FlaxLayer", "TorchModuleWrapper", "TFSMLayer"),
        *("StringLookup", "IntegerLookup", "TextVectorization"),
        *("MelSpectrogram", "STFTSpectrogram", "Layer", "Wrapper", "InputSpec"),
    }


# === Weights ===


def first_array(file: h5py.File) -> str:
    names: list[str] = []
    file.visititems(
        lambda name, item: names.append(name) if hasattr(item, "shape") else None
    )
    return names[0]


def in_place_of_an_array(make: Callable[..., None]) -> Callable[..., None]:
    def change(file: h5py.File, secret: Path) -> None:
        name = first_array(file)
        shape = file[name].shape
        del file[name]
        make(file, name, shape, secret)

    return change


def virtual(file: h5py.File, name: str, shape: Any, secret: Path) -> None:
    layout = h5py.VirtualLayout(shape, "float32")
    layout[:] = h5py.VirtualSource(str(secret), "data", shape)
    file.create_virtual_dataset(name, layout)


def bomb(file: h5py.File, name: str, *_: Any) -> None:
    file.create_dataset(
        name, (10**6, 10**5), "float32", chunks=(1000, 1000), compression="gzip"
    )


def circle(file: h5py.File, *_: Any) -> None:
    file["again"] = file["/"]


def links(file: h5py.File, name: str, shape: Any, secret: Path) -> None:
    file[name] = h5py.ExternalLink(str(secret), "/data")


def soft_link(file: h5py.File, name: str, *_: Any) -> None:
    file[name] = h5py.SoftLink("/elsewhere")


def external(file: h5py.File, name: str, shape: Any, secret: Path) -> None:
    file.create_dataset(name, shape, "float32", external=[(str(secret), 0, 10**6)])


def text(file: h5py.File, name: str, *_: Any) -> None:
    file[name] = "text"


def references(file: h5py.File, name: str, *_: Any) -> None:
    file[name] = file["/"].ref


def regions(file: h5py.File, name: str, *_: Any) -> None:
    file["all"] = np.zeros(4)
    file[name] = file["all"].regionref[:2]


def a_type(file: h5py.File, name: str, *_: Any) -> None:
    file[name] = np.dtype("float32")


def records(file: h5py.File, name: str, *_: Any) -> None:
    file[name] = np.zeros(3, [("a", "f4"), ("b", "f4")])


def filtered(file: h5py.File, name: str, shape: Any, _: Path) -> None:
    file.create_dataset(name, data=np.zeros(shape), compression="lzf")


def nothing(file: h5py.File, name: str, *_: Any) -> None:
    file[name] = h5py.Empty("float32")


WEIGHTS = {
    "external link": (links, "contain the link"),
    "soft link": (soft_link, "contain the link"),
    "external storage": (external, "are in another file"),
    "virtual dataset": (virtual, "are in another file"),
    "bomb": (bomb, "claim 400,0"),
    "circle": (circle, "contain '/again' twice"),
    "text": (text, "not an array of numbers"),
    "references": (references, "not an array of numbers"),
    "region references": (regions, "not an array of numbers"),
    "named type": (a_type, "is not an array"),
    "records": (records, "not an array of numbers"),
    "filter": (filtered, "need a filter other than gzip"),
    "no values": (nothing, "not an array of numbers"),
    "an array too few": (lambda *_: None, "cannot be loaded"),
}


@pytest.mark.parametrize("case", WEIGHTS)
def test_hostile_weights(case, model, secret) -> None:
    make, words = WEIGHTS[case]
    with h5py.File(model / "model.weights.h5", "r+") as file:
        in_place_of_an_array(make)(file, secret)
    refused_twice(model, words)


def test_weights_that_are_no_hdf5(model) -> None:
    (model / "model.weights.h5").write_bytes(b"PK\x03\x04")
    refused_twice(model, "OSError")


# === Files and archives ===


@pytest.mark.parametrize("name", ["config.json", "model.weights.h5"])
def test_links_and_pipes_are_not_read(name, model, secret) -> None:
    (model / name).unlink()
    (model / name).symlink_to(secret)
    assert "is a link, and links are not followed" in refused(model)
    (model / name).unlink()
    os.mkfifo(model / name)
    assert "is not a regular file" in refused(model)
    (model / name).unlink()
    assert "No such file" in refused(model)
    (model / name).mkdir()
    assert "is not a regular file" in refused(model)


def test_pipes_and_devices_are_no_archives(tmp_path) -> None:
    os.mkfifo(tmp_path / "model.keras")
    assert "is not a regular file" in refused(tmp_path / "model.keras")
    assert "is not a regular file" in refused(Path("/dev/zero"))


def test_assets_are_refused(model) -> None:
    assert not any((model / "assets").iterdir())
    load_model(model)
    (model / "assets" / "vocabulary.txt").write_text("x", encoding="utf-8")
    assert "the folder assets" in refused(model)


def test_hostile_archives(model, tmp_path) -> None:
    path = archive(model)
    whole = path.read_bytes()
    for name in ("../evil.txt", "/evil.txt", "assets/vocabulary.txt", "code.py"):
        path.write_bytes(whole)
        with zipfile.ZipFile(path, "a") as file:
            file.writestr(name, "x")
        assert f"it contains '{name}'" in refused(path)
    path.write_bytes(whole)
    with warnings.catch_warnings(), zipfile.ZipFile(path, "a") as file:
        warnings.simplefilter("ignore")
        file.writestr("config.json", "{}")
    assert "contains a file twice" in refused(path)
    with zipfile.ZipFile(path, "w") as file:
        file.write(model / "config.json", "config.json")
    assert "contains no model.weights.h5" in refused(path)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.write(model / "config.json", "config.json")
        file.writestr("model.weights.h5", bytes(70 << 20))
    assert path.stat().st_size < 200_000
    assert "claims 73,400,320 bytes" in refused(path)
    # A byte of the weights flipped.
    place = whole.index(b"\x89HDF") + 5000
    path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
    assert "Bad CRC-32" in refused(path)
    assert not (tmp_path.parent / "evil.txt").exists()


# === Checksums of presets ===


def test_checksums(good, tmp_path) -> None:
    folder = Path(shutil.copytree(good, tmp_path / "copy"))
    (folder / "README.md").write_text("# Mine\n", encoding="utf-8")
    zoo.load(folder)
    for name in SAVED:
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        with pytest.raises(InputError, match=f"{name} is not the file that SHA256SUMS"):
            zoo.load(folder)
        (folder / name).write_bytes(content)
    sums = folder / "SHA256SUMS"
    sums.write_text(
        sums.read_text(encoding="utf-8").replace("config.json", "../config.json"),
        encoding="utf-8",
    )
    with pytest.raises(InputError, match=r"config\.json is not the file"):
        zoo.load(folder)
    sums.write_text("no checksums\n", encoding="utf-8")
    with pytest.raises(InputError, match="line 1 is not a checksum and a name"):
        zoo.load(folder)
    sums.unlink()
    zoo.load(folder)


@pytest.mark.parametrize("name", zoo.list())
def test_presets_of_the_package_have_checksums(name) -> None:
    folder = preset_folder(name)
    text = (folder / "SHA256SUMS").read_text(encoding="utf-8")
    named = dict(line.split("  ")[::-1] for line in text.splitlines())
    axis = ["axis.json"] if zoo.axis(name) is not None else []
    assert sorted(named) == sorted([*SAVED, *axis])
    for each, digest in named.items():
        assert hashlib.sha256((folder / each).read_bytes()).hexdigest() == digest


# === Run folders ===


@pytest.fixture
def run(good, tmp_path, monkeypatch) -> Path:
    """A run folder of a stranger, whose recipe is in it and writes a file."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "run"
    (folder / "figures").mkdir(parents=True)
    keras.saving.load_model(good).save(folder / "model.keras")
    recipe = folder / "figures" / "codes.png"
    recipe.write_text(
        f"open({str(tmp_path / 'canary')!r}, 'w').close()\n"
        "from symae_keras.training import Recipe\n"
        "RECIPE = Recipe(model=None, data=lambda seed: None)\n",
        encoding="utf-8",
    )
    config = {
        "recipe": {
            "name": "codes",
            "source": str(recipe),
            "sha256": recipe_hash(recipe),
        },
        "data": {"file": None, "sha256": None},
        "seed": 0,
        "train_fraction": 0.8,
        "instance_shape": [12],
    }
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    x = np.random.default_rng(0).normal(size=(4, 3, 12)).astype("float32")
    np.savez(tmp_path / "d.npz", x=x)
    return folder


def changed(run: Path, **entries: Any) -> None:
    config = json.loads((run / "config.json").read_text(encoding="utf-8"))
    for name, value in entries.items():
        config[name] = {**config[name], **value} if isinstance(value, dict) else value
    (run / "config.json").write_text(json.dumps(config), encoding="utf-8")


COMMANDS = {
    "evaluate": ["--no-leakage"],
    "evaluate d.npz": ["--data", "d.npz", "--no-leakage"],
    "redatum": [
        *("--coherent-from", "d.npz", "--nuisance-from", "d.npz"),
        *("--out", "v.npz"),
    ],
    "anomalies": ["--data", "d.npz", "--out", "a.csv"],
    "export": ["--out", "exported"],
}


def command(capfd, name: str, run: Path, *more: object) -> tuple[int, str]:
    capfd.readouterr()
    words = [name.split()[0], run, *COMMANDS[name], *more]
    code = cli.main([str(each) for each in words])
    err = capfd.readouterr().err
    assert "Traceback" not in err
    return code, err


def test_the_recipe_of_a_run_folder_does_not_run(run, canary, capfd) -> None:
    for name in ("evaluate d.npz", "redatum"):
        code, err = command(capfd, name, run)
        assert code == 0, err
    for name in ("evaluate", "anomalies"):
        code, err = command(capfd, name, run)
        assert code == 2 and err.count("\n") == 1
        assert "--data FILE" in err and "--recipe FILE" in err


@pytest.mark.parametrize("name", COMMANDS)
def test_hostile_models_in_run_folders(name, run, canary, capfd) -> None:
    path = run / "model.keras"
    with zipfile.ZipFile(path) as file:
        content = {each: file.read(each) for each in file.namelist()}
    config = json.loads(content["config.json"])
    config["config"]["encoder"] = lambda_layer(run, canary)
    content["config.json"] = json.dumps(config).encode()
    with zipfile.ZipFile(path, "w") as file:
        for each, value in content.items():
            file.writestr(each, value)
    code, err = command(capfd, name, run)
    assert code == 2 and err.count("\n") == 1
    assert "model.keras cannot be loaded: it names keras.layers.Lambda" in err
    path.unlink()
    os.mkfifo(path)
    code, err = command(capfd, name, run)
    assert code == 2 and "is not a regular file" in err


def test_a_model_that_is_a_link_is_not_followed(good, run, capfd) -> None:
    for target in (good, run / "config.json"):
        (run / "model.keras").unlink()
        (run / "model.keras").symlink_to(target)
        code, err = command(capfd, "redatum", run)
        assert code == 2 and "model.keras is a link" in err


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ({"seed": "0"}, "the entry seed is a str"),
        ({"seed": -1}, "the entry seed is -1"),
        ({"seed": True}, "the entry seed is a bool"),
        ({"train_fraction": None}, "the entry train_fraction is a NoneType"),
        ({"instance_shape": 12}, "the entry instance_shape is a int"),
        ({"recipe": {"source": ["x"]}}, "the entry source is a list"),
        ({"data": {"file": 3}}, "the entry file is a int"),
        ({"data": {"group": 3}}, "the entry group is a int"),
        ({"data": {"file": "d.npz"}}, "not the absolute path"),
        ({"data": {"file": "/dev/zero"}}, "not the absolute path"),
        ({"data": {"file": "/no/such/file"}}, "not the absolute path"),
        ({"data": {"file": "/" + "x" * 5000}}, "not the absolute path"),
        ({"data": {"file": "/\0"}}, "not the absolute path"),
    ],
)
def test_hostile_entries(entries, words, run, canary, capfd) -> None:
    changed(run, **entries)
    code, err = command(capfd, "evaluate", run)
    assert code == 2 and err.count("\n") == 1 and words in err


def test_hostile_configs_of_runs(run, secret, canary, capfd) -> None:
    path = run / "config.json"
    path.write_bytes(b"[" * 5000 + b"]" * 5000)
    code, err = command(capfd, "evaluate", run)
    assert code == 2 and "config.json cannot be read: it is nested" in err
    path.write_bytes(b" " * (1 << 21))
    code, err = command(capfd, "evaluate", run)
    assert code == 2 and "config.json is larger than 1,048,576 bytes" in err
    path.unlink()
    path.symlink_to(secret)
    code, err = command(capfd, "evaluate", run)
    assert code == 2 and "config.json is a link" in err
    path.unlink()
    os.mkfifo(path)
    code, err = command(capfd, "evaluate", run)
    assert code == 2 and "config.json is not a regular file" in err


def test_a_pipe_is_no_data(run, tmp_path, canary, capfd) -> None:
    os.mkfifo(tmp_path / "pipe.npz")
    changed(run, data={"file": str(tmp_path / "pipe.npz"), "sha256": "0"})
    code, err = command(capfd, "evaluate", run)
    assert code == 2 and "not the absolute path of a file" in err


def test_data_are_read_only_if_their_hash_agrees(run, tmp_path, canary, capfd) -> None:
    from symae_keras.cli._run_folder import file_hash

    data = str(tmp_path / "d.npz")
    changed(run, data={"file": data, "sha256": 64 * "0"})
    code, err = command(capfd, "evaluate", run)
    assert code == 2 and "d.npz has changed" in err
    changed(run, data={"file": data, "sha256": file_hash(data)})
    code, err = command(capfd, "evaluate", run)
    assert code == 0 and "note: scores that the recipe computes are left out" in err


def test_a_preset_is_a_name_and_nothing_else(run, canary, capfd) -> None:
    """A path that resembles one is a file of the stranger."""
    for source in ("./symae_exposures", "symae_exposures/recipe.py", "SYMAE_EXPOSURES"):
        changed(run, recipe={"source": source})
        assert load_run(run).recipe is None
    changed(run, recipe={"source": "symae_exposures"})
    assert load_run(run).recipe is not None


# === What the user trusts ===

_OWN_CLASS = '''"""A recipe with a class of its own."""

import keras

from symae_keras.models import SymAE
from symae_keras.training import Recipe


@keras.saving.register_keras_serializable(package="mine")
class Twice(keras.layers.Layer):
    def call(self, x):
        return 2.0 * x


def model(groups, seed):
    encoder = keras.Sequential([Twice(), keras.layers.Dense(8)])
    return SymAE((12,), coherent_dim=3, nuisance_dim=2, encoder=encoder)


def score(model, train, held_out):
    return {"own_score": 0.5}


RECIPE = Recipe(model=model, score=score)
'''


def test_a_recipe_that_the_user_names(run, tmp_path, capfd) -> None:
    recipe = tmp_path / "mine.py"
    recipe.write_text(_OWN_CLASS, encoding="utf-8")
    model = load_recipe(recipe).recipe.model(None, 0)  # type: ignore[arg-type]
    model.save(run / "model.keras")
    from symae_keras.cli._run_folder import file_hash

    data = str(tmp_path / "d.npz")
    changed(
        run,
        recipe={"source": str(recipe), "sha256": recipe_hash(recipe)},
        data={"file": data, "sha256": file_hash(data)},
    )
    keras.saving.get_custom_objects().pop("mine>Twice")
    for name in COMMANDS:
        code, err = command(capfd, name, run)
        assert code == 2 and err.count("\n") == 1
        assert "contains mine>Twice, which is not registered" in err
        assert "--recipe FILE, if you trust it" in err
    try:
        code, err = command(capfd, "redatum", run, "--recipe", recipe)
        assert (code, err) == (0, "")
        code, err = command(capfd, "evaluate", run, "--recipe", recipe)
        assert (code, err) == (0, "")
        metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
        assert metrics["own_score"] == 0.5
        changed(run, recipe={"sha256": "another"})
        code, err = command(capfd, "anomalies", run, "--recipe", recipe)
        assert code == 0 and "mine.py has changed since the run was made" in err
    finally:
        keras.saving.get_custom_objects().pop("mine>Twice", None)
    code, err = command(capfd, "evaluate", run, "--recipe", tmp_path / "no.py")
    assert code == 2 and "no.py does not exist" in err
