"""Encoders and decoders: any size, channels, normalisations, mirrors."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from keras import ops

from symae_keras import layers

SIZES = st.integers(1, 67)


def _check_mirror(encoder, instance_shape):
    """Trace encoder and mirrored decoder, and compare with what they promise."""
    # The base class asks `call`; the layers would ask `compute_output_shape`.
    trace = keras.Operation.compute_output_spec
    instances = keras.KerasTensor((2, *instance_shape))
    code = encoder(instances)
    assert trace(encoder, instances).shape == code.shape == (2, encoder.output_dim)
    decoder = encoder.mirror(instance_shape)
    decoded = decoder(code)
    assert trace(decoder, code).shape == decoded.shape == (2, *instance_shape)


@given(length=SIZES, channels=st.sampled_from([None, 1, 3]), steps=st.integers(1, 4))
def test_any_length(length, channels, steps) -> None:
    shape = (length,) if channels is None else (length, channels)
    _check_mirror(layers.Conv1DEncoder(4, filters=(3,) * steps), shape)


@given(
    height=SIZES,
    width=SIZES,
    channels=st.sampled_from([None, 2]),
    kernel=st.sampled_from([2, 3, 5]),
)
def test_any_height_and_width(height, width, channels, kernel) -> None:
    shape = (height, width) if channels is None else (height, width, channels)
    encoder = layers.Conv2DEncoder(4, filters=(2, 3), kernel_size=kernel)
    _check_mirror(encoder, shape)


@pytest.mark.jax
@pytest.mark.parametrize("length", [1, 2, 31, 37, 64])
def test_numbers_at_awkward_lengths(length, rng) -> None:
    x = rng.normal(size=(3, length)).astype("float32")
    encoder = layers.Conv1DEncoder(4, filters=(3, 5))
    decoder = encoder.mirror((length,))
    code = encoder(x)
    assert code.shape == (3, 4)
    decoded = np.asarray(decoder(code))
    assert decoded.shape == (3, length)
    assert np.isfinite(decoded).all()


@given(shape=st.lists(st.integers(1, 6), min_size=1, max_size=3))
def test_dense_takes_any_shape(shape) -> None:
    encoder = layers.DenseEncoder(3, units=(4, 5))
    _check_mirror(encoder, tuple(shape))
    assert encoder.mirror(shape).units == (5, 4)


@pytest.mark.parametrize("name", ["Conv1DEncoder", "Conv2DEncoder"])
@pytest.mark.parametrize("normalization", ["layer", "group", None])
@pytest.mark.parametrize("filters", [(12,), (16, 5)])
def test_normalization(name, normalization, filters, rng) -> None:
    """The group norm also takes channels that are no multiple of eight."""
    encoder = getattr(layers, name)(3, filters=filters, normalization=normalization)
    x = rng.normal(size=(2, 9) if encoder.rank == 1 else (2, 9, 7)).astype("float32")
    code = np.asarray(encoder(x))
    assert np.isfinite(code).all()
    # Per instance: what else is in the batch changes nothing.
    np.testing.assert_allclose(encoder(x[:1]), code[:1], atol=1e-5)
    decoder = encoder.mirror(x.shape[1:])
    assert decoder.filters == filters[::-1]
    assert decoder.normalization == normalization
    assert np.isfinite(np.asarray(decoder(code))).all()


@pytest.mark.jax
def test_group_normalization_has_eight_channels_a_group() -> None:
    encoder = layers.Conv1DEncoder(3, filters=(24, 12), normalization="group")
    kind = keras.layers.GroupNormalization
    assert [n.groups for n in encoder.chain if isinstance(n, kind)] == [3, 1]


@pytest.mark.jax
@pytest.mark.parametrize("name", ["DenseEncoder", "Conv1DEncoder", "Conv2DEncoder"])
def test_the_mirror_inherits_the_arguments(name) -> None:
    options = {"activation": "tanh", "dtype": "mixed_bfloat16"}
    if name != "DenseEncoder":
        options |= {"kernel_size": 4, "filters": (3, 7)}
    decoder = getattr(layers, name)(3, **options).mirror((5, 5))
    assert decoder.activation is keras.activations.tanh
    assert decoder.dtype_policy.name == "mixed_bfloat16"
    if name != "DenseEncoder":
        assert (decoder.kernel_size, decoder.filters) == (4, (7, 3))


@pytest.mark.jax
@pytest.mark.parametrize("name", ["DenseDecoder", "Conv1DDecoder", "Conv2DDecoder"])
def test_the_output_is_linear(name) -> None:
    """With a zero kernel the output is the bias, whatever its sign and size."""
    shape = (6,) if name == "Conv1DDecoder" else (6, 5)
    decoder = getattr(layers, name)(shape)
    decoder.build((None, 3))
    kernel, bias = decoder.trainable_weights[-2:]
    kernel.assign(ops.zeros(kernel.shape))
    bias.assign(ops.full(bias.shape, -7.5))
    np.testing.assert_array_equal(decoder(ops.ones((2, 3))), np.full((2, *shape), -7.5))


@pytest.mark.jax
@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("Conv1DEncoder", (2, 4, 4, 1), r"1 axes, or 2 .*\(4, 4, 1\)"),
        ("Conv2DEncoder", (2, 8), r"2 axes, or 3 .*\(8,\)"),
    ],
)
def test_wrong_rank(name, shape, message) -> None:
    with pytest.raises(ValueError, match=message):
        getattr(layers, name)(3)(ops.ones(shape))
