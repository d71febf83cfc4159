"""Losses and metrics against Keras and NumPy: weights, masks, batches, files."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import ops

import symae_keras
from symae_keras import losses, metrics
from symae_keras.models import Autoencoder, SymAE, UNet

pytestmark = pytest.mark.jax
_MASK = np.array([[1, 1, 1, 1], [1, 1, 0, 0], [1, 0, 0, 0], [0, 1, 1, 0]], bool)
_ERRORS = {
    metrics.RelativeMeanSquaredError: lambda e: e**2 / 4.0,
    metrics.RelativeMeanAbsoluteError: lambda e: np.abs(e) / 4.0,
}


def _weights(rng, axes: int) -> np.ndarray:
    """Make weights for the first axes of `(4, 4, 4)`, some of them 0."""
    weights = rng.uniform(0.5, 2.0, (4,) * axes).astype("float32")
    weights[1] = 0.0
    return weights


def _full(weights: np.ndarray) -> np.ndarray:
    return np.broadcast_to(
        weights.reshape(*weights.shape, *(1,) * (3 - weights.ndim)), (4, 4, 4)
    )


# === Losses ===

_KERAS = {
    losses.RelativeMeanSquaredError: keras.losses.MeanSquaredError,
    losses.RelativeMeanAbsoluteError: keras.losses.MeanAbsoluteError,
}


@pytest.mark.parametrize(
    "reduction", ["sum_over_batch_size", "sum", "none", "mean_with_sample_weight"]
)
@pytest.mark.parametrize("ours", _KERAS)
# As many pixels as groups would broadcast along the wrong axis without an error.
@pytest.mark.parametrize("shape", [(4, 6), (4, 4), (4, 3, 6), (4, 4, 4), (2, 3, 5, 4)])
def test_weights_of_samples_are_those_of_keras(ours, shape, reduction, rng) -> None:
    y, z = rng.normal(size=(2, *shape)).astype("float32")
    loss, theirs = ours(reduction=reduction), _KERAS[ours](reduction=reduction)
    np.testing.assert_allclose(loss(y, z), theirs(y, z), rtol=1e-6)
    # Keras itself accepts one weight per value of the last axis but one.
    weights = rng.uniform(0.5, 2.0, shape[:-1]).astype("float32")
    expected = theirs(y, z, sample_weight=weights)
    np.testing.assert_allclose(loss(y, z, weights), expected, rtol=1e-6)
    np.testing.assert_allclose(loss(y, z, weights[..., None]), expected, rtol=1e-6)
    # Missing axes are repeated, additional ones are averaged.
    rows = rng.uniform(0.5, 2.0, shape[0]).astype("float32")
    repeated = np.broadcast_to(rows.reshape(-1, *(1,) * (len(shape) - 2)), shape[:-1])
    expected = theirs(y, z, sample_weight=repeated)
    np.testing.assert_allclose(loss(y, z, rows), expected, rtol=1e-6)


@pytest.mark.parametrize("ours", _KERAS)
@pytest.mark.parametrize("shape", [(4, 6), (4, 3, 6), (4, 4, 4)])
def test_weights_of_pixels(ours, shape, rng) -> None:
    y, z = rng.normal(size=(2, *shape)).astype("float32")
    squared = ours is losses.RelativeMeanSquaredError
    errors = (y - z) ** 2 / 2.5 if squared else np.abs(y - z) / 2.5
    weights = rng.uniform(0.0, 2.0, shape).astype("float32")
    weights[0] = 0.0  # this group is excluded, and nothing becomes NaN
    pixels = weights * errors
    expected = {
        "sum_over_batch_size": pixels.mean(),
        "sum": pixels.mean(axis=-1).sum(),
        "none": pixels.mean(axis=-1),
        "mean_with_sample_weight": pixels.sum() / weights.sum(),
    }
    for reduction, value in expected.items():
        found = ours(2.5, reduction)(y, z, weights)
        np.testing.assert_allclose(found, value, rtol=1e-5)


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_weights_and_masks(axes, rng) -> None:
    """Absent instances are excluded from all means, with any weights."""
    y, z = rng.normal(size=(2, 4, 4, 4)).astype("float32")
    weights = rng.uniform(0.5, 2.0, (4,) * axes).astype("float32")
    expected = np.mean((_full(weights) * (y - z) ** 2)[_MASK])
    for own in (_MASK, _MASK[..., None]):
        output = keras.ops.convert_to_tensor(z)
        output._keras_mask = keras.ops.convert_to_tensor(own)
        found = losses.RelativeMeanSquaredError()(y, output, weights)
        np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize("shape", [(6,), (4, 6), (4, 3, 5), (4, 3, 6, 1)])
def test_weights_that_do_not_fit(shape) -> None:
    x = np.zeros((4, 3, 6), "float32")
    with pytest.raises(ValueError, match="first axes of the data") as error:
        losses.RelativeMeanSquaredError()(x, x, np.ones(shape, "float32"))
    assert str(shape) in str(error.value) and "(4, 3, 6)" in str(error.value)


def test_one_value_per_sample(rng) -> None:
    """Values per sample agree with Keras's, and calls check the axes of the data."""
    y, z = rng.normal(size=(2, 4, 3, 6)).astype("float32")
    squares = np.mean((y - z) ** 2, axis=-1)
    np.testing.assert_allclose(
        losses.RelativeMeanSquaredError(2.0).call(y, z), squares / 2.0, rtol=1e-5
    )
    nats = losses.GaussianNegativeLogLikelihood((6,)).call(y, z)
    expected = 3.0 * squares + 3.0 * np.log(2.0 * np.pi)
    np.testing.assert_allclose(nats, expected, rtol=1e-5)
    with pytest.raises(ValueError, match="same number of axes"):
        losses.RelativeMeanSquaredError()(y, z[..., None])


# === Metrics ===


@pytest.fixture(params=_ERRORS, ids=lambda cls: cls.__name__)
def metric(request):
    return request.param(4.0)


@pytest.mark.parametrize("axes", [0, 1, 2, 3])
@pytest.mark.parametrize("masked", [None, "instances", "spread"])
def test_batches_of_unequal_sizes(metric, axes, masked, rng) -> None:
    """There are as many groups as instances and pixels, in batches of 3 and 1."""
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


def test_one_batch_is_the_loss(metric, rng) -> None:
    y, z = rng.normal(size=(2, 4, 4, 4)).astype("float32")
    loss = getattr(losses, type(metric).__name__)(4.0, "mean_with_sample_weight")
    for axes in (1, 2, 3):
        weights = _weights(rng, axes)
        metric.reset_state()
        metric.update_state(y, z, weights)
        expected = float(loss(y, z, weights))
        assert float(metric.result()) == pytest.approx(expected, rel=1e-6)


def test_tiny_units(metric) -> None:
    """Squares of fluxes underflow in float32, but relative errors do not."""
    small = type(metric)(1e-36)
    y = np.zeros((2, 3), "float32")
    small.update_state(y, y + np.float32(1e-18))
    expected = 1.0 if isinstance(metric, metrics.RelativeMeanSquaredError) else 1e18
    assert float(small.result()) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("cls", [*_KERAS, *_ERRORS])
def test_config(cls) -> None:
    made = cls(4.0, name="error")
    config = made.get_config()
    serialized = keras.saving.serialize_keras_object(made)
    again = keras.saving.deserialize_keras_object(serialized)
    assert type(again) is cls
    assert again.get_config() == config
    (argument,) = {"variance", "deviation"} & set(config)
    assert (config[argument], config["name"]) == (4.0, "error")
    for bad in (0.0, -1.0):
        with pytest.raises(ValueError, match=f"Received: {argument}={bad}"):
            cls(bad)


def test_batches_that_do_not_fit(metric) -> None:
    with pytest.raises(ValueError, match="first axes of the data"):
        metric.update_state(np.zeros((4, 3)), np.zeros((4, 3)), np.ones((3,)))
    with pytest.raises(ValueError, match="same number of axes"):
        metric.update_state(np.zeros((4, 3)), np.zeros((4, 3, 1)))


def test_groups_in_compile(metric, rng) -> None:
    """Padding is excluded from all metrics; weights affect only the weighted ones."""
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
    # Keras's own metrics get the same weights.
    squares = np.sum(total * errors**2) / np.sum(total)
    assert found["mse"] == pytest.approx(squares, rel=1e-5)


@pytest.mark.parametrize("grouped", [False, True])
def test_bad_pixels_in_compile(metric, grouped, rng) -> None:
    """Bad pixels, which are NaN in the targets, count as pixels with zero error."""
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


# Keras's confusion matrix requests int64 from JAX.
@pytest.mark.filterwarnings("ignore:Explicitly requested dtype int64:UserWarning")
def test_bad_pixels_of_a_segmentation(rng) -> None:
    """Keras's own scores exclude them as weighted metrics."""
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
