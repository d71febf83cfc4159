"""Arguments of all layers: bad values, old names, Keras's options, masks."""

from __future__ import annotations

import json
import math
import re

import keras
import numpy as np
import pytest
from conformance import constructor_arguments
from keras import ops

from symae_keras import layers

# === Bad values ===

REQUIRED = {
    "DenseEncoder": {"output_dim": 2},
    "Conv1DEncoder": {"output_dim": 2},
    "Conv2DEncoder": {"output_dim": 2},
    "DenseDecoder": {"instance_shape": (4,)},
    "Conv1DDecoder": {"instance_shape": (4,)},
    "Conv2DDecoder": {"instance_shape": (4, 4)},
    "LinearBackbone": {
        "instance_shape": (4,),
        "coherent_dim": 2,
        "nuisance_dim": 2,
    },
    "RandomScale": {"strength": 0.1},
    "RandomShift": {"max_shift": 0.1},
    "RytovKernel": {
        "receivers": [[1.0, 0.0]],
        "places": [[0.0, 0.0]],
        "width": 0.1,
        "frequency": 10.0,
    },
    "TiedDense": {"dense": keras.layers.Dense(2), "instance_shape": (4,)},
    "TopK": {"num_active": 2},
    "TransposedConv1D": {"filters": 2, "kernel_size": 3},
    "TransposedConv2D": {"filters": 2, "kernel_size": 3},
}
NUMERIC = re.compile(r"\b(int|float|PerConvolution|Sizes)\b")


def _numeric_arguments(cls) -> dict[str, str]:
    """Return the annotations of arguments that are or contain numbers."""
    parameters = constructor_arguments(cls).values()
    annotations = {each.name: str(each.annotation) for each in parameters}
    return {name: each for name, each in annotations.items() if NUMERIC.search(each)}


ARGUMENTS = {
    name: arguments
    for name in layers.__all__
    if (arguments := _numeric_arguments(getattr(layers, name)))
}


@pytest.mark.jax
@pytest.mark.parametrize("name", ARGUMENTS)
def test_bad_values_give_one_sentence(name) -> None:
    for argument, annotation in ARGUMENTS[name].items():
        bad = [True, "3", b"3", math.nan, {"a": 1}, {1, 2}, [None], ["3"], object()]
        bad += [] if "float" in annotation else [2.5]
        bad += [] if "None" in annotation else [None]
        for value in bad:
            arguments = {**REQUIRED.get(name, {}), argument: value}
            message = (
                rf"Invalid value received for argument `{argument}`\. Expected .*"
                rf"Received: {argument}={re.escape(repr(value))}$"
            )
            with pytest.raises(ValueError, match=message):
                getattr(layers, name)(**arguments)


INVALID = {
    "AttentionPooling": [("num_heads", 0), ("num_seeds", -1), ("key_dim", 0)],
    "BedOfNails": [("size", 0)],
    "BlockCorruption": [("fraction", 0.0), ("spatial_axes", 3)],
    "Conv1DEncoder": [("normalization", "batch"), ("filters", ())],
    "Conv2DDecoder": [("upsampling", "bilinear")],
    "DeepSetsPooling": [("mode", "median")],
    "DenseEncoder": [("units", (3, 0))],
    "GaussianCorruption": [("clip", (1.0, 0.0)), ("stddev", -1.0)],
    "GaussianPooling": [("mode", "sum")],
    "GaussianSampling": [("free_bits", -1.0)],
    "GradientReversal": [("strength", -1.0)],
    "JacobianPenalty": [("num_directions", 0), ("weight", math.inf)],
    "KLSparsity": [("target_rate", 0.0), ("target_rate", 1.0), ("weight", -1.0)],
    "L1Sparsity": [("weight", -1.0)],
    "MMDPenalty": [("scales", ()), ("scales", (1.0, 0.0)), ("weight", -1.0)],
    "MaskingCorruption": [("rate", 1.1)],
    "MaxPoolingWithIndices2D": [("padding", "full"), ("pool_size", (2, 2, 2))],
    "MaxUnpooling2D": [("pool_size", 0), ("strides", (2, -1))],
    "MedianNormalization": [("pixel_axes", 0)],
    "NuisanceDropout": [("kind", "poisson")],
    "PriorAdversary": [("strength", -1.0)],
    "RandomScale": [("pixel_axes", 0), ("strength", -0.1)],
    "RandomShift": [("max_shift", math.inf), ("pixel_axis", 1)],
    "ReconstructionPenalty": [("weight", -1)],
    "SaltAndPepper": [("high", 0.0), ("rate", -0.1)],
    "SubPixel": [("size", -1)],
    "TiedDense": [("dense", None)],
    "TopK": [("num_active", 0)],
    "TransposedConv2D": [("padding", each) for each in ("full", (1, 2, 3), -1)],
    "VectorQuantizer": [("commitment_weight", -1.0), ("num_embeddings", 0)],
    "WeightPenalty": [("regularizer", None)],
}


@pytest.mark.jax
@pytest.mark.parametrize("name", INVALID)
def test_values_out_of_range(name) -> None:
    for argument, value in INVALID[name]:
        message = rf"`{argument}`\. Expected .* {argument}={re.escape(repr(value))}$"
        with pytest.raises(ValueError, match=message):
            getattr(layers, name)(**{**REQUIRED.get(name, {}), argument: value})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: layers.Conv1DEncoder(2, (3, 4), kernel_size=(3, 5, 7)),
            r"`kernel_size`.*2, one per convolution.*kernel_size=\(3, 5, 7\)",
        ),
        (
            lambda: layers.Conv2DEncoder(2, (3, 4), strides=(2, 0)),
            r"`strides`.*2, one per convolution.*strides=\(2, 0\)",
        ),
        (lambda: layers.Conv2DDecoder((5,)), r"2 axes.*instance_shape=\(5,\)"),
        (lambda: layers.Conv1DDecoder((5, 2, 2)), r"1 axes.*\(5, 2, 2\)"),
    ],
)
def test_arguments_that_do_not_fit_each_other(make, message) -> None:
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.jax
@pytest.mark.parametrize(
    ("layer", "shape", "message"),
    [
        (layers.BlockCorruption(), (2, 3, 3, 3, 3), "spatial_axes=None"),
        (layers.BlockCorruption(spatial_axes=2), (2, 3), r"\(2, 3\), spatial_axes=2"),
        (layers.Conv1DEncoder(3), (2, 4, 4, 1), r"1 axes, or 2 .*\(4, 4, 1\)"),
        (layers.Conv2DEncoder(3), (2, 8), r"2 axes, or 3 .*\(8,\)"),
        (layers.MaxPoolingWithIndices2D(), (2, 1, 4, 3), r"one window.*\(2, 1, 4, 3\)"),
        (layers.MedianNormalization(2), (5,), r"rank 2 or more.*shape \(5,\)"),
        (layers.PerInstance(layers.DenseEncoder(2)), (4, 5), r"rank 3 or .*\(4, 5\)"),
        (layers.RandomScale(0.1, pixel_axes=2), (3,), r"rank 2 or more.*shape \(3,\)"),
        (layers.RandomShift(1, pixel_axis=-2), (3,), r"rank 2 or more.*shape \(3,\)"),
        (layers.SubPixel(2), (2, 3, 3, 6), r"a multiple of 4 with size=2.*3, 3, 6\)"),
        (
            layers.TiedDense(keras.layers.Dense(4), (3, 2)),
            (2, 5),
            r"of 6 numbers.*\(2, 5\).*\(6, 4\)",
        ),
        (layers.TopK(5), (2, 4), r"num_active=5.*\(2, 4\)"),
        (layers.VectorQuantizer(2, 3), (4, 5), r"embedding_dim=3.*\(4, 5\)"),
    ],
)
def test_inputs_that_do_not_fit(layer, shape, message) -> None:
    arguments = {"training": True} if layer._call_has_training_arg else {}
    with pytest.raises(ValueError, match=message):
        layer(np.ones(shape, "float32"), **arguments)


def test_the_numeric_arguments_are_found() -> None:
    assert sum(map(len, ARGUMENTS.values())) > 80
    assert set(ARGUMENTS["VectorQuantizer"]) == {
        "num_embeddings",
        "embedding_dim",
        "commitment_weight",
    }


# === Old names ===


@pytest.mark.jax
@pytest.mark.parametrize(
    ("cls", "what"),
    [
        (layers.JacobianPenalty, "directions"),
        (layers.TopK, "active"),
        (layers.VectorQuantizer, "embeddings"),
    ],
)
def test_old_names_of_counts(cls, what) -> None:
    old, new, value = f"n_{what}", f"num_{what}", 3
    with pytest.warns(DeprecationWarning, match=f"`{old}` of .*use `{new}`") as found:
        layer = cls(**{old: value})
    assert len(found) == 1 and found[0].filename == __file__
    with pytest.warns(DeprecationWarning, match=f"`{old}`"):
        assert getattr(layer, old) == getattr(layer, new) == value
    with pytest.raises(AttributeError, match="nothing"):
        _ = layer.nothing
    with pytest.raises(TypeError, match=f"`{new}` and its old name `{old}`"):
        cls.from_config({new: 1, old: 1})
    # Files of version 0.1 are read without a warning.
    config = layer.get_config()
    config[old] = config.pop(new)
    assert getattr(cls.from_config(config), new) == value


@pytest.mark.jax
def test_old_name_of_the_mask(rng) -> None:
    code = rng.normal(size=(4, 3)).astype("float32")
    mask = np.array([1, 0, 1, 1], bool)
    layer = layers.L1Sparsity(1.0)
    with pytest.warns(DeprecationWarning, match="`instance_mask` of .*use `mask`"):
        layer(code, instance_mask=mask)
    assert float(layer.losses[0]) == pytest.approx(np.abs(code[mask]).sum() / 3)


# === Masks ===


@pytest.mark.jax
@pytest.mark.parametrize("cls", [layers.L1Sparsity, layers.GaussianSampling])
def test_masks_that_keras_carries_count_and_are_handed_on(cls, rng) -> None:
    x = rng.normal(size=(2, 3, 4)).astype("float32")
    x[0, 1:] = 0.0
    present = x.any(axis=-1)
    masked = keras.layers.Masking()(x)
    pair = cls is layers.GaussianSampling
    layer = cls(1.0)
    output = layer((masked, masked)) if pair else layer(masked)
    np.testing.assert_array_equal(output._keras_mask, present)
    loss = float(layer.losses[0])
    x = ops.convert_to_tensor(x)
    output = layer((x, x), mask=present) if pair else layer(x, mask=present)
    assert float(layer.losses[0]) == pytest.approx(loss)
    # A mask that is passed only to the call just selects the instances that count.
    assert getattr(output, "_keras_mask", None) is None


# === Initializers, regularizers, biases ===

OPTIONS = {
    "DenseEncoder": ({"output_dim": 3, "units": (5, 5)}, (2, 5)),
    "DenseDecoder": ({"instance_shape": (5,), "units": (5, 5)}, (2, 5)),
    "Conv1DEncoder": ({"output_dim": 3, "filters": (4, 4, 4)}, (2, 9)),
    "Conv1DDecoder": ({"instance_shape": (9,), "filters": (4, 4, 4)}, (2, 3)),
    "Conv2DEncoder": ({"output_dim": 3, "filters": (4, 4, 4)}, (2, 9, 8)),
    "Conv2DDecoder": (
        {"instance_shape": (9, 8), "filters": (4, 4, 4), "upsampling": "nearest"},
        (2, 3),
    ),
    "AttentionPooling": ({"num_heads": 2, "key_dim": 3}, (2, 5, 4)),
}


def _built(name, **options):
    arguments, shape = OPTIONS[name]
    layer = getattr(layers, name)(**arguments, **options)
    layer.build(shape)
    return layer


def _weights(layer, ending) -> list[np.ndarray]:
    return [
        ops.convert_to_numpy(weight.value)
        for weight in layer.trainable_weights
        if weight.name == ending
    ]


@pytest.mark.jax
@pytest.mark.parametrize("name", OPTIONS)
def test_options_of_keras(name) -> None:
    dense = keras.layers.Dense(1).get_config()
    options = ["use_bias", *(f"{a}_{b}" for a in ("kernel", "bias") for b in _KINDS)]
    config = _built(name).get_config()
    assert {each: config[each] for each in options} == {
        each: dense[each] for each in options
    }
    layer = _built(
        name,
        kernel_initializer=keras.initializers.RandomNormal(stddev=0.5),
        bias_initializer=keras.initializers.Constant(7.0),
        kernel_regularizer="l2",
        bias_regularizer=keras.regularizers.L1(0.1),
    )
    kernels, biases = _weights(layer, "kernel"), _weights(layer, "bias")
    assert len(biases) == len(kernels) >= 3
    assert np.std(np.concatenate([each.ravel() for each in kernels])) > 0.3
    for one in kernels:
        others = [each for each in kernels if each is not one]
        assert not any(np.array_equal(one, each) for each in others)
    assert all(np.all(each == 7.0) for each in biases)
    kernels += _weights(layer, "seeds")
    expected = 0.01 * sum((each**2).sum() for each in kernels)
    expected += 0.1 * 7.0 * sum(each.size for each in biases)
    losses = sum(float(ops.convert_to_numpy(each)) for each in layer.losses)
    assert losses == pytest.approx(expected, rel=1e-4)
    text = json.dumps(keras.saving.serialize_keras_object(layer))
    again = keras.saving.deserialize_keras_object(json.loads(text))
    assert again.get_config() == layer.get_config()
    if hasattr(layer, "mirror"):
        decoder = layer.mirror(OPTIONS[name][1][1:])
        assert decoder.kernel_initializer.get_config()["stddev"] == 0.5
        assert decoder.bias_regularizer.get_config() == {"l1": pytest.approx(0.1)}
    assert not _weights(_built(name, use_bias=False), "bias")


_KINDS = ("initializer", "regularizer")


@pytest.mark.jax
def test_options_leave_the_draws_of_seeded_programs() -> None:
    """Keras draws a seed for each new initializer."""
    encoder = _built("DenseEncoder")
    decoder = encoder.mirror((4,))
    decoder.build((None, 3))
    kernels = [*_weights(encoder, "kernel"), *_weights(decoder, "kernel")]
    keras.utils.set_random_seed(0)  # as before the test
    dense = [keras.layers.Dense(kernel.shape[1]) for kernel in kernels]
    for layer, kernel in zip(dense, kernels, strict=True):
        layer.build((None, kernel.shape[0]))
        np.testing.assert_array_equal(_weights(layer, "kernel")[0], kernel)


@pytest.mark.jax
def test_bias_of_a_tied_layer() -> None:
    arguments = {"bias_initializer": "ones", "bias_regularizer": "l2"}
    layer = layers.TiedDense(keras.layers.Dense(2), (4,), **arguments)
    layer.build((None, 2))
    assert ops.convert_to_numpy(layer.losses[0]) == pytest.approx(0.04)
    assert layer.from_config(layer.get_config()).get_config() == layer.get_config()
    without = layers.TiedDense(keras.layers.Dense(2), (4,), use_bias=False)
    np.testing.assert_array_equal(without(ops.zeros((1, 2))), np.zeros((1, 4)))
    assert len(without.trainable_weights) == 2
