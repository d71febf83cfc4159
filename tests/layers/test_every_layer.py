"""What holds for every layer: config, shapes, weights, precision, saving."""

from __future__ import annotations

import keras
import pytest

from symae_keras import layers


def _of_one_kind(layers_and_arguments, **expected):
    """Cases of layers that keep the shape and hand on masks."""
    shape = (3, 5, 6)
    expected |= {"input_shape": shape, "output_shape": shape, "supports_masking": True}
    return {name: (each, expected) for name, each in layers_and_arguments.items()}


# class, arguments, what is expected; 3 groups of 5 instances of 17 pixels.
CASES = {
    "DeepSetsPooling": (
        {"mode": "max"},
        dict(
            input_shape=(3, 5, 6),
            output_shape=(3, 6),
            supports_masking=True,
            unknown_axes=2,
        ),
    ),
    "AttentionPooling": (
        {"num_heads": 2, "num_seeds": 3, "key_dim": 4, "output_dim": 7},
        dict(
            input_shape=(3, 5, 6),
            output_shape=(3, 7),
            trainable=7,  # seeds, and kernel and bias of three projections
            supports_masking=True,
            unknown_axes=2,
        ),
    ),
    "PerInstance": (
        lambda dtype: {"layer": keras.layers.Dense(4, dtype=dtype)},
        dict(
            input_shape=(3, 5, 6),
            output_shape=(3, 5, 4),
            trainable=2,
            supports_masking=True,
            unknown_axes=2,
        ),
    ),
    "NuisanceDropout": (
        {"kind": "gaussian", "strength": 0.3, "seed": 1},
        dict(
            input_shape=(3, 5, 6),
            output_shape=(3, 5, 6),
            non_trainable=1,
            seed_generators=1,
            supports_masking=True,
            unknown_axes=2,
        ),
    ),
    "GaussianSampling": (
        {"kl_weight": 0.3, "seed": 1},
        dict(
            input_shape=((3, 5, 6), (3, 5, 6)),
            output_shape=(3, 5, 6),
            non_trainable=1,
            seed_generators=1,
            losses=1,
            supports_masking=True,
            unknown_axes=2,
        ),
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
    **_of_one_kind(
        {
            "GaussianCorruption": {"stddev": 0.3, "clip": (-2.0, 2.0), "seed": 1},
            "MaskingCorruption": {"rate": 0.3, "value": -1.0, "seed": 1},
            "SaltAndPepper": {"rate": 0.3, "low": -1.0, "high": 2.0, "seed": 1},
            "RandomScale": {"strength": 0.3, "seed": 1},
            "RandomShift": {"max_shift": 1.7, "pixel_axis": -2, "seed": 1},
        },
        seed_generators=1,
        unknown_axes=2,
    ),
    **_of_one_kind(
        {
            "BlockCorruption": {
                "fraction": 0.3,
                "value": -1.0,
                "spatial_axes": 2,
                "seed": 1,
            }
        },
        seed_generators=1,
    ),
    **_of_one_kind(
        {
            "MedianNormalization": {},
            "TopK": {"num_active": 2},
            "GradientReversal": {"strength": 0.3},
        },
        unknown_axes=2,
    ),
    **_of_one_kind(
        {"Standardization": {"mean": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0], "scale": 0.3}},
        non_trainable=2,
        unknown_axes=2,
    ),
    **_of_one_kind(
        {
            "L1Sparsity": {"weight": 0.3},
            "KLSparsity": {"weight": 0.3, "target_rate": 0.1},
        },
        losses=1,
        unknown_axes=2,
    ),
    "ReconstructionPenalty": (
        {"weight": 0.3},
        dict(
            input_shape=((3, 5, 6), (3, 5, 6)),
            output_shape=(3, 5, 6),
            losses=1,
            supports_masking=True,
            unknown_axes=2,
        ),
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
        {"filters": 2, "kernel_size": 3, "strides": 2, "padding": 1},
        dict(input_shape=(3, 5, 6), output_shape=(3, 9, 2), trainable=2),
    ),
    "TransposedConv2D": (
        {"filters": 2, "kernel_size": (3, 2), "strides": 2, "output_padding": (1, 0)},
        dict(input_shape=(3, 5, 4, 6), output_shape=(3, 12, 8, 2), trainable=2),
    ),
    "TiedDense": (
        lambda dtype: {
            "dense": keras.layers.Dense(6, use_bias=False, dtype=dtype),
            "instance_shape": (5, 3),
        },
        dict(input_shape=(3, 6), output_shape=(3, 5, 3), trainable=2),
    ),
    "VectorQuantizer": (
        {"num_embeddings": 7, "embedding_dim": 6, "commitment_weight": 0.5},
        dict(
            input_shape=(3, 5, 6),
            output_shape=(3, 5, 6),
            trainable=1,
            losses=1,
            supports_masking=True,
            unknown_axes=2,
        ),
    ),
    "PriorAdversary": (
        {"units": (4,), "strength": 0.3, "seed": 1},
        dict(
            input_shape=(3, 5, 6),
            output_shape=(3, 5, 6),
            trainable=4,
            seed_generators=1,
            losses=1,
            supports_masking=True,
            unknown_axes=2,
        ),
    ),
    "MMDPenalty": (
        {"weight": 0.3, "scales": (0.5, 1.0), "seed": 1},
        dict(
            input_shape=(3, 5, 6),
            output_shape=(3, 5, 6),
            seed_generators=1,
            losses=1,
            supports_masking=True,
            unknown_axes=2,
        ),
    ),
}

# They take more than tensors, or are no layers by themselves, and have tests of their
# own.
ELSEWHERE = {
    "GaussianPooling",
    "JacobianPenalty",
    "LossTerm",
    "MaxPoolingWithIndices1D",
    "MaxPoolingWithIndices2D",
    "MaxUnpooling1D",
    "MaxUnpooling2D",
    "WeightPenalty",
}


def test_no_layer_is_left_out() -> None:
    assert set(CASES) | ELSEWHERE == set(layers.__all__)
    assert not set(CASES) & ELSEWHERE


@pytest.mark.jax
@pytest.mark.parametrize("name", CASES)
def test_layer(name, check_layer) -> None:
    init, expected = CASES[name]
    check_layer(getattr(layers, name), init, **expected)


@pytest.mark.parametrize("policy", ["float16", "mixed_float16", "mixed_bfloat16"])
@pytest.mark.parametrize("name", CASES)
def test_precision(name, policy, check_precision) -> None:
    init, expected = CASES[name]
    shape = expected["input_shape"]
    check_precision(getattr(layers, name), init, policy, input_shape=shape)


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("DeepSetsPooling", {"mode": "median"}, r"`mode`.*'mean'.*mode='median'"),
        ("AttentionPooling", {"num_heads": 0}, r"`num_heads`.*num_heads=0"),
        ("AttentionPooling", {"num_seeds": -1}, r"`num_seeds`.*num_seeds=-1"),
        ("AttentionPooling", {"key_dim": 0}, r"`key_dim`.*key_dim=0"),
        ("NuisanceDropout", {"kind": "poisson"}, r"`kind`.*kind='poisson'"),
        (
            "Conv1DEncoder",
            {"output_dim": 2, "normalization": "batch"},
            r"`normalization`.*normalization='batch'",
        ),
        (
            "Conv1DEncoder",
            {"output_dim": 2, "filters": ()},
            r"`filters`.*such.*\(\)",
        ),
        ("Conv2DDecoder", {"instance_shape": (5,)}, r"2 axes.*instance_shape=\(5,\)"),
        ("Conv1DDecoder", {"instance_shape": (5, 2, 2)}, r"1 axes.*\(5, 2, 2\)"),
        (
            "Conv1DEncoder",
            {"output_dim": 2, "filters": (3, 4), "kernel_size": (3, 5, 7)},
            r"`kernel_size`.*2, one a convolution.*kernel_size=\(3, 5, 7\)",
        ),
        (
            "Conv2DEncoder",
            {"output_dim": 2, "filters": (3, 4), "strides": (2, 0)},
            r"`strides`.*2, one a convolution.*strides=\(2, 0\)",
        ),
        (
            "Conv2DDecoder",
            {"instance_shape": (5, 4), "upsampling": "bilinear"},
            r"`upsampling`.*'nearest'.*upsampling='bilinear'",
        ),
        ("BedOfNails", {"size": 0}, r"`size`.*size=0"),
        ("SubPixel", {"size": 1.5}, r"`size`.*size=1.5"),
    ],
)
def test_bad_argument(name, arguments, message) -> None:
    with pytest.raises(ValueError, match=message):
        getattr(layers, name)(**arguments)
