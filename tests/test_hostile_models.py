"""Malicious models and run folders: rejected, without running code or reading files.

Each case changes one thing in a good model. All of them are loaded as a folder and as
a .keras file, and must end in one sentence.
"""

from __future__ import annotations

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

from symae_keras import zoo
from symae_keras._utils.files import read_json
from symae_keras._utils.presets import SAVED
from symae_keras._utils.untrusted_configs import LAYERS
from symae_keras._utils.untrusted_models import MAX_CONFIG_BYTES, load_model
from symae_keras.cli._run_folder import file_hash, load_run
from symae_keras.errors import InputError
from symae_keras.layers import DenseEncoder, Standardization
from symae_keras.models import LinearAutoencoder, SymAE
from symae_keras.zoo.recipes import load_recipe, recipe_hash

Config = dict[str, Any]
opened: list[str] = []

# For the rest of the process.
sys.addaudithook(
    lambda event, arguments: (
        opened.append(str(arguments[0])) if event == "open" else None
    )
)


@pytest.fixture(scope="module")
def good(tmp_path_factory) -> Path:
    """Return a valid model, as a folder."""
    encoder = DenseEncoder(8, units=(16,))
    model = SymAE((12,), coherent_dim=3, nuisance_dim=2, encoder=encoder, seed=0)
    return zoo.save_preset(model, tmp_path_factory.mktemp("good") / "model")


@pytest.fixture
def model(good, tmp_path) -> Path:
    """Return a copy of it without checksums, to modify."""
    without = shutil.ignore_patterns("SHA256SUMS")
    return Path(shutil.copytree(good, tmp_path / "model", ignore=without))


@pytest.fixture
def secret(tmp_path):
    """Return a file of the user that must not be read."""
    path = tmp_path / "secret.txt"
    path.write_text("password\n", encoding="utf-8")
    os.utime(path, ns=(10**18, path.stat().st_mtime_ns))
    opened.clear()
    yield path
    assert str(path) not in opened
    # HDF5 does not open files through Python; the access time shows a read.
    assert path.stat().st_atime_ns == 10**18


@pytest.fixture
def canary(tmp_path):
    """Return a path that exists only if code was executed."""
    path = tmp_path / "canary"
    yield path
    assert not path.exists()


def archive(folder: Path) -> Path:
    """Write the same files as a .keras file."""
    path = folder.with_suffix(".keras")
    with zipfile.ZipFile(path, "w") as file:
        for each in sorted(folder.glob("[!.]*")):  # the folder assets included
            file.write(each, each.name)
    return path


def output(model: keras.Model) -> np.ndarray:
    x = np.random.default_rng(0).normal(size=(2, 3, 12)).astype("float32")
    return keras.ops.convert_to_numpy(model.reconstruct(x))


def refused(path: Path) -> str:
    """Return the error message for a model."""
    with pytest.raises(InputError) as caught:
        load_model(path)
    text = str(caught.value)
    assert text.startswith(f"{path} cannot be loaded: ") and text.endswith(".")
    assert "\n" not in text and len(text) < 600
    return text


@pytest.fixture
def refused_twice(model) -> Callable[[str], None]:
    """Check that the model is rejected as a folder and as a .keras file."""

    def check(words: str) -> None:
        assert words in refused(model)
        assert words in refused(archive(model))

    return check


def test_a_good_model_is_loaded_from_both(model) -> None:
    expected = output(keras.saving.load_model(model))
    for path in (model, archive(model)):
        np.testing.assert_array_equal(output(load_model(path)), expected)


# === Configs ===


def entry(module: Any, class_name: str, config: Any, name: str | None = None) -> Config:
    return {
        "module": module,
        "class_name": class_name,
        "config": config,
        "registered_name": name,
    }


def layer(class_name: str, **config: Any) -> Config:
    return entry("keras.layers", class_name, config)


def sequential(*layers: Config) -> Config:
    return entry("keras", "Sequential", {"name": "s", "layers": [*layers]})


def function_of(module: str | None, name: str) -> Config:
    return entry(module, "function", name, name)


def the_lambda(canary: Path) -> Config:
    """Return the code of a Python lambda that writes a file, as Keras saves it."""
    code = f"lambda x: [open({str(canary)!r}, 'w').close(), x][1]"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {
            "class_name": "__lambda__",
            "config": {"value": keras.src.utils.python_utils.func_dump(eval(code))},
        }


def graph(node: Any) -> Config:
    """Return a Functional of one Dense layer with a given call node."""
    start = layer("InputLayer", batch_shape=[None, 12], name="x")
    start |= {"name": "x", "inbound_nodes": []}
    dense = layer("Dense", units=8, name="y") | {"name": "y", "inbound_nodes": [node]}
    config = {
        "name": "f",
        "layers": [start, dense],
        "input_layers": [["x", 0, 0]],
        "output_layers": [["y", 0, 0]],
    }
    return entry("keras.src.models.functional", "Functional", config)


def popen(canary: Path) -> Config:
    return entry("subprocess", "Popen", {"args": ["touch", str(canary)]})


def lambda_layer(canary: Path) -> Config:
    return layer("Lambda", function=the_lambda(canary), name="l")


def lookup_layer(
    class_name: str, module: str = "keras.layers"
) -> Callable[[Path, Path], Config]:
    """Return a layer that reads its vocabulary from the secret file."""
    return lambda s, c: entry(module, class_name, {"vocabulary": str(s)})


_UNREGISTERED = "which is not registered"
_LAMBDA = "code of a Python lambda"
_TOO_MANY = "asks for many more weights"
_KERAS_2 = {"class_name": "Lambda", "config": {"function": [0, None, None]}}
_TEXT = {
    "class_name": "__numpy__",
    "config": {"value": ["x"], "dtype": "S1000000000000"},
}
_GET_FILE = function_of("keras.utils", "get_file")

#: Encoders and their error messages; functions take the secret and the canary.
ENCODERS: dict[str, tuple[Any, str]] = {
    "lambda layer": (lambda s, c: lambda_layer(c), "keras.layers.Lambda"),
    "lambda layer of the source": (
        lambda s, c: lambda_layer(c) | {"module": "keras.src.layers"},
        "keras.src.layers.Lambda",
    ),
    "lambda layer as in Keras 2": (_KERAS_2, "an incomplete entry, Lambda"),
    "lambda": (lambda s, c: the_lambda(c), _LAMBDA),
    "lambda as activation": (
        lambda s, c: layer("Dense", units=8, activation=the_lambda(c)),
        _LAMBDA,
    ),
    "lambda in a Sequential": (
        lambda s, c: sequential(lambda_layer(c)),
        "keras.layers.Lambda",
    ),
    "any class": (
        lambda s, c: popen(c),
        f"contains subprocess.Popen, {_UNREGISTERED}",
    ),
    "any class in a list": (lambda s, c: [[popen(c)]], "subprocess.Popen"),
    "any class under any key": (
        lambda s, c: layer("Dense", units=8, more=popen(c)),
        "subprocess.Popen",
    ),
    "a class that Keras has imported": (
        entry("keras.src.saving.saving_lib", "DiskIOStore", {}),
        "keras.src.saving.saving_lib.DiskIOStore",
    ),
    "any function": (function_of("os", "system"), "system, which is not"),
    "a function as activation": (
        layer("Dense", units=8, activation=_GET_FILE),
        "keras.utils.get_file",
    ),
    **{
        f"the function {module}.{name}": (
            function_of(f"keras.{module}", name),
            f"keras.{module}.{name}",
        )
        for module, name in (
            ("config", "enable_unsafe_deserialization"),
            ("models", "load_model"),
            ("activations", "deserialize"),
        )
    },
    "a builtin function": (function_of("builtins", "eval"), "eval"),
    "a function without a module": (function_of(None, "eval"), "eval"),
    "a module that is no text": (entry(["os"], "system", {}), _UNREGISTERED),
    "TFSMLayer": (
        lambda s, c: layer("TFSMLayer", filepath=str(s.parent)),
        "keras.layers.TFSMLayer",
    ),
    **{
        name: (lookup_layer(name), f"keras.layers.{name}")
        for name in ("StringLookup", "IntegerLookup", "TextVectorization")
    },
    "StringLookup of the source": (
        lookup_layer("StringLookup", "keras.src.layers.preprocessing.string_lookup"),
        "string_lookup.StringLookup",
    ),
    "TorchModuleWrapper": (
        layer("TorchModuleWrapper", module="gASV"),
        "keras.layers.TorchModuleWrapper",
    ),
    "JaxLayer": (
        lambda s, c: layer("JaxLayer", call_fn=the_lambda(c)),
        "keras.layers.JaxLayer",
    ),
    "a type of TensorFlow": (
        entry("tensorflow", "__typespec__", []) | {"spec_name": "TensorSpec"},
        _UNREGISTERED,
    ),
    "an array of text": (_TEXT, "an array that is not of numbers"),
    "a graph as in Keras 2": (
        graph([["x", 0, 0, {}]]),
        "computes on constants in Dense",
    ),
    "a graph of constants": (
        graph({"args": [[[1.0] * 12]], "kwargs": {}}),
        "computes on constants in Dense",
    ),
    "a layer of terabytes": (layer("Dense", units=2**31), _TOO_MANY),
    "a layer of gigabytes": (layer("Dense", units=10**8), _TOO_MANY),
    "layers of gigabytes": (sequential(*[layer("Dense", units=10**5)] * 3), _TOO_MANY),
    "a layer of more": (
        layer("Dense", units=10**12),
        "the entry units of its config is too large",
    ),
    "many layers": (sequential(*[layer("ReLU")] * 3000), _TOO_MANY),
    "negative units": (layer("Dense", units=-5), "units"),
}


@pytest.mark.parametrize("case", ENCODERS)
def test_hostile_encoders(case, model, edited, refused_twice, secret, canary) -> None:
    encoder, words = ENCODERS[case]
    with edited(model / "config.json") as config:
        config["config"]["encoder"] = (
            encoder(secret, canary) if callable(encoder) else encoder
        )
    refused_twice(words)


@pytest.mark.parametrize("place", ["dtype", "normalization", "build_config", "module"])
def test_hostile_classes_in_other_places(
    place, model, edited, refused_twice, canary
) -> None:
    with edited(model / "config.json") as config:
        if place == "build_config":
            config[place] = {"input_shape": [None, 12], "x": popen(canary)}
        elif place == "module":
            config |= popen(canary)
        else:
            config["config"][place] = popen(canary)
    refused_twice("subprocess.Popen")


def test_how_it_was_compiled_is_not_looked_at(model, edited, canary) -> None:
    with edited(model / "config.json") as config:
        config["compile_config"] = {"optimizer": the_lambda(canary)}
    assert not load_model(model).compiled


_SIZE = "instance_shape in its config"


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ("[NaN]", f"{_SIZE} has the size nan"),
        ("[-12]", f"{_SIZE} has the size -12"),
        ('["12"]', f"{_SIZE} has the size 12"),
        ("[12.5]", f"{_SIZE} has the size 12.5"),
        ("[true]", f"{_SIZE} has the size True"),
        ("[1000000000000]", f"{_SIZE} is too large"),
        ("[100000, 100000]", f"{_SIZE} is too large"),
        ("[10000000]", _TOO_MANY),
        ("12", "cannot be loaded"),
        ("null", "cannot be loaded"),
    ],
)
def test_hostile_shapes(shape, words, model, refused_twice) -> None:
    file = model / "config.json"
    text = file.read_text(encoding="utf-8")
    assert '"instance_shape": [12]' in text
    text = text.replace('"instance_shape": [12]', f'"instance_shape": {shape}')
    file.write_text(text, encoding="utf-8")
    refused_twice(words)


TEXTS = {
    "5,000 lists": (b"[" * 5000 + b"]" * 5000, "more than 200 levels deep"),
    "5,000 objects": (b'{"a":' * 5000 + b"1" + b"}" * 5000, "levels deep"),
    "brackets in strings": (b'["' + b"[" * 5000 + b'\\""]', "describe a model"),
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
def test_hostile_json(case, model, refused_twice) -> None:
    text, words = TEXTS[case]
    (model / "config.json").write_bytes(text)
    refused_twice(words)


def test_a_layer_alone_is_no_model(model, refused_twice) -> None:
    config = layer("ReLU", name="r")
    (model / "config.json").write_text(json.dumps(config), encoding="utf-8")
    with h5py.File(model / "model.weights.h5", "w") as file:
        file.create_group("vars")
    refused_twice("it holds a ReLU, not a model")


def test_old_files_with_long_lists_are_loaded(tmp_path, edited) -> None:
    """Mean instances are lists in the config, 7 MB for 327,680 pixels."""
    mean = np.random.default_rng(0).normal(size=327_680)
    model = LinearAutoencoder(
        (327_680,), code_dim=1, normalization=Standardization(mean)
    )
    folder = zoo.save_preset(model, tmp_path / "model")
    (folder / "SHA256SUMS").unlink()
    with edited(folder / "config.json") as config:
        saved = config["config"]["normalization"]["config"]
        del saved["mean_shape"], saved["scale_shape"]
        saved |= {"mean": mean.tolist(), "scale": 1.0}
    again = load_model(folder)
    np.testing.assert_allclose(again.normalization.mean, mean, rtol=1e-6)


def test_networks_of_keras_are_loaded(tmp_path) -> None:
    """Check graphs, operations, wrappers, functions and constants saved by Keras."""
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
    """New layers of later Keras versions are checked before they are allowed."""
    allowed = {getattr(keras.layers, name) for name in LAYERS}
    left_out = {
        name
        for name, each in vars(keras.layers).items()
        if isinstance(each, type) and each not in allowed
    }
    assert left_out == {
        *("Lambda", "JaxLayer", "FlaxLayer", "TorchModuleWrapper", "TFSMLayer"),
        *("StringLookup", "IntegerLookup", "TextVectorization"),
        *("MelSpectrogram", "STFTSpectrogram", "Layer", "Wrapper", "InputSpec"),
    }


# === Weights ===


def virtual(file: h5py.File, name: str, shape: Any, secret: Path) -> None:
    layout = h5py.VirtualLayout(shape, "float32")
    layout[:] = h5py.VirtualSource(str(secret), "data", shape)
    file.create_virtual_dataset(name, layout)


def external(file: h5py.File, name: str, shape: Any, secret: Path) -> None:
    file.create_dataset(name, shape, "float32", external=[(str(secret), 0, 10**6)])


def bomb(file: h5py.File, name: str, *_: Any) -> None:
    chunks = {"chunks": (1000, 1000), "compression": "gzip"}
    file.create_dataset(name, (10**6, 10**5), "float32", **chunks)


def filtered(file: h5py.File, name: str, shape: Any, _: Path) -> None:
    file.create_dataset(name, data=np.zeros(shape), compression="lzf")


def circle(file: h5py.File, *_: Any) -> None:
    file["again"] = file["/"]


def of_value(make: Callable[[h5py.File, Path], Any]) -> Callable[..., None]:
    def change(file: h5py.File, name: str, shape: Any, secret: Path) -> None:
        file[name] = make(file, secret)

    return change


_NO_NUMBERS = "not an array of numbers"

#: Replacements of an array, and their error messages.
WEIGHTS: dict[str, tuple[Callable[..., None], str]] = {
    "external storage": (external, "are in another file"),
    "virtual dataset": (virtual, "are in another file"),
    "bomb": (bomb, "claim 400,0"),
    "circle": (circle, "contain '/again' twice"),
    "filter": (filtered, "need a filter other than gzip"),
    "an array too few": (lambda *_: None, "cannot be loaded"),
    **{
        case: (of_value(make), words)
        for case, make, words in (
            (
                "external link",
                lambda file, secret: h5py.ExternalLink(str(secret), "/data"),
                "contain the link",
            ),
            ("soft link", lambda *_: h5py.SoftLink("/elsewhere"), "contain the link"),
            ("text", lambda *_: "text", _NO_NUMBERS),
            ("references", lambda file, _: file["/"].ref, _NO_NUMBERS),
            (
                "region references",
                lambda file, _: file.create_dataset("all", (4,)).regionref[:2],
                _NO_NUMBERS,
            ),
            ("named type", lambda *_: np.dtype("float32"), "is not an array"),
            ("records", lambda *_: np.zeros(3, [("a", "f4")]), _NO_NUMBERS),
            ("no values", lambda *_: h5py.Empty("float32"), _NO_NUMBERS),
        )
    },
}


@pytest.mark.parametrize("case", WEIGHTS)
def test_hostile_weights(case, model, refused_twice, secret) -> None:
    make, words = WEIGHTS[case]
    with h5py.File(model / "model.weights.h5", "r+") as file:
        # The visit ends at the first array.
        name = file.visititems(
            lambda name, item: name if hasattr(item, "shape") else None
        )
        shape = file[name].shape
        del file[name]
        make(file, name, shape, secret)
    refused_twice(words)


def test_weights_that_are_no_hdf5(model, refused_twice) -> None:
    (model / "model.weights.h5").write_bytes(b"PK\x03\x04")
    refused_twice("OSError")


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
    for name, words in (
        *((name, f"it contains '{name}'") for name in ("../evil.txt", "/evil.txt")),
        *((name, f"it contains '{name}'") for name in ("assets/words.txt", "code.py")),
        ("config.json", "contains a file twice"),
    ):
        path.write_bytes(whole)
        with warnings.catch_warnings(), zipfile.ZipFile(path, "a") as file:
            warnings.simplefilter("ignore")  # about the name
            file.writestr(name, "x")
        assert words in refused(path)
    with zipfile.ZipFile(path, "w") as file:
        file.write(model / "config.json", "config.json")
    assert "contains no model.weights.h5" in refused(path)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.write(model / "config.json", "config.json")
        file.writestr("model.weights.h5", bytes(70 << 20))
    assert path.stat().st_size < 200_000
    assert "claims 73,400,320 bytes" in refused(path)
    # Flip a byte of the weights.
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


# === Run folders ===


@pytest.fixture
def run(good, tmp_path, monkeypatch) -> Path:
    """Return an untrusted run folder that contains a recipe, which writes a file."""
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
    source = {"source": str(recipe), "sha256": recipe_hash(recipe)}
    config = {
        "recipe": {"name": "codes", **source},
        "data": {"file": None, "sha256": None},
        "seed": 0,
        "train_fraction": 0.8,
        "instance_shape": [12],
    }
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    x = np.random.default_rng(0).normal(size=(4, 3, 12)).astype("float32")
    np.savez(tmp_path / "d.npz", x=x)
    return folder


@pytest.fixture
def changed(run, edited) -> Callable[..., None]:
    """Return a function that changes entries of config.json."""

    def change(**entries: Any) -> None:
        with edited(run / "config.json") as config:
            for name, value in entries.items():
                if isinstance(value, dict):
                    value = config[name] | value
                config[name] = value

    return change


COMMANDS = {
    "evaluate": ["--no-leakage"],
    "evaluate d.npz": ["--data", "d.npz", "--no-leakage"],
    "redatum": [
        *("--coherent-from", "d.npz", "--nuisance-from", "d.npz"),
        *("--out", "v.npz"),
    ],
    "anomalies": ["--data", "d.npz", "--out", "a.csv"],
    "encode": ["--data", "d.npz", "--out", "c.csv"],
    "report": ["--out", "r.html"],
    "export": ["--out", "exported"],
}


def command(name: str, run: Path, *more: object) -> tuple[object, ...]:
    return name.split()[0], run, *COMMANDS[name], *more


def test_the_recipe_of_a_run_folder_does_not_run(
    run, canary, succeeds, refuses
) -> None:
    for name in ("evaluate", "anomalies"):
        err = refuses(*command(name, run))
        assert "--data FILE" in err and "--recipe FILE" in err
    for name in ("evaluate d.npz", "redatum", "encode"):
        succeeds(*command(name, run))
    assert "no sections that need data" in succeeds(*command("report", run)).err


@pytest.mark.parametrize("name", COMMANDS)
def test_hostile_models_in_run_folders(
    name, run, model, edited, canary, refuses
) -> None:
    path = run / "model.keras"
    with edited(model / "config.json") as config:
        config["config"]["encoder"] = lambda_layer(canary)
    archive(model).replace(path)
    err = refuses(*command(name, run))
    assert "model.keras cannot be loaded: it names keras.layers.Lambda" in err
    path.unlink()
    os.mkfifo(path)
    assert "is not a regular file" in refuses(*command(name, run))


def test_a_model_that_is_a_link_is_not_followed(good, run, refuses) -> None:
    for target in (good, run / "config.json"):
        (run / "model.keras").unlink()
        (run / "model.keras").symlink_to(target)
        assert "model.keras is a link" in refuses(*command("redatum", run))


_NO_PATH = "not the absolute path"


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
        ({"data": {"file": "d.npz"}}, _NO_PATH),
        ({"data": {"file": "/dev/zero"}}, _NO_PATH),
        ({"data": {"file": "/no/such/file"}}, _NO_PATH),
        ({"data": {"file": "/" + "x" * 5000}}, _NO_PATH),
        ({"data": {"file": "/\0"}}, _NO_PATH),
    ],
)
def test_hostile_entries(entries, words, run, changed, canary, refuses) -> None:
    changed(**entries)
    assert words in refuses("evaluate", run)


def test_hostile_configs_of_runs(run, secret, canary, refuses) -> None:
    path = run / "config.json"
    path.write_bytes(b"[" * 5000 + b"]" * 5000)
    assert "config.json cannot be read: it is nested" in refuses("evaluate", run)
    path.write_bytes(b" " * (1 << 21))
    assert "config.json is larger than 1,048,576 bytes" in refuses("evaluate", run)
    path.unlink()
    path.symlink_to(secret)
    assert "config.json is a link" in refuses("evaluate", run)
    path.unlink()
    os.mkfifo(path)
    assert "config.json is not a regular file" in refuses("evaluate", run)


def test_a_pipe_is_no_data(run, changed, tmp_path, canary, refuses) -> None:
    os.mkfifo(tmp_path / "pipe.npz")
    changed(data={"file": str(tmp_path / "pipe.npz"), "sha256": "0"})
    assert "not the absolute path of a file" in refuses("evaluate", run)


def test_data_are_read_only_if_their_hash_agrees(
    run, changed, tmp_path, canary, succeeds, refuses
) -> None:
    data = str(tmp_path / "d.npz")
    changed(data={"file": data, "sha256": 64 * "0"})
    assert "d.npz has changed" in refuses(*command("evaluate", run))
    changed(data={"file": data, "sha256": file_hash(data)})
    err = succeeds(*command("evaluate", run)).err
    assert "note: scores that the recipe computes are left out" in err


def test_a_preset_is_a_name_and_nothing_else(run, changed, canary) -> None:
    """A path that resembles a preset is an untrusted file."""
    for source in ("./symae_exposures", "symae_exposures/recipe.py", "SYMAE_EXPOSURES"):
        changed(recipe={"source": source})
        assert load_run(run).recipe is None
    changed(recipe={"source": "symae_exposures"})
    assert load_run(run).recipe is not None


# === Trusted by the user ===

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


def test_a_recipe_that_the_user_names(
    run, changed, tmp_path, succeeds, refuses
) -> None:
    recipe, data = tmp_path / "mine.py", str(tmp_path / "d.npz")
    recipe.write_text(_OWN_CLASS, encoding="utf-8")
    model = load_recipe(recipe).recipe.model(None, 0)  # type: ignore[arg-type]
    model.save(run / "model.keras")
    changed(
        recipe={"source": str(recipe), "sha256": recipe_hash(recipe)},
        data={"file": data, "sha256": file_hash(data)},
    )
    keras.saving.get_custom_objects().pop("mine>Twice")
    for name in COMMANDS:
        err = refuses(*command(name, run))
        assert "contains mine>Twice, which is not registered" in err
        assert "--recipe FILE, if you trust it" in err
    trusted = ("--recipe", recipe)
    try:
        for name in ("redatum", "evaluate"):
            notes = succeeds(*command(name, run, *trusted)).err.splitlines()
            # There are too few groups for the corresponding notes.
            assert all("not compared" in n or "no estimate" in n for n in notes)
        assert read_json(run / "metrics.json")["own_score"] == 0.5
        changed(recipe={"sha256": "another"})
        err = succeeds(*command("anomalies", run, *trusted)).err
        assert "mine.py has changed since the run was created" in err
    finally:
        keras.saving.get_custom_objects().pop("mine>Twice", None)
    err = refuses(*command("evaluate", run, "--recipe", tmp_path / "no.py"))
    assert "no.py does not exist" in err
