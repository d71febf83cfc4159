"""Sample and pixel weights in `fit` and `evaluate`, compared with Keras and NumPy."""

from __future__ import annotations

import json

import keras
import numpy as np
import pytest

from symae_keras import models
from symae_keras.layers import Conv2DEncoder
from symae_keras.losses import RelativeMeanAbsoluteError, RelativeMeanSquaredError

_GROUP_MASK = np.array([[1, 1, 1, 1], [1, 1, 0, 0], [1, 0, 0, 0], [0, 1, 1, 0]], bool)


def _small() -> keras.Layer:
    return keras.layers.Dense(3)


def _image() -> keras.Layer:
    return Conv2DEncoder(3, filters=(2,))


def _grouped(name: str, **arguments):
    return lambda: getattr(models, name)((4,), 2, 2, _small(), seed=0, **arguments)


#: Rows, instances and pixels have the same length, so that wrong broadcasts would not
#: raise. In `evaluate`, all models reconstruct without noise.
_MODELS = {
    "Autoencoder": lambda: models.Autoencoder((4,), 2, _small(), seed=0),
    "VAE": lambda: models.VAE((4,), 2, _small(), seed=0),
    "VQVAE": lambda: models.VQVAE((4,), 2, 2, 4, encoder=_small(), seed=0),
    "Stellar": lambda: models.StellarAutoencoder((4,), 2, seed=0),
    "image": lambda: models.Autoencoder((4, 4, 1), 2, _image(), seed=0),
    "UNet": lambda: models.UNet((4, 4, 2), filters=(2,), seed=0),
    "LatentMeanSwap": lambda: models.LatentMeanSwap(_MODELS["Autoencoder"]()),
    "SymAE": _grouped("SymAE"),
    "MLVAE": _grouped("MLVAE"),
    "GVAE": _grouped("GVAE"),
    "NeuralStatistician": lambda: models.NeuralStatistician(
        (4,), 2, 2, encoder=_small(), seed=0
    ),
    "AdaGVAE": lambda: models.AdaGVAE((4,), 2, _small(), seed=0),
    "AdversarialGVAE": _grouped("AdversarialGVAE"),
    "ContrastiveEncoder": _grouped("ContrastiveEncoder"),
    "images": lambda: models.SymAE((4, 4, 2), 2, 2, _image(), seed=0),
}
_LOSSES = {
    "mse": (lambda e: e**2, RelativeMeanSquaredError),
    "mae": (np.abs, RelativeMeanAbsoluteError),
}
#: Absolute errors use the same code, so that one model of each kind is enough.
_SQUARED_AND_ABSOLUTE = [
    *((name, "mse") for name in _MODELS),
    *((name, "mae") for name in ("Autoencoder", "Stellar", "UNet", "SymAE")),
]


def _data(model, rng) -> np.ndarray:
    rows = (4, 4) if hasattr(model, "redatum") else (4,)
    return rng.uniform(0.5, 2.0, (*rows, *model.instance_shape)).astype("float32")


def _all_weights(x: np.ndarray) -> dict[int, np.ndarray]:
    """Return weights of every rank, with 0 for one row."""
    made = {}
    for axes in range(1, x.ndim + 1):
        rng = np.random.default_rng(axes)
        made[axes] = rng.uniform(0.5, 2.0, x.shape[:axes]).astype("float32")
        made[axes][2] = 0.0
    return made


def _full(weights: np.ndarray, x: np.ndarray) -> np.ndarray:
    axes = (1,) * (x.ndim - weights.ndim)
    return np.broadcast_to(weights.reshape(*weights.shape, *axes), x.shape)


def _evaluate(model, inputs, x, weights) -> float:
    """Return the compiled loss alone, without the penalties of layers."""
    logs = model.evaluate(inputs, x, sample_weight=weights, verbose=0, return_dict=True)
    return logs.get("reconstruction_loss", logs["loss"])


@pytest.mark.jax
@pytest.mark.parametrize(("name", "kind"), _SQUARED_AND_ABSOLUTE)
def test_every_shape_in_evaluate(name, kind, rng) -> None:
    """Compare with Keras's own loss and reduction, and with the closed form."""
    error, ours = _LOSSES[kind]
    model = _MODELS[name]()
    x = _data(model, rng)
    scale = np.median(x, axis=1)[:, None] if name == "Stellar" else 1.0
    errors = error((keras.ops.convert_to_numpy(model(x)) - x) / scale)
    model.compile("sgd", ours(), run_eagerly=True)
    found = {}
    for axes, weights in _all_weights(x).items():
        found[axes] = _evaluate(model, x, x, weights)
        expected = np.mean(_full(weights, x) * errors)
        assert found[axes] == pytest.approx(expected, rel=1e-5), axes
    model.compile("sgd", kind, run_eagerly=True)
    for axes, weights in _all_weights(x).items():
        if axes < x.ndim:
            value = _evaluate(model, x, x, weights)
            assert found[axes] == pytest.approx(value, rel=1e-6), axes
            value = _evaluate(model, x, x, weights[..., None])
            assert found[axes] == pytest.approx(value, rel=1e-6), axes


@pytest.mark.jax
@pytest.mark.parametrize("kind", _LOSSES)
@pytest.mark.parametrize("masks", ["instances", "pixels"])
@pytest.mark.parametrize("name", ["LatentMeanSwap", "SymAE", "Autoencoder"])
def test_weights_and_masks(name, masks, kind, rng) -> None:
    """The mean is over present instances; bad pixels count with an error of 0."""
    error, ours = _LOSSES[kind]
    model = _MODELS[name]()
    x = _data(model, rng)
    present = _GROUP_MASK if x.ndim == 3 else np.ones(4, bool)
    mask = present
    if masks == "pixels":
        mask = present[..., None] & (rng.random(x.shape) < 0.7)
        mask[..., 0] = present
    elif x.ndim == 2:
        pytest.skip("single instances have masks of pixels alone")
    inputs = {"instances": np.where(_full(mask, x), x, 9.0), "mask": mask}
    errors = np.where(
        _full(mask, x), error(keras.ops.convert_to_numpy(model(inputs)) - x), 0.0
    )
    targets = np.where(_full(mask, x), x, np.nan if masks == "pixels" else 9.0)
    for loss in (ours(), kind):
        model.compile("sgd", loss, run_eagerly=True)
        for axes, weights in _all_weights(x).items():
            if axes == x.ndim and loss == kind:
                continue
            expected = np.mean((_full(weights, x) * errors)[present])
            found = _evaluate(model, inputs, targets.astype("float32"), weights)
            assert found == pytest.approx(expected, rel=1e-5), (loss, axes)


def _trained(model, loss, x, weights, by_batch: bool = False) -> list[np.ndarray]:
    """Return the model's weights after gradient descent with one batch."""
    model.compile(keras.optimizers.SGD(0.5), loss)
    if by_batch:
        for _ in range(3):
            model.train_on_batch(x, x, sample_weight=weights)
    else:
        options = {"batch_size": 4, "epochs": 3, "shuffle": False, "verbose": 0}
        model.fit(x, x, sample_weight=weights, **options)
    return [keras.ops.convert_to_numpy(each) for each in model.get_weights()]


@pytest.mark.jax
@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize("kind", _LOSSES)
def test_fit(kind, axes, rng) -> None:
    """Compare with Keras's own loss, and with a loss that contains the weights."""
    ours = _LOSSES[kind][1]

    def model():
        keras.utils.set_random_seed(0)
        return _MODELS["LatentMeanSwap"]()

    x = _data(model(), rng)
    weights = _all_weights(x)[axes]
    full = keras.ops.convert_to_tensor(_full(weights, x))

    def weighted(y, z):
        error = keras.ops.square(z - y) if kind == "mse" else keras.ops.abs(z - y)
        return keras.ops.mean(full * error)

    start = [keras.ops.convert_to_numpy(each) for each in model().get_weights()]
    found = _trained(model(), ours(), x, weights)
    assert any(np.abs(a - b).max() > 1e-3 for a, b in zip(found, start, strict=True))
    others = [
        _trained(model(), weighted, x, None),
        _trained(model(), ours(), x, weights, by_batch=True),
        *([_trained(model(), kind, x, weights)] if axes < 3 else []),
    ]
    for other in others:
        for a, b in zip(found, other, strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-6)


@pytest.mark.jax
@pytest.mark.parametrize("kind", _LOSSES)
def test_weights_are_not_changed(kind, rng) -> None:
    """On PyTorch, Keras multiplies the weights by masks in place."""
    model = _MODELS["LatentMeanSwap"]()
    x = _data(model, rng)
    model.compile("sgd", kind, weighted_metrics=[kind], run_eagerly=True)
    weights = keras.ops.convert_to_tensor(_all_weights(x)[2])
    inputs = {"instances": x, "mask": _GROUP_MASK}
    first = model.test_on_batch(inputs, x, sample_weight=weights, return_dict=True)
    again = model.test_on_batch(inputs, x, sample_weight=weights, return_dict=True)
    assert first["loss"] == pytest.approx(again["loss"], rel=1e-6)
    after = keras.ops.convert_to_numpy(weights)
    np.testing.assert_array_equal(after, _all_weights(x)[2])


def test_pixel_weights_need_a_loss_of_pixels(rng) -> None:
    model = _MODELS["SymAE"]()
    x = _data(model, rng)
    model.compile("sgd", "mse", run_eagerly=True)
    with pytest.raises(ValueError, match="RelativeMeanSquaredError; Keras's own"):
        model.evaluate(x, x, sample_weight=np.ones_like(x), verbose=0)


_TWO_REPLICAS = """
import json
import sys

import tensorflow as tf

cpu = tf.config.list_physical_devices("CPU")[0]
one = tf.config.LogicalDeviceConfiguration()
tf.config.set_logical_device_configuration(cpu, [one] * 2)
# Optimising graphs takes longer than their few steps gain.
tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})

import keras
import numpy as np
from symae_keras import distribute, losses, metrics
from symae_keras.models import Autoencoder, LatentMeanSwap

rng = np.random.default_rng(0)
x = rng.normal(size=(8, 4, 4)).astype("float32")
mask = np.arange(32).reshape(8, 4) % 4 < 3  # as many instances on both replicas
weights = {n: rng.uniform(0.5, 2.0, x.shape[:n]).astype("float32") for n in (1, 2, 3)}
kinds = {
    "ours mse": losses.RelativeMeanSquaredError(),
    "ours mae": losses.RelativeMeanAbsoluteError(),
}


def run(variant, eagerly=False):
    kind, axes, masked = variant
    keras.utils.set_random_seed(0)
    inside = Autoencoder((4,), 2, keras.layers.Dense(3), keras.layers.Dense(4), seed=0)
    model = LatentMeanSwap(inside)
    model.compile(
        keras.optimizers.SGD(0.1),
        kinds.get(kind, kind),
        weighted_metrics=[metrics.RelativeMeanSquaredError(name="metric")],
        run_eagerly=eagerly,
        jit_compile=False,
    )
    inputs = {"instances": x, "mask": mask} if masked else x
    fitted = model.fit(
        inputs, x, sample_weight=weights[axes], batch_size=8, shuffle=False, verbose=0
    )
    numbers = [np.ravel(each) for each in model.get_weights()]
    logs = [fitted.history[name] for name in ("loss", "metric")]
    return np.concatenate([*logs, *numbers]).tolist()


variants = json.loads(sys.argv[1])
alone = [run(variant, eagerly=True) for variant in variants]
strategy = distribute.make_strategy("mirrored")
assert strategy.num_replicas_in_sync == 2
ours = [variant for variant in variants if variant[0] in kinds]
with distribute.running(strategy):
    print(json.dumps([alone, [run(variant) for variant in ours]]))
"""

_KINDS_AND_AXES = [("mse", 1), ("mae", 2)]
_VARIANTS = [
    ("ours mse", 3, False),
    ("ours mse", 2, True),
    *((f"ours {kind}", axes, False) for kind, axes in _KINDS_AND_AXES),
    *((kind, axes, False) for kind, axes in _KINDS_AND_AXES),
]


@pytest.mark.large
def test_two_replicas(tf, run_python) -> None:
    """Loss, metric and weights equal those on one replica, and there those of Keras."""
    printed = run_python(_TWO_REPLICAS, json.dumps(_VARIANTS))
    alone, two = map(np.array, json.loads(printed.splitlines()[-1]))
    np.testing.assert_allclose(two, alone[:4], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(alone[2:4], alone[4:6], rtol=1e-6, atol=1e-6)
    # Every shape of the weights gave another result.
    assert len(set(two[:, 0].round(4))) == 4
