"""Metrics of `compile` against NumPy: weights, masks, batches, files."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import ops

import symae_keras
from symae_keras import losses, metrics
from symae_keras.models import Autoencoder, SymAE, UNet

_MASK = np.array([[1, 1, 1, 1], [1, 1, 0, 0], [1, 0, 0, 0], [0, 1, 1, 0]], bool)
_ERRORS = {
    metrics.RelativeMeanSquaredError: lambda e: e**2 / 4.0,
    metrics.RelativeMeanAbsoluteError: lambda e: np.abs(e) / 4.0,
}


@pytest.fixture(params=_ERRORS, ids=lambda cls: cls.__name__)
def metric(request):
    return request.param(4.0)


def _weights(rng, axes: int) -> np.ndarray:
    """Weights of the first axes of `(4, 4, 4)`, some of them 0."""
    weights = rng.uniform(0.5, 2.0, (4,) * axes).astype("float32")
    weights[1] = 0.0
    return weights


def _full(weights: np.ndarray) -> np.ndarray:
    return np.broadcast_to(
        weights.reshape(*weights.shape, *(1,) * (3 - weights.ndim)), (4, 4, 4)
    )


@pytest.mark.jax
@pytest.mark.parametrize("axes", [0, 1, 2, 3])
@pytest.mark.parametrize("masked", [None, "instances", "spread"])
def test_batches_of_unequal_sizes(metric, axes, masked, rng) -> None:
    """As many groups as instances and pixels; batches of three and of one group."""
    y, z = rng.normal(size=(2, 4, 4, 4)).astype("float32")
    weights = _weights(rng, axes) if axes else None
    total = np.ones((4, 4, 4)) if weights is None else _full(weights)
    if masked:
        total = total * _MASK[..., None]
    for rows in (slice(0, 3), slice(3, 4)):
        output = ops.convert_to_tensor(z[rows])
        if masked:
            mask = _MASK[rows] if masked == "instances" else _MASK[rows][..., None]
            output._keras_mask = ops.convert_to_tensor(mask)
        metric.update_state(y[rows], output, None if weights is None else weights[rows])
    expected = np.sum(total * _ERRORS[type(metric)](z - y)) / np.sum(total)
    assert float(metric.result()) == pytest.approx(expected, rel=1e-5)
    metric.reset_state()
    assert float(metric.result()) == 0.0  # not NaN


@pytest.mark.jax
def test_one_batch_is_the_loss(metric, rng) -> None:
    y, z = rng.normal(size=(2, 4, 4, 4)).astype("float32")
    loss = getattr(losses, type(metric).__name__)(4.0, "mean_with_sample_weight")
    for axes in (1, 2, 3):
        weights = _weights(rng, axes)
        metric.reset_state()
        metric.update_state(y, z, weights)
        expected = float(loss(y, z, weights))
        assert float(metric.result()) == pytest.approx(expected, rel=1e-6)


@pytest.mark.jax
def test_tiny_units(metric) -> None:
    """Squares of fluxes underflow in float32; relative errors do not."""
    small = type(metric)(1e-36)
    y = np.zeros((2, 3), "float32")
    small.update_state(y, y + np.float32(1e-18))
    expected = 1.0 if isinstance(metric, metrics.RelativeMeanSquaredError) else 1e18
    assert float(small.result()) == pytest.approx(expected, rel=1e-5)


@pytest.mark.jax
def test_config_and_checks(metric) -> None:
    config = metric.get_config()
    again = keras.metrics.deserialize(keras.metrics.serialize(metric))
    assert type(again) is type(metric)
    assert again.get_config() == config
    (argument,) = {"variance", "deviation"} & set(config)
    assert config[argument] == 4.0
    with pytest.raises(ValueError, match=f"Received: {argument}=-1"):
        type(metric)(-1.0)
    with pytest.raises(ValueError, match="first axes of the data"):
        metric.update_state(np.zeros((4, 3)), np.zeros((4, 3)), np.ones((3,)))
    with pytest.raises(ValueError, match="same number of axes"):
        metric.update_state(np.zeros((4, 3)), np.zeros((4, 3, 1)))


@pytest.mark.jax
def test_groups_in_compile(metric, rng) -> None:
    """Padding counts in no metric, weights in the weighted ones alone."""
    x = rng.normal(size=(4, 4, 4)).astype("float32")
    weights = _weights(rng, 1)
    model = SymAE((4,), 2, 2, encoder=keras.layers.Dense(3), seed=0)
    weighted = type(metric)(4.0, name="weighted")
    model.compile("sgd", "mse", metrics=[metric], weighted_metrics=[weighted, "mse"])
    inputs = {"instances": x, "mask": _MASK}
    errors = keras.ops.convert_to_numpy(model.reconstruct(x, _MASK)) - x
    found = model.evaluate(
        inputs, x, sample_weight=weights, batch_size=3, verbose=0, return_dict=True
    )
    values = _ERRORS[type(metric)](errors)
    assert found[metric.name] == pytest.approx(values[_MASK].mean(), rel=1e-5)
    total = _full(weights) * _MASK[..., None]
    expected = np.sum(total * values) / np.sum(total)
    assert found["weighted"] == pytest.approx(expected, rel=1e-5)
    # Keras's own get the same weights.
    squares = np.sum(total * errors**2) / np.sum(total)
    assert found["mse"] == pytest.approx(squares, rel=1e-5)


@pytest.mark.jax
@pytest.mark.parametrize("grouped", [False, True])
def test_bad_pixels_in_compile(metric, grouped, rng) -> None:
    """Bad pixels, NaN in the targets, count as pixels without an error."""
    x = rng.normal(size=(4, 4, 4) if grouped else (4, 4)).astype("float32")
    good = rng.random(x.shape) < 0.6
    good[..., 0] = True
    if grouped:
        good &= _MASK[..., None]
        model = SymAE((4,), 2, 2, encoder=keras.layers.Dense(3), seed=0)
    else:
        model = Autoencoder((4,), 2, encoder=keras.layers.Dense(3), seed=0)
    model.compile("sgd", "mse", metrics=[metric, "mse"])
    inputs = {"instances": np.where(good, x, np.nan), "mask": good}
    outputs = keras.ops.convert_to_numpy(model.reconstruct(*inputs.values()))
    found = model.evaluate(inputs, inputs["instances"], verbose=0, return_dict=True)
    errors = np.where(good, outputs - x, 0.0)[_MASK if grouped else slice(None)]
    expected = _ERRORS[type(metric)](errors).mean()
    assert found[metric.name] == pytest.approx(expected, rel=1e-5)
    assert found["loss"] == pytest.approx(np.mean(errors**2), rel=1e-5)
    assert found["mse"] == pytest.approx(found["loss"], rel=1e-5)


# Keras's confusion matrix asks JAX for int64.
@pytest.mark.filterwarnings("ignore:Explicitly requested dtype int64:UserWarning")
@pytest.mark.jax
def test_bad_pixels_of_a_segmentation(rng) -> None:
    """Keras's own scores leave them out as weighted metrics."""
    x = rng.normal(size=(3, 6, 4, 1)).astype("float32")
    labels = rng.integers(0, 3, (3, 6, 4), "int32")
    good = rng.random(x.shape) < 0.7
    model = UNet((6, 4, 1), "segmentation", n_classes=3, filters=(2,), seed=0)
    scores = [
        keras.metrics.SparseCategoricalAccuracy(name="accuracy"),
        keras.metrics.MeanIoU(3, "iou", "float32", sparse_y_pred=False),
    ]
    model.compile("sgd", "sparse_categorical_crossentropy", weighted_metrics=scores)
    inputs = {"instances": x, "mask": good}
    found = model.evaluate(inputs, labels, verbose=0, return_dict=True)
    predicted = keras.ops.convert_to_numpy(model.segment(x, good))
    right = (predicted == labels)[good[..., 0]].mean()
    assert found["accuracy"] == pytest.approx(right, rel=1e-5)
    known = np.where(good[..., 0], labels, -1)
    iou = symae_keras.evaluation.mean_iou(known, predicted, 3)
    assert found["iou"] == pytest.approx(iou, rel=1e-5)


def test_a_saved_model_keeps_its_metrics(metric, rng, tmp_path) -> None:
    x = rng.normal(size=(4, 4)).astype("float32")
    model = Autoencoder((4,), 2, encoder=keras.layers.Dense(3), seed=0)
    model.compile("sgd", losses.RelativeMeanSquaredError(4.0), metrics=[metric])
    expected = model.evaluate(x, x, verbose=0, return_dict=True)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert again.evaluate(x, x, verbose=0, return_dict=True) == expected
    assert set(expected) == {"loss", metric.name}
