"""Saved models in fresh processes, on the same backend and on another."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import ops

from symae_keras import layers
from symae_keras.models import SymAE

LENGTH = 37  # a prime: no stride divides it

_LOAD_ALL = """
import sys
from pathlib import Path

{imports}
import numpy as np

assert keras.config.backend() == "tensorflow"
assert "symae_keras.models" in sys.modules  # registered by the imports alone
folder = Path(sys.argv[1])
x = np.load(folder / "x.npy")
for path in folder.glob("*.keras"):
    model = keras.saving.load_model(path)
    if hasattr(model, "redatum"):
        output = model.redatum(coherent_from=x, nuisance_from=x[::-1])
    else:
        output = model(x)
    np.save(path.with_suffix(".{name}.npy"), keras.ops.convert_to_numpy(output))
"""

_ON_JAX = """
import json
import sys
from pathlib import Path

import keras, symae_keras as sk
import numpy as np

assert keras.config.backend() == "jax"
folder = Path(sys.argv[1])
x = np.load(folder / "x.npy")
model = keras.saving.load_model(folder / "trained.keras")
virtual = model.redatum(coherent_from=x, nuisance_from=x[::-1])
np.save(folder / "jax.npy", np.asarray(virtual))

model.compile(loss="mse")
mask = np.load(folder / "mask.npy")
inputs = {"instances": x, "mask": mask}
result = {
    "evaluated": model.evaluate(inputs, x, batch_size=32, verbose=0),
    "expected": float(np.mean((np.asarray(model(inputs)) - x)[mask] ** 2)),
}

rng = np.random.default_rng(0)
state, nuisance = rng.normal(size=(64, 1, 16)), rng.normal(size=(64, 4, 1))
x = (state * (1.0 + nuisance)).astype("float32")
mask = np.arange(4) < rng.integers(1, 5, size=(64, 1))
keras.utils.set_random_seed(0)
model = sk.models.SymAE(
    (16,), 3, 2, encoder=sk.layers.DenseEncoder(8, units=(16,)), seed=0
)
model.compile(optimizer=keras.optimizers.Adam(1e-2), loss="mse")


class Watch(keras.callbacks.Callback):
    strengths = []

    def on_train_batch_end(self, batch, logs=None):
        self.model.jax_state_sync()
        self.strengths.append(float(model.noise.strength.value))


watch = Watch()
schedule = sk.callbacks.NoiseSchedule(lambda step: 0.5 / 2**step)
history = model.fit(
    {"instances": x, "mask": mask},
    x,
    batch_size=16,
    epochs=8,
    verbose=0,
    callbacks=[schedule, watch],
)
result |= {"loss": history.history["loss"], "strengths": watch.strengths}
result["after"] = float(model.noise.strength.value)
(folder / "fit.json").write_text(json.dumps(result))
"""


def _every_layer() -> keras.Model:
    """One functional model through all layers; x is `(groups, instances, LENGTH)`."""
    each = layers.PerInstance
    x = keras.Input((None, LENGTH))
    image = keras.layers.TimeDistributed(keras.layers.Reshape((LENGTH, 1, 1)))(x)
    codes = [
        each(layers.DenseEncoder(6, units=(8,)))(x),
        each(layers.Conv1DEncoder(6, filters=(3, 4), normalization="group"))(x),
        each(layers.Conv2DEncoder(6, filters=(3, 4)))(image),
    ]
    noisy = layers.NuisanceDropout("additive", 0.2, seed=1)(codes[0])
    sampled = layers.GaussianSampling(0.1, seed=1)((codes[1], codes[2]))
    decoded = [
        each(layers.DenseDecoder((LENGTH,), units=(8,)))(noisy),
        each(layers.Conv1DDecoder((LENGTH,), filters=(4, 3)))(sampled),
        each(layers.Conv2DDecoder((LENGTH, 1), filters=(4, 3)))(sampled),
    ]
    decoded[2] = keras.layers.TimeDistributed(keras.layers.Flatten())(decoded[2])
    pooled = [
        layers.DeepSetsPooling("max")(decoded[0]),
        layers.AttentionPooling(num_heads=2, key_dim=4)(decoded[1]),
        layers.DeepSetsPooling("mean")(decoded[2]),
    ]
    return keras.Model(x, keras.layers.Add()(pooled))


def _models() -> dict[str, keras.Model]:
    dense = {"encoder": layers.DenseEncoder(8, units=(16,))}
    known = keras.layers.Normalization(mean=0.3, variance=2.0, axis=None)
    adapted = keras.layers.Normalization()
    adapted.adapt(np.random.default_rng(0).normal(2.0, 3.0, (50, 2, LENGTH)))
    user = keras.Sequential([keras.layers.Dense(5, "gelu")])
    arguments = {
        "conv1d": {"encoder": "conv1d"},
        "original": {**dense, "conditional_nuisance": False, "normalization": known},
        "attention": {**dense, "pooling": "attention", "normalization": adapted},
        "variational": {**dense, "nuisance_noise": "variational", "pooling": "max"},
        "additive": {
            **dense,
            "nuisance_noise": "additive",
            "noise_strength": 0.1,
            "instance_dropout": 0.2,
        },
        "user": {
            "encoder": user,
            "pooling": layers.AttentionPooling(2, 2, 3),
            "nuisance_noise": keras.layers.GaussianDropout(0.2),
        },
    }
    models = {
        name: SymAE((LENGTH,), 3, 2, seed=0, **each) for name, each in arguments.items()
    }
    return {**models, "every_layer": _every_layer()}


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> tuple[Path, dict[str, np.ndarray]]:
    """A folder of models with an input, and what they make of it here."""
    keras.utils.set_random_seed(0)
    folder = tmp_path_factory.mktemp("saved")
    rng = np.random.default_rng(0)
    x = rng.normal(size=(5, 4, LENGTH)).astype("float32")
    np.save(folder / "x.npy", x)
    outputs = {}
    for name, model in _models().items():
        # As training would: nothing is left at its initial value, biases included.
        for weight in model.trainable_weights:
            weight.assign_add(0.1 * rng.normal(size=weight.shape))
        model.save(folder / f"{name}.keras")
        output = model.redatum(x, x[::-1]) if isinstance(model, SymAE) else model(x)
        outputs[name] = ops.convert_to_numpy(output)
    return folder, outputs


def test_every_layer_is_in_the_file(saved) -> None:
    model = keras.saving.load_model(saved[0] / "every_layer.keras")
    used = {type(layer).__name__ for layer in model._flatten_layers()}
    assert set(layers.__all__) <= used


@pytest.mark.parametrize(
    "imports",
    ["import symae_keras, keras", "import keras, symae_keras"],
    ids=["symae_keras first", "keras first"],
)
def test_a_fresh_process_gives_the_same_digits(imports, saved, run_python) -> None:
    folder, outputs = saved
    name = "first" if imports.startswith("import symae") else "second"
    run_python(_LOAD_ALL.format(imports=imports, name=name), folder)
    for model, expected in outputs.items():
        loaded = np.load(folder / f"{model}.{name}.npy")
        np.testing.assert_array_equal(loaded, expected, err_msg=model)


@pytest.fixture(scope="module")
def on_jax(tf, tiny, run_python, tmp_path_factory) -> tuple[Path, np.ndarray]:
    """A folder with what JAX made, and TensorFlow's virtual instances."""
    if importlib.util.find_spec("jax") is None:
        pytest.skip("JAX is not installed")
    folder = tmp_path_factory.mktemp("jax")
    rng = np.random.default_rng(0)
    x = rng.normal(size=(32, 4, 12)).astype("float32")
    mask = np.arange(4) < rng.integers(1, 5, size=(32, 1))
    normalization = keras.layers.Normalization(mean=0.5, variance=4.0, axis=None)
    model = tiny(pooling="attention", normalization=normalization)
    model.compile(optimizer=keras.optimizers.Adam(1e-2), loss="mse")
    model.fit({"instances": x, "mask": mask}, x, epochs=2, verbose=0)
    model.save(folder / "trained.keras")
    np.save(folder / "x.npy", x)
    np.save(folder / "mask.npy", mask)
    run_python(_ON_JAX, folder, backend="jax")
    virtual = model.redatum(coherent_from=x, nuisance_from=x[::-1])
    return folder, ops.convert_to_numpy(virtual)


def test_trained_on_tensorflow_redatums_on_jax(on_jax) -> None:
    folder, virtual = on_jax
    np.testing.assert_allclose(np.load(folder / "jax.npy"), virtual, atol=1e-4)


def test_fit_on_jax(on_jax) -> None:
    """With masks, and noise annealed while `fit` holds the variables."""
    result = json.loads((on_jax[0] / "fit.json").read_text())
    # There `fit` and `evaluate` never ask the model for the mask of its output.
    assert result["evaluated"] == pytest.approx(result["expected"], rel=1e-4)
    assert np.isfinite(result["loss"]).all()
    assert result["loss"][-1] < 0.8 * result["loss"][0]
    expected = [0.5 / 2**step for step in range(32)]  # 8 epochs of 4 steps
    np.testing.assert_allclose(result["strengths"], expected, rtol=1e-6)
    assert result["after"] == pytest.approx(expected[-1])
