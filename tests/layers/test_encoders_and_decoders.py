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
UPSAMPLINGS = ["transposed", "nearest", "bed_of_nails", "subpixel"]


def _check_mirror(encoder, instance_shape, **told):
    """Trace encoder and mirrored decoder, and compare shapes with the promised ones."""
    # The base class traces `call`; the layers would use `compute_output_shape`.
    trace = keras.Operation.compute_output_spec
    instances = keras.KerasTensor((2, *instance_shape))
    code = encoder(instances)
    assert trace(encoder, instances).shape == code.shape
    if encoder.output_dim is not None:
        assert code.shape == (2, encoder.output_dim)
    decoder = encoder.mirror(instance_shape, **told)
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


@given(
    sizes=st.lists(SIZES, min_size=1, max_size=2),
    convolutions=st.lists(
        st.tuples(st.integers(1, 4), st.integers(1, 5), st.integers(1, 3)),
        min_size=1,
        max_size=3,
    ),
    output_dim=st.sampled_from([None, 4]),
    upsampling=st.sampled_from(UPSAMPLINGS),
)
def test_any_kernels_and_strides(sizes, convolutions, output_dim, upsampling) -> None:
    filters, kernels, strides = zip(*convolutions, strict=True)
    make = layers.Conv1DEncoder if len(sizes) == 1 else layers.Conv2DEncoder
    encoder = make(output_dim, filters, kernel_size=kernels, strides=strides)
    _check_mirror(encoder, tuple(sizes), upsampling=upsampling)


@pytest.mark.jax
@pytest.mark.parametrize("length", [1, 37, 64])
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
    """The group norm also accepts numbers of channels that are no multiple of eight."""
    encoder = getattr(layers, name)(3, filters=filters, normalization=normalization)
    x = rng.normal(size=(2, 9) if encoder.rank == 1 else (2, 9, 7)).astype("float32")
    code = np.asarray(encoder(x))
    assert np.isfinite(code).all()
    # Per instance: other rows of the batch have no effect.
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
        assert (decoder.strides, decoder.upsampling) == (2, "transposed")


@pytest.mark.jax
def test_the_mirror_of_many_convolutions() -> None:
    """Fourteen convolutions of stride 2 and one of stride 1 fit long spectra."""
    kernels, strides = (7, 5, 5, *(3,) * 12), (*(2,) * 14, 1)
    encoder = layers.Conv1DEncoder(
        None, (1, 2) * 7 + (3,), kernel_size=kernels, strides=strides
    )
    shape = (2**15 + 3, 1)
    assert encoder.compute_output_shape((None, *shape)) == (None, 3 * 3)
    decoder = encoder.mirror(shape)
    assert decoder.kernel_size == kernels[::-1]
    assert decoder.strides == strides[::-1]
    decoder.build((None, 9))
    made = [step[0] for step in decoder.steps]
    assert [each.kernel_size for each in made] == [(n,) for n in kernels[::-1]]
    assert [each.strides for each in made] == [(n,) for n in strides[::-1]]
    assert [each.filters for each in made] == [2, 1] * 7 + [1]


@pytest.mark.jax
@pytest.mark.parametrize("rank", [1, 2])
def test_without_dense_layers_the_last_convolution_gives_the_code(rank, rng) -> None:
    x = rng.normal(size=(2, *(7, 6)[:rank])).astype("float32")
    name = f"Conv{rank}DEncoder"
    encoder = getattr(layers, name)(None, (4, 3), activation="relu")
    code = np.asarray(encoder(x))
    assert code.shape == (2, 3 * 2**rank)
    assert code.min() < 0.0  # not activated
    pixels = code.reshape(2, 2**rank, 3)
    assert np.abs(pixels.mean(axis=-1)).max() > 1e-3  # not normalised
    assert not any(isinstance(each, keras.layers.Dense) for each in encoder._layers)
    decoder = encoder.mirror(x.shape[1:])
    assert not decoder.dense
    assert decoder(code).shape == x.shape
    unknown = (None, *(None,) * rank, 1)
    assert encoder.compute_output_shape(unknown) == (None, None)


# === Upsampling ===


@pytest.mark.jax
@pytest.mark.parametrize("rank", [1, 2])
@pytest.mark.parametrize("upsampling", UPSAMPLINGS)
def test_upsampling_by_a_kernel_of_one_pixel(upsampling, rank, rng) -> None:
    """Make one step of a linear decoder, which only upsamples."""
    size = (5, 3)[:rank]
    options = {"kernel_size": 1, "normalization": None, "dense": False}
    cls = getattr(layers, f"Conv{rank}DDecoder")
    decoder = cls(size, (1,), strides=2, upsampling=upsampling, **options)
    smallest = (3, 2)[:rank]
    code = rng.normal(size=(2, int(np.prod(smallest)))).astype("float32")
    decoder.build(code.shape)
    kernel, bias = decoder.trainable_weights
    weights = rng.normal(size=kernel.shape).astype("float32")
    kernel.assign(weights)
    bias.assign(np.full(bias.shape, 7.0))
    cell = np.zeros((2,) * rank, "float32")  # the cell that a pixel becomes
    if upsampling == "subpixel":
        cell[:] = weights.reshape(cell.shape)
    elif upsampling == "nearest":
        cell[:] = weights.item()
    else:
        cell.flat[0] = weights.item()
    images = code.reshape(2, *smallest)
    expected = np.stack([np.kron(image, cell) for image in images]) + 7.0
    expected = expected[(slice(None), *map(slice, size))]
    y = decoder(code)
    assert y.shape == (2, *size)
    np.testing.assert_allclose(y, expected, rtol=1e-6)


@pytest.mark.jax
@pytest.mark.parametrize("upsampling", UPSAMPLINGS)
def test_upsampling_learns(upsampling, tmp_path, rng) -> None:
    """A gradient reaches every step, and saved models return the same values."""
    encoder = layers.Conv2DEncoder(4, filters=(3, 5))
    decoder = encoder.mirror((7, 6), upsampling=upsampling)
    model = keras.Sequential([keras.Input((7, 6)), encoder, decoder])
    model.compile(optimizer=keras.optimizers.SGD(0.1), loss="mse")
    x = rng.normal(size=(4, 7, 6)).astype("float32")
    before = model.get_weights()
    model.fit(x, x, verbose=0)
    for old, new in zip(before, model.get_weights(), strict=True):
        assert np.abs(old - new).max() > 0.0
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert again.layers[-1].upsampling == upsampling
    np.testing.assert_array_equal(again(x), model(x))


# === Activations that are layers ===


@pytest.mark.jax
@pytest.mark.parametrize("form", ["layer", "config"])
def test_slope_of_a_leaky_relu(form, tmp_path, rng) -> None:
    activation = keras.layers.LeakyReLU(0.1)
    if form == "config":
        activation = keras.saving.serialize_keras_object(activation)
    encoder = layers.Conv1DEncoder(
        2, (2,), kernel_size=1, strides=1, normalization=None, activation=activation
    )
    decoder = encoder.mirror((3,))
    model = keras.Sequential([keras.Input((3,)), encoder, decoder])
    x = rng.normal(size=(4, 3)).astype("float32")
    kernel, bias, dense, offset = encoder.get_weights()
    maps = x[..., None] * kernel[0] + bias
    maps = np.where(maps > 0.0, maps, 0.1 * maps)
    np.testing.assert_allclose(
        encoder(x), maps.reshape(4, -1) @ dense + offset, rtol=1e-5, atol=1e-6
    )
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(again(x), model(x))
    assert [each.activation.negative_slope for each in again.layers] == [0.1, 0.1]


@pytest.mark.jax
def test_each_place_has_its_own_learned_slopes(tmp_path, rng) -> None:
    encoder = layers.Conv1DEncoder(2, (3, 4), activation=keras.layers.PReLU())
    decoder = encoder.mirror((9,))
    model = keras.Sequential([keras.Input((9,)), encoder, decoder])
    weights = model.trainable_weights
    slopes = [tuple(w.shape) for w in weights if w.path.endswith("alpha")]
    assert slopes == [(5, 3), (3, 4), (3, 4), (6, 3)]  # the last is not yet cropped
    for weight in weights:
        weight.assign(rng.normal(size=weight.shape))
    x = rng.normal(size=(4, 9)).astype("float32")
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(again(x), model(x))


@pytest.mark.parametrize("name", ["Conv1DEncoder", "Conv2DDecoder"])
def test_configs_of_older_files(name) -> None:
    """Configs of version 0.1 have neither strides nor an upsampling method."""
    cls = getattr(layers, name)
    config = cls(4 if name == "Conv1DEncoder" else (7, 6)).get_config()
    newer = {"strides", "upsampling", "dense"} & set(config)
    assert newer
    older = {key: value for key, value in config.items() if key not in newer}
    assert cls.from_config(older).get_config() == config


@pytest.mark.jax
@pytest.mark.parametrize("name", ["DenseDecoder", "Conv1DDecoder", "Conv2DDecoder"])
def test_the_output_is_linear(name) -> None:
    """With a zero kernel, the output is the bias of any sign and size."""
    shape = (6,) if name == "Conv1DDecoder" else (6, 5)
    decoder = getattr(layers, name)(shape)
    decoder.build((None, 3))
    kernel, bias = decoder.trainable_weights[-2:]
    kernel.assign(ops.zeros(kernel.shape))
    bias.assign(ops.full(bias.shape, -7.5))
    np.testing.assert_array_equal(decoder(ops.ones((2, 3))), np.full((2, *shape), -7.5))


# === Tied weights ===


@pytest.mark.jax
def test_transposed_kernel(rng) -> None:
    dense = keras.layers.Dense(4)
    decoder = layers.TiedDense(dense, (3, 2))
    code = rng.normal(size=(5, 4)).astype("float32")
    decoder(code)
    decoder.bias.assign(np.arange(6.0))
    expected = code @ np.asarray(dense.kernel.value).T + np.arange(6.0)
    np.testing.assert_allclose(decoder(code), expected.reshape(5, 3, 2), rtol=1e-5)


def test_the_kernel_is_still_shared_after_reloading(tmp_path, rng) -> None:
    x = rng.normal(size=(8, 6)).astype("float32")
    inputs = keras.Input((6,))
    dense = keras.layers.Dense(4)
    model = keras.Model(inputs, layers.TiedDense(dense, (6,))(dense(inputs)))
    assert len(model.trainable_weights) == 3
    model.save(tmp_path / "tied.keras")
    again = keras.saving.load_model(tmp_path / "tied.keras")
    np.testing.assert_array_equal(again(x), model(x))
    again.compile("sgd", "mse")
    again.fit(x, x, verbose=0)
    assert len(again.trainable_weights) == 3
    assert again.layers[1].kernel is again.layers[2].dense.kernel
