"""What holds for every layer: config, shapes, weights, precision, saving."""

from __future__ import annotations

import keras
import pytest

from symae_keras import layers

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
}


def test_no_layer_is_left_out() -> None:
    assert set(CASES) == set(layers.__all__)


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
        ("Conv1DEncoder", {"output_dim": 2, "filters": ()}, r"`filters`.*at least one"),
        ("Conv2DDecoder", {"instance_shape": (5,)}, r"2 axes.*instance_shape=\(5,\)"),
        ("Conv1DDecoder", {"instance_shape": (5, 2, 2)}, r"1 axes.*\(5, 2, 2\)"),
    ],
)
def test_bad_argument(name, arguments, message) -> None:
    with pytest.raises(ValueError, match=message):
        getattr(layers, name)(**arguments)
