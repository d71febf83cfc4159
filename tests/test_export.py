"""Exported files, run in the runtime of their format and compared with Keras."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from symae_keras import layers
from symae_keras.errors import InputError
from symae_keras.models import Autoencoder, SymAE, UNet

if keras.backend.backend() != "tensorflow":
    pytest.skip("models are exported with TensorFlow", allow_module_level=True)

from symae_keras.export import FORMATS, Exported, export_model

PIXELS = 256
PAGE = Path(__file__).parents[1] / "docs" / "serving.md"
SIZES = [(batch, instances) for batch in (1, 3) for instances in (1, 8, 20)]


def small_symae(**arguments) -> SymAE:
    arguments.setdefault("encoder", layers.DenseEncoder(8, units=(16,)))
    scaling = layers.Standardization(mean=np.linspace(1.0, 2.0, PIXELS), scale=0.3)
    return SymAE((PIXELS,), 3, 2, normalization=scaling, seed=0, **arguments)


def instances(rng, *shape: int) -> np.ndarray:
    return (1.5 + 0.4 * rng.normal(size=shape)).astype("float32")


def groups(rng, batch: int, n_instances: int) -> tuple[np.ndarray, np.ndarray]:
    """Make instances and a mask; if there are several, one is absent, and NaN."""
    x = instances(rng, batch, n_instances, PIXELS)
    mask = np.ones((batch, n_instances), bool)
    if n_instances > 1:
        mask[-1, 1], x[-1, 1] = False, np.nan
    return x, mask


def runner(path, format: str, endpoint: str):
    """Return the file as a function of named arrays, as a server would call it."""
    pytest.importorskip("tf2onnx")
    if format == "saved_model":
        import tensorflow as tf

        loaded = tf.saved_model.load(str(path))

        def run(**arrays):
            tensors = {name: tf.constant(each) for name, each in arrays.items()}
            outputs = loaded.signatures["serving_default"](**tensors)
            return {name: each.numpy() for name, each in outputs.items()}

        return run
    if format == "onnx":
        session = pytest.importorskip("onnxruntime").InferenceSession(path)
        names = [each.name for each in session.get_outputs()]
        return lambda **arrays: dict(
            zip(names, session.run(names, arrays), strict=True)
        )
    interpreter = pytest.importorskip("ai_edge_litert.interpreter")
    loaded = interpreter.Interpreter(str(path))
    return loaded.get_signature_runner(endpoint)


@pytest.fixture(scope="module")
def conditional() -> SymAE:
    keras.utils.set_random_seed(0)
    model = small_symae()
    model.detail = np.linspace(0.0, 1.0, PIXELS)
    return model


@pytest.fixture(scope="module")
def exported(conditional, tmp_path_factory) -> dict[str, Exported]:
    """Export the redatum endpoint in every format, with the command's names."""
    pytest.importorskip("tf2onnx")
    folder = tmp_path_factory.mktemp("exported")
    done = {
        format: export_model(conditional, folder / f"run-redatum{suffix}", format)
        for format, suffix in FORMATS.items()
    }
    written = sorted(each.name for each in folder.iterdir())
    assert written == ["run-redatum", "run-redatum.onnx", "run-redatum.tflite"]
    return done


@pytest.mark.parametrize("format", FORMATS)
def test_redatum(format, conditional, exported, rng) -> None:
    done = exported[format]
    assert done.endpoint == "redatum" and done.difference < 1e-4
    run = runner(done.path, format, "redatum")
    for batch, n_instances in SIZES:
        xa, mask_a = groups(rng, batch, n_instances)
        xb, mask_b = groups(rng, batch, n_instances + 1)
        masks = {"coherent_mask": mask_a, "nuisance_mask": mask_b}
        outputs = run(coherent_from=xa, nuisance_from=xb, **masks)
        expected = np.asarray(conditional.redatum(xa, xb, mask_a, mask_b))
        assert list(outputs) == ["instances"]
        assert outputs["instances"].shape == (batch, n_instances + 1, PIXELS)
        assert outputs["instances"].dtype == np.float32
        np.testing.assert_allclose(outputs["instances"], expected, atol=1e-4)
        # Both states and nuisances have an effect, otherwise nothing is compared.
        assert np.ptp(expected, axis=1).max() > 0.01


def test_names_of_axes_in_onnx(conditional, exported, tmp_path) -> None:
    onnx = pytest.importorskip("onnx")

    def names(path: Path) -> dict[str, list[str]]:
        graph = onnx.load(path).graph
        return {
            each.name: [axis.dim_param for axis in each.type.tensor_type.shape.dim][:2]
            for each in graph.input
        }

    redatum = names(exported["onnx"].path)
    assert redatum["coherent_from"] == ["batch", "coherent_instances"]
    assert redatum["nuisance_mask"] == ["batch", "nuisance_instances"]
    done = export_model(conditional, tmp_path / "e.onnx", "onnx", endpoint="encode")
    found = names(done.path)
    assert set(map(tuple, found.values())) == {("batch", "instances")}


def test_guide(exported, monkeypatch) -> None:
    """The Python code of the page runs unchanged in the folder of the files."""
    if not PAGE.exists():
        pytest.skip("docs are not in the sdist")
    monkeypatch.chdir(exported["onnx"].path.parent)
    page = PAGE.read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```$", page, re.S | re.M)
    assert len(blocks) == 4
    names: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, str(PAGE), "exec"), names)


@pytest.mark.large
@pytest.mark.parametrize("format", ["saved_model", "onnx"])
def test_encode(format, conditional, tmp_path, rng) -> None:
    path = tmp_path / f"model{FORMATS[format]}"
    done = export_model(conditional, path, format, "encode")
    assert done.inputs == {
        "x": ((None, None, PIXELS), "float32"),
        "mask": ((None, None), "bool"),
    }
    assert done.outputs == {
        "coherent": ((None, 3), "float32"),
        "nuisance": ((None, None, 2), "float32"),
    }
    run = runner(path, format, "encode")
    for sizes in SIZES[1::2]:
        x, mask = groups(rng, *sizes)
        outputs = run(x=x, mask=mask)
        for name, expected in conditional.encode(x, mask)._asdict().items():
            np.testing.assert_allclose(outputs[name], expected, atol=1e-4)
        again = run(x=x, mask=mask)
        assert all((again[name] == outputs[name]).all() for name in outputs)


@pytest.mark.large
@pytest.mark.parametrize("format", ["onnx", "tflite"])
def test_bad_pixels_of_a_convolution(format, tmp_path, rng) -> None:
    """NaN marks a bad pixel, in groups of any size."""
    encoder = layers.Conv1DEncoder(8, filters=(4, 8))
    model = small_symae(encoder=encoder, pooling="max")
    path = tmp_path / f"model{FORMATS[format]}"
    export_model(model, path, format, "reconstruct")
    run = runner(path, format, "reconstruct")
    for sizes in SIZES[::2]:
        x, mask = groups(rng, *sizes)
        x[0, 0, 3:5] = np.nan
        good = mask[..., None] & np.isfinite(x)
        outputs = run(x=x, mask=mask)["instances"]
        np.testing.assert_allclose(outputs, model.reconstruct(x, good), atol=1e-4)


def test_single_instances(tmp_path, rng) -> None:
    model = Autoencoder((PIXELS,), code_dim=3, seed=0)
    path = tmp_path / "model.tflite"
    done = export_model(model, path, "tflite")
    assert done.endpoint == "reconstruct" and list(done.inputs) == ["x"]
    run = runner(path, "tflite", "reconstruct")
    for batch in (1, 5):
        x = instances(rng, batch, PIXELS)
        outputs = run(x=x)["instances"]
        np.testing.assert_allclose(outputs, model.reconstruct(x), atol=1e-4)


@pytest.mark.large
def test_maps_and_classes(tmp_path, rng) -> None:
    model = UNet((8, 8, 1), "segmentation", n_classes=3, filters=(4, 6), seed=0)
    codes = export_model(model, tmp_path / "codes", endpoint="encode")
    assert list(codes.outputs) == ["code_0", "code_1"]
    classes = export_model(model, tmp_path / "classes")
    assert classes.outputs == {"probabilities": ((None, 8, 8, 3), "float32")}


def test_half_precision_is_exported_in_float32(tmp_path, rng) -> None:
    policy = "mixed_float16"
    encoder = layers.DenseEncoder(8, units=(16,), dtype=policy)
    model = small_symae(encoder=encoder, dtype=policy)
    whole = small_symae()
    whole.set_weights(model.get_weights())
    model.detail = whole.detail = np.full(PIXELS, 0.5)
    export_model(model, tmp_path / "model")
    x, mask = groups(rng, 3, 4)
    named = dict.fromkeys(("coherent_from", "nuisance_from"), x)
    named |= dict.fromkeys(("coherent_mask", "nuisance_mask"), mask)
    outputs = runner(tmp_path / "model", "saved_model", "redatum")(**named)
    expected = np.asarray(whole.redatum(x, x, mask, mask))
    np.testing.assert_allclose(outputs["instances"], expected, atol=1e-5)
    half = np.asarray(model.redatum(x, x, mask, mask)).astype("float32")
    assert np.abs(half - expected).max() > 1e-5


@pytest.mark.parametrize(
    ("name", "arguments", "sentence"),
    [
        ("model", {"format": "h5"}, "The format must be one of saved_model, onnx"),
        ("model.pb", {"format": "onnx"}, "ends in .onnx"),
        ("model.onnx", {}, "makes a folder"),
        ("model", {"endpoint": "call"}, "must be one of encode, decode"),
        ("there", {}, "is not empty"),
        ("there/file.onnx", {"format": "onnx"}, "give --force to replace it"),
        ("there", {"force": True}, "holds file.onnx, and no .symae.json"),
        ("there/file.onnx/model", {}, "is not a folder"),
    ],
)
def test_refused(name, arguments, sentence, conditional, tmp_path) -> None:
    pytest.importorskip("tf2onnx")
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "file.onnx").write_text("mine", encoding="utf-8")
    with pytest.raises(InputError, match=sentence):
        export_model(conditional, tmp_path / name, **arguments)
    assert [each.name for each in tmp_path.rglob("*")] == ["there", "file.onnx"]
    assert (tmp_path / "there" / "file.onnx").read_text(encoding="utf-8") == "mine"


def test_models_that_cannot(tmp_path) -> None:
    with pytest.raises(InputError, match="no codes of groups to swap"):
        export_model(Autoencoder((PIXELS,)), tmp_path / "model", endpoint="redatum")
    with pytest.raises(InputError, match="export encode or reconstruct"):
        export_model(Autoencoder((PIXELS,)), tmp_path / "model", endpoint="decode")
    with pytest.raises(InputError, match="received a Sequential"):
        export_model(keras.Sequential(), tmp_path / "model")
    assert not list(tmp_path.iterdir())


def test_a_missing_package_is_named(conditional, tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "tf2onnx", None)
    words = r'format onnx needs tf2onnx; install .* "symae_keras\[export\]"'
    with pytest.raises(InputError, match=words):
        export_model(conditional, tmp_path / "model.onnx", "onnx")


@keras.saving.register_keras_serializable(package="test_export")
class Blind(layers.DenseEncoder):
    """Encoder that behaves differently when it is traced."""

    def call(self, inputs):
        outputs = super().call(inputs)
        return outputs if hasattr(outputs, "numpy") else 1.01 * outputs


def test_what_differs_from_keras_is_not_written(tmp_path) -> None:
    model = small_symae(encoder=Blind(8, units=(16,)))
    with pytest.raises(InputError, match="differs from Keras by"):
        export_model(model, tmp_path / "model")
    assert not list(tmp_path.iterdir())


def test_other_backends_are_told(conditional, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("keras.backend.backend", lambda: "jax")
    with pytest.raises(InputError, match="set KERAS_BACKEND=tensorflow"):
        export_model(conditional, tmp_path / "model")
