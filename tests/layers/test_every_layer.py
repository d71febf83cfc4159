"""Properties of every layer: config, shapes, weights, precision, saving."""

from __future__ import annotations

import copy
import json

import keras
import numpy as np
import pytest
from keras import ops

from symae_keras import layers

# === Cases ===

#: Expected results for layers that keep the shape and propagate masks. A batch has 3
#: groups of 5 instances.
KEEPS = {
    "input_shape": (3, 5, 6),
    "output_shape": (3, 5, 6),
    "supports_masking": True,
    "unknown_axes": 2,
}
DRAWS = KEEPS | {"seed_generators": 1}
PAIR = KEEPS | {"input_shape": ((3, 5, 6), (3, 5, 6)), "losses": 1}

#: Arguments and expected results; or a function of a dtype policy that returns the
#: arguments, for layers whose config does not contain them.
CASES = {
    "DeepSetsPooling": ({"mode": "max"}, KEEPS | {"output_shape": (3, 6)}),
    "AttentionPooling": (
        {"num_heads": 2, "num_seeds": 3, "key_dim": 4, "output_dim": 7},
        # seeds, and kernel and bias of three projections
        KEEPS | {"output_shape": (3, 7), "trainable": 7},
    ),
    "PerInstance": (
        lambda dtype: {"layer": keras.layers.Dense(4, dtype=dtype)},
        KEEPS | {"output_shape": (3, 5, 4), "trainable": 2},
    ),
    "DenseEncoder": (
        {"output_dim": 4, "units": (8, 6)},
        dict(input_shape=(3, 17), output_shape=(3, 4), trainable=6),
    ),
    "DenseDecoder": (
        {"instance_shape": (5, 3), "units": (8, 6)},
        dict(input_shape=(3, 4), output_shape=(3, 5, 3), trainable=6),
    ),
    "Conv1DEncoder": (
        {"output_dim": 4, "filters": (4, 6)},
        dict(input_shape=(3, 17), output_shape=(3, 4), trainable=10),
    ),
    "Conv1DDecoder": (
        {"instance_shape": (17,), "filters": (6, 4)},
        dict(input_shape=(3, 4), output_shape=(3, 17), trainable=8),
    ),
    "Conv2DEncoder": (
        {"output_dim": 4, "filters": (4, 8), "normalization": "group"},
        dict(input_shape=(3, 7, 6, 2), output_shape=(3, 4), trainable=10),
    ),
    "Conv2DDecoder": (
        {"instance_shape": (7, 6, 2), "filters": (8, 4), "normalization": None},
        dict(input_shape=(3, 4), output_shape=(3, 7, 6, 2), trainable=6),
    ),
    "TiedDense": (
        lambda dtype: {
            "dense": keras.layers.Dense(6, use_bias=False, dtype=dtype),
            "instance_shape": (5, 3),
        },
        dict(input_shape=(3, 6), output_shape=(3, 5, 3), trainable=2),
    ),
    "BedOfNails": (
        {"size": 3},
        dict(input_shape=(3, 5, 4, 6), output_shape=(3, 15, 12, 6), unknown_axes=3),
    ),
    "SubPixel": (
        {"size": 3},
        dict(input_shape=(3, 5, 4, 18), output_shape=(3, 15, 12, 2), unknown_axes=3),
    ),
    "TransposedConv1D": (
        {"filters": 2, "kernel_size": (3,), "strides": (2,), "padding": (1,)},
        dict(input_shape=(3, 5, 6), output_shape=(3, 9, 2), trainable=2),
    ),
    "TransposedConv2D": (
        {"filters": 2, "kernel_size": (3, 2), "strides": (2, 2), "padding": (0, 0)}
        | {"output_padding": (1, 0)},
        dict(input_shape=(3, 5, 4, 6), output_shape=(3, 12, 8, 2), trainable=2),
    ),
    "MedianNormalization": ({"pixel_axes": 1}, KEEPS),
    "Standardization": (
        lambda dtype: {"mean": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0], "scale": 0.3},
        KEEPS | {"non_trainable": 2},
    ),
    "LinearBackbone": (
        {"instance_shape": (6,), "coherent_dim": 2, "nuisance_dim": 3},
        KEEPS | {"trainable": 11, "non_trainable": 5},
    ),
    "TopK": ({"num_active": 2}, KEEPS),
    "GradientReversal": ({"strength": 0.3}, KEEPS),
    "NuisanceDropout": (
        {"kind": "gaussian", "strength": 0.3, "seed": 1},
        DRAWS | {"non_trainable": 1},
    ),
    "GaussianCorruption": ({"stddev": 0.3, "clip": (-2.0, 2.0), "seed": 1}, DRAWS),
    "MaskingCorruption": ({"rate": 0.3, "value": -1.0, "seed": 1}, DRAWS),
    "SaltAndPepper": ({"rate": 0.3, "low": -1.0, "high": 2.0, "seed": 1}, DRAWS),
    "RandomScale": ({"strength": 0.3, "seed": 1}, DRAWS),
    "RandomShift": ({"max_shift": 1.7, "pixel_axis": -2, "seed": 1}, DRAWS),
    "BlockCorruption": (
        {"fraction": 0.3, "value": -1.0, "spatial_axes": 2, "seed": 1},
        DRAWS | {"unknown_axes": 1},
    ),
    "L1Sparsity": ({"weight": 0.3}, KEEPS | {"losses": 1}),
    "KLSparsity": ({"weight": 0.3, "target_rate": 0.1}, KEEPS | {"losses": 1}),
    "VectorQuantizer": (
        {"num_embeddings": 7, "embedding_dim": 6, "commitment_weight": 0.5},
        KEEPS | {"losses": 1, "trainable": 1},
    ),
    "MMDPenalty": (
        {"weight": 0.3, "scales": (0.5, 1.0), "seed": 1},
        DRAWS | {"losses": 1},
    ),
    "PriorAdversary": (
        {"units": (4,), "strength": 0.3, "seed": 1},
        DRAWS | {"losses": 1, "trainable": 4},
    ),
    "ReconstructionPenalty": ({"weight": 0.3}, PAIR),
    "GaussianSampling": (
        {"kl_weight": 0.3, "seed": 1, "free_bits": 0.1},
        PAIR | {"seed_generators": 1, "non_trainable": 1},
    ),
}

_WINDOWS_1D = {"pool_size": (3,), "strides": (2,), "padding": "same"}
_WINDOWS_2D = {"pool_size": (3, 2), "strides": (2, 1), "padding": "same"}

#: These layers have separate tests, because they take more than tensors.
ELSEWHERE = {
    "FourierShift": {"axis": -2, "padding": 3},
    "GaussianPooling": {"mode": "average"},
    "JacobianPenalty": {"weight": 0.2, "num_directions": None, "seed": 3},
    "MaxPoolingWithIndices1D": _WINDOWS_1D,
    "MaxPoolingWithIndices2D": _WINDOWS_2D,
    "MaxUnpooling1D": _WINDOWS_1D,
    "MaxUnpooling2D": _WINDOWS_2D,
    "RytovKernel": {
        "receivers": [[1.0, 0.0], [0.0, 1.0]],
        "places": [[0.0, 0.1]],
        "width": 0.1,
        "frequency": 10.0,
    },
    "ShiftEstimator": {},
    "WeightPenalty": lambda dtype: {"regularizer": keras.regularizers.L2(0.25)},
}

_NETWORK = dict.fromkeys(
    (
        *("Conv1DDecoder", "Conv1DEncoder", "Conv2DDecoder", "Conv2DEncoder"),
        *("DenseDecoder", "DenseEncoder", "PerInstance", "TiedDense"),
        *("BedOfNails", "SubPixel", "TransposedConv1D", "TransposedConv2D"),
    ),
    pytest.mark.compiles,
)


def test_no_layer_is_left_out() -> None:
    # `LossTerm` is the base class of others.
    assert {*CASES, *ELSEWHERE, "LossTerm"} == set(layers.__all__)
    assert not set(CASES) & set(ELSEWHERE)


# === Checks ===


def _each(function, shape):
    """Apply a function to a shape, or to both shapes of a pair."""
    return tuple(map(function, shape)) if _is_pair(shape) else function(shape)


def _is_pair(shape):
    return isinstance(shape[0], tuple)


def _random(shape, dtype="float32"):
    x = np.random.default_rng(0).normal(size=shape)
    return ops.convert_to_tensor(x.astype("float32"), dtype=dtype)


def _made(name, init, dtype=None):
    arguments = init(dtype) if callable(init) else init
    return getattr(layers, name)(**arguments, dtype=dtype)


def _call(layer, inputs, training):
    # Layers without the argument get `training` from Keras's call context.
    wants = layer._call_has_training_arg
    return layer(inputs, training=training) if wants else layer(inputs)


def _check_shapes(layer, input_shape, output_shape, unknown_axes):
    """`compute_output_shape` agrees with symbolic calls with and without known axes."""
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
    """A functional model fits one step and is saved to `.keras` and loaded."""

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


@pytest.mark.jax
@pytest.mark.parametrize("name", [*CASES, *ELSEWHERE])
def test_config(name) -> None:
    init = CASES[name][0] if name in CASES else ELSEWHERE[name]
    layer = _made(name, init)
    config = layer.get_config()
    if not callable(init):
        assert {argument: config.get(argument) for argument in init} == init
    # Keras's wrappers empty the config that is passed to them.
    assert layer.from_config(copy.deepcopy(config)).get_config() == config
    text = json.dumps(keras.saving.serialize_keras_object(layer))
    again = keras.saving.deserialize_keras_object(json.loads(text))
    assert type(again) is type(layer)
    # JSON has no tuples, so the two are compared as JSON.
    assert json.dumps(keras.saving.serialize_keras_object(again)) == text


@pytest.mark.jax
@pytest.mark.parametrize(
    "name",
    # Models whose tests run on JAX contain these layers.
    [pytest.param(name, marks=_NETWORK.get(name, ())) for name in CASES],
)
def test_layer(name, tmp_path) -> None:
    init, expected = CASES[name]
    shapes = expected["input_shape"], expected["output_shape"]
    unknown_axes = expected.get("unknown_axes", 1)
    layer = _made(name, init)
    output = _call(layer, _each(_random, shapes[0]), False)
    assert tuple(output.shape) == shapes[1]
    assert keras.backend.standardize_dtype(output.dtype) == "float32"
    assert bool(ops.all(ops.isfinite(output)))
    assert layer.built
    assert len(layer.trainable_weights) == expected.get("trainable", 0)
    assert len(layer.non_trainable_weights) == expected.get("non_trainable", 0)
    parts = layer._flatten_layers()
    generators = [len(getattr(part, "_seed_generators", [])) for part in parts]
    assert sum(generators) == expected.get("seed_generators", 0)
    assert len(layer.losses) == expected.get("losses", 0)
    assert layer.supports_masking == expected.get("supports_masking", False)
    _check_shapes(_made(name, init), *shapes, unknown_axes)
    _check_fit_and_file(_made(name, init), *shapes, unknown_axes, tmp_path)


@pytest.mark.parametrize("policy", ["float16", "mixed_float16", "mixed_bfloat16"])
@pytest.mark.parametrize("name", CASES)
def test_precision(name, policy) -> None:
    init, expected = CASES[name]
    layer = _made(name, init, policy)
    assert layer.dtype_policy.name == policy
    dtype = layer.compute_dtype
    inputs = _each(lambda shape: _random(shape, dtype), expected["input_shape"])
    for training in (False, True):
        output = _call(layer, inputs, training)
        assert keras.backend.standardize_dtype(output.dtype) == dtype
        assert bool(ops.all(ops.isfinite(ops.cast(output, "float32"))))
    for weight in layer.trainable_weights:
        assert weight.dtype == layer.variable_dtype
