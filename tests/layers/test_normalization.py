"""Normalisation of instances: closed forms, constants from data, masks, tiny fluxes."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import ops

from symae_keras.layers import MedianNormalization, Standardization
from symae_keras.layers import normalization as module
from symae_keras.models._copies import copy_of

NAN = float("nan")

# === Means and scales ===


@pytest.mark.jax
def test_call_and_inverse(rng) -> None:
    x = rng.normal(size=(4, 3, 6)).astype("float32")
    mean, scale = rng.normal(size=6), rng.uniform(0.5, 2.0, 6)
    layer = Standardization(mean, scale)
    np.testing.assert_allclose(layer(x), (x - mean) / scale, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(layer.inverse(layer(x)), x, rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(Standardization()(x), x)


@pytest.mark.jax
def test_bad_pixels_show_the_mean(rng) -> None:
    x = rng.normal(3.0, 1.0, (4, 3, 6)).astype("float32")
    good = np.array([True, False, True, True, False, True])
    x[..., ~good] = NAN
    layer = Standardization(3.0, 2.0)
    standard = ops.convert_to_numpy(layer(x, pixel_mask=good))
    expected = np.where(good, (x - 3.0) / 2.0, 0.0)
    np.testing.assert_allclose(standard, expected, atol=1e-6)
    assert np.all(standard[..., ~good] == 0.0)
    assert np.all(ops.convert_to_numpy(layer.inverse(standard))[..., ~good] == 3.0)


@pytest.mark.jax
def test_inputs_are_not_rounded_to_half_precision(rng) -> None:
    x = 1e-17 * rng.normal(3.0, 1.0, (4, 5, 6))  # float64 inputs are also tested
    half = Standardization.of(x, dtype="mixed_float16")
    standard, median = half(x), MedianNormalization(dtype="mixed_float16")(x)
    np.testing.assert_allclose(standard, Standardization.of(x)(x), atol=2e-3)
    np.testing.assert_allclose(half.inverse(standard), x, atol=2e-20)
    np.testing.assert_allclose(median, MedianNormalization()(x), rtol=1e-3)
    for output in (standard, median):
        assert keras.backend.standardize_dtype(output.dtype) == "float16"


@pytest.mark.jax
def test_weights_carry_the_constants() -> None:
    """Given constants are exact in float64 until others are loaded."""
    layer, other = Standardization([1e-17, 0.1], 0.3), Standardization([0.0, 0.0])
    for each in (layer, other):
        each.build()
    assert layer.mean.tolist() == [1e-17, 0.1] and layer.scale == 0.3
    other.set_weights(layer.get_weights())
    np.testing.assert_allclose(other.mean, [1e-17, 0.1], rtol=1e-7)
    np.testing.assert_allclose(other.scale, 0.3, rtol=1e-7)
    x = np.float32([[0.5, 0.25]])
    np.testing.assert_array_equal(other(x), layer(x))
    np.testing.assert_array_equal(other.inverse(x), layer.inverse(x))
    assert not other.trainable_weights


def test_files_without_the_weights_leave_the_constants() -> None:
    """Return a config as version 0.1 wrote it."""
    layer = Standardization([1.0, 2.0], 3.0)
    layer.build()
    layer.load_own_variables({})
    assert layer.mean.tolist() == [1.0, 2.0] and layer.scale == 3.0
    with pytest.raises(ValueError, match="expected 2 variables"):
        layer.load_own_variables({"0": np.zeros(2)})
    empty = Standardization.from_config(layer.get_config())
    empty.build()
    with pytest.raises(ValueError, match="expected 2 variables"):
        empty.load_own_variables({})


@pytest.mark.jax
def test_the_config_has_shapes_and_the_weights_have_the_numbers(tmp_path, rng) -> None:
    layer = Standardization(rng.normal(size=327_680), 3.0, name="standard")
    config = layer.get_config()
    assert (config["mean_shape"], config["scale_shape"]) == ([327_680], [])
    assert len(str(config)) < 400
    x = rng.normal(size=(2, 327_680)).astype("float32")
    inputs = keras.Input((327_680,))
    model = keras.Model(inputs, layer(inputs))
    # Code that rebuilds only the architecture has no constants and raises an error.
    clone = keras.models.clone_model(model)
    for each in (clone.layers[-1], Standardization.from_config(config)):
        assert np.isnan(ops.convert_to_numpy(each(x))).all()
        assert np.isnan(ops.convert_to_numpy(each.inverse(x))).all()
        for name in ("mean", "scale"):
            with pytest.raises(ValueError, match=f"{name} of the layer.*not known"):
                getattr(each, name)
    clone.set_weights(model.get_weights())
    model.save(tmp_path / "model.keras")
    model.save_weights(tmp_path / "model.weights.h5")
    loaded = keras.models.clone_model(model)
    loaded.load_weights(tmp_path / "model.weights.h5")
    again = keras.saving.load_model(tmp_path / "model.keras")
    expected = ops.convert_to_numpy(model(x))
    for each in (clone, loaded, again):
        np.testing.assert_array_equal(ops.convert_to_numpy(each(x)), expected)
        np.testing.assert_allclose(each.layers[-1].mean, layer.mean, rtol=1e-6)
        assert each.layers[-1].scale == 3.0


@pytest.mark.jax
def test_configs_of_version_0_1_hold_the_numbers() -> None:
    config = Standardization([0.0, 0.0]).get_config()
    for name in ("mean_shape", "scale_shape"):
        del config[name]
    layer = Standardization.from_config({**config, "mean": [1e-17, 0.1], "scale": 0.3})
    assert layer.mean.tolist() == [1e-17, 0.1] and layer.scale == 0.3


def test_unbuilt_encoders_are_copied_with_their_constants() -> None:
    encoder = keras.Sequential([Standardization(3.0, 2.0), keras.layers.Dense(2)])
    copy = copy_of(encoder)
    assert (copy.layers[0].mean, copy.layers[0].scale) == (3.0, 2.0)


def _constants(x, good):
    """Compute mean and standard deviation of each pixel with loops."""
    flat, kept = x.reshape(-1, x.shape[-1]), good.reshape(-1, x.shape[-1])
    columns = [flat[kept[:, i], i] for i in range(x.shape[-1])]
    return np.array([[c.mean(), c.std()] for c in columns]).T


@pytest.mark.parametrize("rows_at_once", [7, 2048])
@pytest.mark.parametrize("factor", [1.0, 1e-17])
@pytest.mark.parametrize("masked", [False, True])
def test_constants_of_spectra(masked, factor, rows_at_once, rng, monkeypatch) -> None:
    monkeypatch.setattr(module, "_ROWS_AT_ONCE", rows_at_once)
    x = factor * rng.normal(rng.normal(size=6), rng.uniform(1, 2, 6), (9, 3, 6))
    good, masks = np.ones(x.shape, bool), {}
    if masked:
        mask, pixels = rng.uniform(size=(9, 3)) < 0.8, rng.uniform(size=x.shape) < 0.8
        good, masks = mask[..., None] & pixels, {"mask": mask, "pixel_mask": pixels}
    mean, deviation = _constants(x, good)
    common = np.sqrt(np.mean(deviation**2))
    x[~good] = NAN
    layer = Standardization.of(x, **masks)
    np.testing.assert_allclose(layer.mean, mean, rtol=1e-12)
    np.testing.assert_allclose(layer.scale, common, rtol=1e-12)
    own = Standardization.of(x, **masks, per_pixel=True)
    np.testing.assert_allclose(own.mean, mean, rtol=1e-12)
    np.testing.assert_allclose(own.scale, deviation, rtol=1e-12)


def test_images_have_a_mean_for_each_channel(rng) -> None:
    x = rng.normal([3.0, -2.0], [1.0, 2.0], (9, 3, 4, 5, 2))
    layer = Standardization.of(x, instance_axes=3)
    np.testing.assert_allclose(layer.mean, x.mean(axis=(0, 1, 2, 3)), rtol=1e-12)
    variance = x.var(axis=(0, 1))
    np.testing.assert_allclose(layer.scale, np.sqrt(variance.mean()), rtol=1e-12)
    own = Standardization.of(x, instance_axes=3, per_pixel=True)
    np.testing.assert_allclose(own.scale, np.sqrt(variance), rtol=1e-12)
    rows = Standardization.of(x.reshape(-1, 4, 5, 2), instance_axes=3)
    np.testing.assert_allclose(rows.scale, layer.scale, rtol=1e-12)


def test_a_mask_that_broadcasts_hides_pixels_from_all_instances(rng) -> None:
    x = rng.normal([1.0, 2.0, 3.0], 1.0, (9, 3, 3))
    x[..., 1] = NAN
    layer = Standardization.of(x, pixel_mask=[True, False, True])
    mean = x.mean(axis=(0, 1))
    # The pixel that is never good gets the average of the others.
    np.testing.assert_allclose(layer.mean, [mean[0], (mean[0] + mean[2]) / 2, mean[2]])
    shown = x.var(axis=(0, 1))[[0, 2]]
    np.testing.assert_allclose(layer.scale, np.sqrt(shown.mean()), rtol=1e-12)


def test_what_never_varies_has_unit_scale(rng) -> None:
    assert Standardization.of(np.full((7, 3, 4), 0.1)).scale == 1.0
    x = rng.normal(size=(7, 3, 2)) * [1.0, 0.0] + 0.1
    own = Standardization.of(x, per_pixel=True)
    np.testing.assert_allclose(own.scale, [x[..., 0].std(), 1.0])


def test_memory_mapped_data_stay_on_disk(tmp_path, rng, monkeypatch) -> None:
    x = rng.normal(size=(40, 5, 6)).astype("float32")
    np.save(tmp_path / "x.npy", x)
    largest = 0
    asarray = np.asarray

    def spy(array, *args):
        nonlocal largest
        largest = max(largest, np.size(array))
        return asarray(array, *args)

    monkeypatch.setattr(module, "_ROWS_AT_ONCE", 20)
    monkeypatch.setattr(module.np, "asarray", spy)
    layer = Standardization.of(np.load(tmp_path / "x.npy", mmap_mode="r"))
    assert largest == 20 * 6
    np.testing.assert_allclose(layer.mean, x.mean(axis=(0, 1), dtype="float64"))


def _of(**arguments):
    return lambda: Standardization.of(**{"x": np.ones((2, 3, 4)), **arguments})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Standardization([0.0, NAN]), r"`mean`.*mean=\[0.0, nan\]"),
        (lambda: Standardization(1e31), r"`mean`.*to 1e\+30.*mean=1e\+31"),
        (lambda: Standardization("3"), r"`mean`.*mean=3"),
        (lambda: Standardization([[1.0], [2.0, 3.0]]), r"`mean`.*finite numbers"),
        (lambda: Standardization(scale=True), r"`scale`.*scale=True"),
        (lambda: Standardization(scale=0.0), r"`scale`.*scale=0.0"),
        (lambda: Standardization(scale=-1.0), r"`scale`.*scale=-1.0"),
        (lambda: Standardization(scale=[NAN]), r"`scale`.*scale=\[nan\]"),
        (lambda: Standardization(scale=1e-31), r"`scale`.*1e-30.*scale=1e-31"),
        (_of(x=np.ones(3)), r"`instance_axes`.*instance_axes=1"),
        (_of(mask=np.ones(2)), r"`mask`.*\(2, 3\).*shape \(2,\)"),
        (_of(pixel_mask=np.ones(3)), r"`pixel_mask`.*\(2, 3, 4\).*shape \(3,\)"),
        (_of(mask=np.zeros((2, 3))), r"`x`.*one good entry"),
        (_of(x=np.full((2, 3, 4), NAN)), r"`x`.*finite.*NaN"),
    ],
)
def test_bad_argument(make, message) -> None:
    with pytest.raises(ValueError, match=message):
        make()


# === Medians ===


def _over_median(x, good, pixel_axes):
    """Compute medians one instance at a time, and divide the data by them."""
    shape = x.shape[x.ndim - pixel_axes :]
    rows, kept = x.reshape(-1, *shape), good.reshape(-1, *shape)
    medians = [np.median(row[k]) for row, k in zip(rows, kept, strict=True)]
    leading = x.shape[: x.ndim - pixel_axes]
    medians = np.reshape(medians, (*leading, *(1,) * pixel_axes))
    return medians, np.where(good, x, 0.0) / medians


@pytest.mark.jax
@pytest.mark.parametrize("pixels", [6, 7])
@pytest.mark.parametrize(
    ("leading", "channels", "pixel_axes"),
    [((), (), 1), ((4,), (), 1), ((4, 3), (), 1), ((4, 3), (2,), 2), ((), (2,), 2)],
)
@pytest.mark.parametrize("masked", [False, True])
def test_median_against_numpy(
    leading, channels, pixel_axes, pixels, masked, rng
) -> None:
    x = rng.normal(3.0, 1.0, (*leading, pixels, *channels)).astype("float32")
    good = rng.uniform(size=x.shape) < 0.7 if masked else np.ones(x.shape, bool)
    medians, expected = _over_median(x, good, pixel_axes)
    layer = MedianNormalization(pixel_axes)
    mask = {"pixel_mask": good} if masked else {}
    np.testing.assert_allclose(layer.scale(x, **mask), medians, rtol=1e-6)
    np.testing.assert_allclose(layer(x, **mask), expected, rtol=1e-5)


@pytest.mark.jax
def test_a_mask_broadcasts_and_nothing_leaks_from_behind_it(rng) -> None:
    x = rng.normal(3.0, 1.0, (4, 5, 7)).astype("float32")
    gap = np.array([True, True, False, True, True, True, False])
    spoiled = x.copy()
    spoiled[..., ~gap] = np.array([NAN, np.inf])
    output = MedianNormalization()(spoiled, pixel_mask=gap)
    _, expected = _over_median(x, np.broadcast_to(gap, x.shape), 1)
    np.testing.assert_allclose(output, expected, rtol=1e-5)


@pytest.mark.jax
def test_instances_without_a_median_are_handed_on() -> None:
    x = np.array([[0.0, 0.0, 5.0], [1.0, 2.0, 3.0], [4e-31, 4e-31, 1.0]], "float32")
    good = np.array([[1, 1, 1], [0, 0, 0], [1, 1, 1]], bool)
    layer = MedianNormalization()
    np.testing.assert_array_equal(layer.scale(x, good), np.ones((3, 1)))
    np.testing.assert_array_equal(layer(x, pixel_mask=good), np.where(good, x, 0.0))


@pytest.mark.jax
def test_tiny_and_negative_fluxes(rng) -> None:
    x = rng.normal(3.0, 1.0, (4, 9)).astype("float32")
    layer = MedianNormalization()
    np.testing.assert_allclose(layer(x * 1e-17), layer(x), rtol=1e-5)
    np.testing.assert_allclose(layer(-x), layer(x), rtol=1e-5)


def test_gradient_of_the_median(gradients) -> None:
    """The gradient of sum(x / median) is 1 / median, minus sum / median^2 at it."""
    x = np.float32([[2.0, 8.0, 4.0, NAN], [0.0, 0.0, 1.0, 1.0], [1.0] * 4])
    good = np.array([[1, 1, 1, 0], [1, 1, 1, 0], [0, 0, 0, 0]], bool)
    layer = MedianNormalization()
    (gradient,) = gradients(lambda x: layer(x, pixel_mask=good), x)
    expected = [[0.25, 0.25, 0.25 - 14 / 16, 0.0], [1.0, 1.0, 1.0, 0.0], [0.0] * 4]
    np.testing.assert_allclose(gradient, expected, rtol=1e-6)


@pytest.mark.parametrize("jit", [False, True])
def test_unknown_lengths(jit, tf, rng) -> None:
    layer = MedianNormalization(pixel_axes=2)
    signature = [tf.TensorSpec((None, None, None, 2))]

    @tf.function(input_signature=signature, jit_compile=jit)
    def normalize(x):
        return layer(x)

    for shape in ((2, 3, 7, 2), (1, 4, 6, 2)):
        x = rng.normal(3.0, 1.0, shape).astype("float32")
        _, expected = _over_median(x, np.ones(shape, bool), 2)
        np.testing.assert_allclose(normalize(x), expected, rtol=1e-5)


@pytest.mark.parametrize("pixel_axes", [1, 2])
def test_scale_of_symbols(pixel_axes) -> None:
    layer = MedianNormalization(pixel_axes)
    shape = (None, 7, 5, 3)
    expected = (*shape[:-pixel_axes], *(1,) * pixel_axes)
    assert layer.scale(keras.KerasTensor(shape)).shape == expected
