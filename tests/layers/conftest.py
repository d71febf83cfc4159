"""One run of everything that must hold for every layer, after Keras's own helper."""

from __future__ import annotations

import copy
import json

import keras
import numpy as np
import pytest
from keras import ops

if keras.backend.backend() == "torch":
    import torch

    _to_array = torch.Tensor.__array__
    # With a gradient or not, like the tensors of other backends.
    torch.Tensor.__array__ = lambda tensor, *args, **kwargs: _to_array(
        tensor.detach(), *args, **kwargs
    )


def _is_pair(shape):
    return isinstance(shape[0], tuple)


def _each(function, shape):
    """Apply to a shape, or to both shapes of a pair."""
    return tuple(map(function, shape)) if _is_pair(shape) else function(shape)


def _random(shape, dtype="float32"):
    x = np.random.default_rng(0).normal(size=shape)
    return ops.convert_to_tensor(x.astype("float32"), dtype=dtype)


def _call(layer, inputs, training):
    # `training` reaches layers that do not ask for it through Keras's call context.
    wants = layer._call_has_training_arg
    return layer(inputs, training=training) if wants else layer(inputs)


def _check_config(layer, cls):
    config = layer.get_config()
    # Keras's wrappers empty the config that they are given.
    assert cls.from_config(copy.deepcopy(config)).get_config() == config
    text = json.dumps(keras.saving.serialize_keras_object(layer))
    again = keras.saving.deserialize_keras_object(json.loads(text))
    assert type(again) is cls
    # JSON has no tuples, so the two are compared as JSON.
    assert json.dumps(keras.saving.serialize_keras_object(again)) == text


def _check_shapes(layer, input_shape, output_shape, unknown_axes):
    """`compute_output_shape` and symbolic calls, with and without known axes."""
    assert tuple(layer.compute_output_shape(input_shape)) == output_shape

    def forget(shape):
        return (*(None,) * unknown_axes, *shape[unknown_axes:])

    unknown = _each(forget, input_shape)
    kept = output_shape[unknown_axes:] if len(output_shape) > 2 else output_shape[1:]
    symbolic = layer(_each(lambda s: keras.KerasTensor(s, "float32"), unknown))
    for shape in (symbolic.shape, layer.compute_output_shape(unknown)):
        assert tuple(shape)[-len(kept) :] == tuple(kept)
        assert shape[0] is None
        assert len(shape) == len(output_shape)


def _check_fit_and_file(layer, input_shape, output_shape, unknown_axes, folder):
    """One step of `fit` through a functional model, then `.keras` and back."""

    def free(shape):
        return (*(None,) * (unknown_axes - 1), *shape[unknown_axes:])

    inputs = _each(lambda s: keras.Input(free(s)), input_shape)
    first = _each(lambda s: keras.layers.Dense(s[-1]), input_shape)
    if _is_pair(input_shape):
        hidden = tuple(d(i) for d, i in zip(first, inputs, strict=True))
    else:
        hidden, first = first(inputs), (first,)
    model = keras.Model(inputs, layer(hidden))
    model.compile(optimizer=keras.optimizers.SGD(0.1), loss="mse")
    x = _each(lambda s: np.asarray(_random(s)), input_shape)
    before = [ops.convert_to_numpy(dense.kernel.value) for dense in first]
    history = model.fit(x, np.ones(output_shape), verbose=0)
    assert np.isfinite(history.history["loss"][0])
    for dense, kernel in zip(first, before, strict=True):
        assert np.abs(ops.convert_to_numpy(dense.kernel.value) - kernel).max() > 0.0
    path = folder / "model.keras"
    model.save(path)
    again = keras.saving.load_model(path)
    np.testing.assert_array_equal(again(x), model(x))


def _make(cls, init, dtype=None):
    return cls(**(init(dtype) if callable(init) else init), dtype=dtype)


@pytest.fixture
def check_layer(tmp_path):
    """A function that runs a layer through everything that any layer must pass.

    Args of the function:
        cls: The class.
        init: Its arguments, or a function from a dtype policy to them.
        input_shape: Concrete shape, or a pair of them.
        output_shape: Expected shape.
        trainable: Expected number of trainable weights.
        non_trainable: Expected number of others.
        seed_generators: Expected number of them.
        losses: Expected number of losses after a call.
        supports_masking: Whether the layer takes or passes on masks.
        unknown_axes: Leading axes that must be allowed to be `None`.
    """

    def run(
        cls,
        init,
        *,
        input_shape,
        output_shape,
        trainable=0,
        non_trainable=0,
        seed_generators=0,
        losses=0,
        supports_masking=False,
        unknown_axes=1,
    ):
        layer = _make(cls, init)
        _check_config(layer, cls)
        output = _call(layer, _each(_random, input_shape), False)
        assert tuple(output.shape) == output_shape
        assert keras.backend.standardize_dtype(output.dtype) == "float32"
        assert bool(ops.all(ops.isfinite(output)))
        assert layer.built
        assert len(layer.trainable_weights) == trainable
        assert len(layer.non_trainable_weights) == non_trainable
        generators = [
            each
            for part in layer._flatten_layers()
            for each in getattr(part, "_seed_generators", [])
        ]
        assert len(generators) == seed_generators
        assert len(layer.losses) == losses
        assert layer.supports_masking == supports_masking
        layer = _make(cls, init)
        _check_shapes(layer, input_shape, output_shape, unknown_axes)
        layer = _make(cls, init)
        _check_fit_and_file(layer, input_shape, output_shape, unknown_axes, tmp_path)

    return run


@pytest.fixture
def present():
    """Which of seven instances there are."""
    return np.array([1, 0, 1, 1, 0, 0, 1], bool)


@pytest.fixture
def check_absent(present):
    """A function that checks that absent instances count in no loss of a layer.

    Args of the function:
        layer: A layer that adds a loss and takes a `mask`.
        inputs: Array `(7, ...)`; what the absent of these hold is replaced by NaN.
        arguments: What else the layer is called with.
    """

    def run(layer, inputs, **arguments):
        def loss_and_gradient(x, mask):
            x = ops.convert_to_tensor(x)

            def loss():
                layer(x, mask=mask, **arguments)
                return layer.losses[0]

            if keras.backend.backend() != "tensorflow":
                return float(ops.convert_to_numpy(loss())), None
            import tensorflow as tf

            with tf.GradientTape() as tape:
                tape.watch(x)
                value = loss()
            return float(value), tape.gradient(value, x).numpy()

        junk = inputs.copy()
        junk[~present] = np.nan
        expected, of_present = loss_and_gradient(inputs[present], None)
        value, gradient = loss_and_gradient(junk, present)
        assert value == pytest.approx(expected, rel=1e-5)
        nothing, none = loss_and_gradient(junk, np.zeros(7, bool))
        assert nothing == 0.0
        if gradient is not None:
            assert np.abs(of_present).max() > 0.0
            np.testing.assert_allclose(gradient[present], of_present, 1e-4, 1e-7)
            np.testing.assert_array_equal(gradient[~present], 0.0)
            np.testing.assert_array_equal(none, 0.0)

    return run


@pytest.fixture
def check_precision():
    """A function that calls a layer under a dtype policy, in training and out of it."""

    def run(cls, init, policy, *, input_shape):
        layer = _make(cls, init, policy)
        assert layer.dtype_policy.name == policy
        dtype = layer.compute_dtype
        inputs = _each(lambda shape: _random(shape, dtype), input_shape)
        for training in (False, True):
            output = _call(layer, inputs, training)
            assert keras.backend.standardize_dtype(output.dtype) == dtype
            assert bool(ops.all(ops.isfinite(ops.cast(output, "float32"))))
        for weight in layer.trainable_weights:
            assert weight.dtype == layer.variable_dtype

    return run
