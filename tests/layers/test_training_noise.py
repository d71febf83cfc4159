"""Layers that draw random numbers during training: when they do, and which ones."""

from __future__ import annotations

import math

import keras
import numpy as np
import pytest
from keras import ops

from symae_keras import layers
from symae_keras.layers import (
    BlockCorruption,
    GaussianCorruption,
    MaskingCorruption,
    NuisanceDropout,
    RandomScale,
    RandomShift,
    SaltAndPepper,
)

KINDS = ("gaussian", "bernoulli", "additive")
ALL = {
    "GaussianCorruption": {"stddev": 0.5},
    "MaskingCorruption": {"rate": 0.5},
    "SaltAndPepper": {"rate": 0.5},
    "BlockCorruption": {"fraction": 0.5},
    "RandomScale": {"strength": 0.5},
    "RandomShift": {"max_shift": 2.5},
    **{f"NuisanceDropout {kind}": {"kind": kind, "strength": 0.5} for kind in KINDS},
}


def _made(name):
    return getattr(layers, name.split()[0])(**ALL[name], seed=0)


def _altered(layer, x) -> np.ndarray:
    return ops.convert_to_numpy(layer(x, training=True))


# === All of them ===


@pytest.mark.jax
@pytest.mark.parametrize("name", ALL)
def test_active_in_training_only(name, rng) -> None:
    x = rng.normal(size=(4, 12)).astype("float32")
    layer = _made(name)
    np.testing.assert_array_equal(layer(x), x)
    np.testing.assert_array_equal(layer(x, training=False), x)
    assert np.any(_altered(layer, x) != x)


@pytest.mark.jax
@pytest.mark.parametrize("name", ALL)
def test_every_call_draws_afresh_and_a_seed_repeats_them(name, rng) -> None:
    x = rng.normal(size=(50, 12)).astype("float32")
    one, other = _made(name), _made(name)
    first = _altered(one, x)
    np.testing.assert_array_equal(first, _altered(other, x))
    again = _altered(one, x)
    assert np.mean(np.any(first != again, axis=1)) > 0.5


@pytest.mark.parametrize("jit", [False, True])
@pytest.mark.parametrize("name", ALL)
def test_unknown_lengths(name, jit, tf) -> None:
    """`BlockCorruption` needs known numbers of pixels."""
    layer, signature, shapes, axes = (
        _made(name),
        (None,) * 3,
        [(2, 3, 40), (5, 1, 9)],
        2,
    )
    if name == "BlockCorruption":
        signature, axes = (None, 8, 6, 2), (1, 2, 3)
        shapes = [(n, *signature[1:]) for n in (3, 5)]

    @tf.function(input_signature=[tf.TensorSpec(signature)], jit_compile=jit)
    def alter(x):
        return layer(x, training=True)

    for shape in shapes:
        x = tf.random.normal(shape)
        altered = alter(x).numpy()
        assert altered.shape == shape
        assert np.all(np.any(altered != x.numpy(), axis=axes))


# === Corruptions ===


@pytest.mark.jax
def test_gaussian_noise_and_its_clipping() -> None:
    x = np.full((400, 100), 0.5, "float32")
    noise = _altered(GaussianCorruption(0.3, seed=0), x) - x
    assert abs(noise.mean()) < 5 * 0.3 / np.sqrt(x.size)
    assert noise.std() == pytest.approx(0.3, rel=0.02)
    clipped = _altered(GaussianCorruption(2.0, clip=(0.0, 1.0), seed=0), x)
    assert (clipped.min(), clipped.max()) == (0.0, 1.0)


@pytest.mark.jax
@pytest.mark.parametrize("rate", [0.0, 0.1, 0.7, 1.0])
def test_masking_rate(rate, rng) -> None:
    x = rng.normal(size=(400, 100)).astype("float32")
    corrupted = _altered(MaskingCorruption(rate, value=-9.0, seed=0), x)
    blank = corrupted == -9.0
    np.testing.assert_array_equal(corrupted[~blank], x[~blank])  # not rescaled
    five_sigma = 5 * np.sqrt(rate * (1 - rate) / x.size)
    assert abs(blank.mean() - rate) <= five_sigma
    # Values are blanked independently: rows are different.
    binomial = np.sqrt(rate * (1 - rate) / 100)
    assert blank.mean(axis=1).std() == pytest.approx(binomial, rel=0.2)


@pytest.mark.jax
@pytest.mark.parametrize("rate", [0.0, 0.2, 1.0])
def test_salt_and_pepper_are_equally_frequent(rate, rng) -> None:
    x = rng.uniform(size=(400, 100)).astype("float32")
    corrupted = _altered(SaltAndPepper(rate, low=-1.0, high=2.0, seed=0), x)
    pepper, salt = corrupted == -1.0, corrupted == 2.0
    kept = ~(pepper | salt)
    np.testing.assert_array_equal(corrupted[kept], x[kept])
    for share in (pepper.mean(), salt.mean()):
        five_sigma = 5 * np.sqrt(rate / 2 * (1 - rate / 2) / x.size)
        assert abs(share - rate / 2) <= five_sigma


@pytest.mark.jax
def test_small_rates_survive_half_precision() -> None:
    """A uniform draw in bfloat16 has steps of 1/256 or more."""
    layer = MaskingCorruption(0.001, seed=0, dtype="mixed_bfloat16")
    x = ops.ones((1000, 1000), "bfloat16")
    blank = 1.0 - float(ops.mean(ops.cast(layer(x, training=True), "float32")))
    assert blank == pytest.approx(0.001, rel=0.2)


@pytest.mark.jax
@pytest.mark.parametrize(
    ("shape", "spatial_axes", "sides"),
    [
        ((13,), None, (4,)),  # 0.25 * 13, rounded up
        ((13,), 1, (4,)),
        ((13, 3), None, (4,)),
        ((13, 9), 2, (4, 3)),
        ((13, 9, 2), None, (4, 3)),
        ((13, 9, 2), 1, (4,)),
    ],
)
def test_one_block_of_the_right_sides(shape, spatial_axes, sides) -> None:
    x = np.ones((300, *shape), "float32")
    layer = BlockCorruption(0.25, value=7.0, spatial_axes=spatial_axes, seed=0)
    corrupted = _altered(layer, x)
    assert set(np.unique(corrupted)) == {1.0, 7.0}
    blank = corrupted == 7.0
    n_axes = len(sides)
    # All channels are equal, so one of them is enough for the check.
    flat = blank.reshape(300, *shape[:n_axes], -1)
    assert np.all(flat == flat[..., :1])
    flat = flat[..., 0]
    assert np.all(flat.reshape(300, -1).sum(axis=1) == np.prod(sides))
    for axis, side in enumerate(sides):
        others = tuple(i + 1 for i in range(n_axes) if i != axis)
        along = flat.any(axis=others)
        start = along.argmax(axis=1)
        ends = np.arange(shape[axis])
        inside = (ends >= start[:, None]) & (ends < start[:, None] + side)
        np.testing.assert_array_equal(along, inside)
        # Every position occurs, with similar frequency.
        counts = np.bincount(start, minlength=shape[axis] - side + 1)
        expected = 300 / len(counts)
        assert len(counts) == shape[axis] - side + 1
        assert np.all(np.abs(counts - expected) < 5 * np.sqrt(expected))


@pytest.mark.parametrize(
    ("fraction", "length", "side"),
    [(1.0, 5, 5), (1e-6, 5, 1), (0.07, 100, 7), (0.5, 7, 4), (0.2, 15, 3)],
)
def test_side_of_a_block(fraction, length, side) -> None:
    layer = BlockCorruption(fraction, seed=0)
    blank = _altered(layer, np.ones((6, length), "float32")) == 0.0
    assert np.all(blank.sum(axis=1) == side)


def test_places_along_the_axes_are_independent() -> None:
    images = np.ones((2000, 12, 12, 1), "float32")
    blank = 1.0 - _altered(BlockCorruption(0.5, seed=0), images)[..., 0]
    row, column = (blank.any(axis=a).argmax(axis=1) for a in (2, 1))
    assert abs(np.corrcoef(row, column)[0, 1]) < 5 / np.sqrt(2000)


def test_a_block_needs_to_know_the_numbers_of_pixels(tf) -> None:
    @tf.function(input_signature=[tf.TensorSpec((None, None))])
    def corrupt(x):
        return BlockCorruption()(x, training=True)

    with pytest.raises(ValueError, match=r"numbers of pixels.*\(None, None\)"):
        corrupt(tf.ones((2, 3)))


# === Random shifts and scales ===


def _shifts(shifted) -> np.ndarray:
    """Return the shift of a ramp of slope 1, measured away from its ends."""
    n = shifted.shape[-1]
    moved = np.arange(n) - shifted
    inner = moved[..., n // 4 : -n // 4]
    np.testing.assert_allclose(inner - inner[..., :1], 0.0, atol=1e-3)
    return inner[..., 0]


@pytest.mark.jax
@pytest.mark.parametrize("leading", [(), (6,), (3, 2)])
@pytest.mark.parametrize("channels", [(), (3,)])
def test_one_shift_for_each_instance(leading, channels) -> None:
    """Channels shift together."""
    shape = (*leading, 40, *channels)
    ramp = np.arange(40, dtype="float32").reshape(-1, *(1,) * len(channels))
    layer = RandomShift(2.5, seed=0, pixel_axis=-1 - len(channels))
    shifted = _altered(layer, np.broadcast_to(ramp, shape))
    assert shifted.shape == shape
    of_channels = shifted.reshape(*leading, 40, -1)
    assert np.all(of_channels == of_channels[..., :1])
    shifts = _shifts(of_channels[..., 0])
    assert shifts.shape == leading
    assert len(np.unique(shifts)) == shifts.size


@pytest.mark.jax
def test_shifts_are_uniform_and_centred() -> None:
    ramp = np.broadcast_to(np.arange(32, dtype="float32"), (4000, 32))
    shifts = _shifts(_altered(RandomShift(2.5, seed=0), ramp))
    assert np.abs(shifts).max() <= 2.5 + 1e-3
    deviation = 5.0 / np.sqrt(12)
    assert abs(shifts.mean()) < 5 * deviation / np.sqrt(4000)
    assert shifts.std() == pytest.approx(deviation, rel=0.05)


@pytest.mark.jax
@pytest.mark.parametrize("shift", [-3.0, -1.25, 0.0, 0.5, 2.0, 50.0])
def test_linear_interpolation_with_repeated_ends(shift, rng, monkeypatch) -> None:
    """The shift agrees with NumPy's interpolation; whole pixels are a plain shift."""
    monkeypatch.setattr(
        "keras.random.uniform",
        lambda shape, *_, dtype, seed: ops.full(shape, shift, dtype),
    )
    x = rng.normal(size=(2, 12)).astype("float32")
    shifted = _altered(RandomShift(60.0), x)
    pixels = np.arange(12)
    expected = [np.interp(pixels - shift, pixels, row) for row in x]
    np.testing.assert_allclose(shifted, expected, rtol=1e-5, atol=1e-6)
    if shift == 2.0:
        np.testing.assert_array_equal(shifted[:, 2:], x[:, :-2])
        np.testing.assert_array_equal(shifted[:, :2], x[:, [0, 0]])


def test_gradient_of_a_shift(gradients, rng) -> None:
    """A shift is linear, so its gradient is the transposed operation."""
    x = rng.normal(size=(3, 12)).astype("float32")

    def half_square(x):
        shifted = RandomShift(2.5, seed=0)(x, training=True)
        return ops.sum(shifted * shifted) / 2

    (gradient,) = gradients(half_square, x)
    np.testing.assert_allclose(np.sum(gradient * x), 2 * half_square(x), rtol=1e-5)


@pytest.mark.jax
def test_half_precision_knows_its_place() -> None:
    """Positions are exact in bfloat16, which cannot count beyond 256."""
    x = np.zeros((20, 1000), "float32")
    x[:, 901] = 1.0
    layer = RandomShift(0.4, seed=0, dtype="mixed_bfloat16")
    shifted = ops.convert_to_numpy(ops.cast(layer(x, training=True), "float32"))
    assert np.all(shifted.argmax(axis=1) == 901)
    np.testing.assert_allclose(shifted.sum(axis=1), 1.0, atol=0.01)


@pytest.mark.jax
@pytest.mark.parametrize(
    ("leading", "pixel_axes"), [((), 1), ((6,), 1), ((3, 2), 1), ((3, 2), 2), ((), 2)]
)
def test_one_factor_for_each_instance(leading, pixel_axes) -> None:
    shape = (*leading, *(5, 4)[:pixel_axes])
    layer = RandomScale(0.5, seed=0, pixel_axes=pixel_axes)
    scaled = _altered(layer, np.ones(shape, "float32"))
    factors = scaled.reshape(*leading, -1)[..., 0]
    expected = factors.reshape(*leading, *(1,) * pixel_axes)
    np.testing.assert_array_equal(scaled, np.broadcast_to(expected, shape))
    assert len(np.unique(factors)) == factors.size


@pytest.mark.jax
def test_factors_are_log_normal() -> None:
    x = np.full((4000, 1), -3.0, "float32")
    logarithm = np.log(_altered(RandomScale(0.5, seed=0), x) / -3.0)
    assert abs(logarithm.mean()) < 5 * 0.5 / np.sqrt(4000)
    assert logarithm.std() == pytest.approx(0.5, rel=0.05)


# === Noise on the nuisance code ===


@pytest.mark.jax
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("strength", [0.2, 0.7])
@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_moments(kind, strength, policy) -> None:
    """The noise has no bias, and the variance is that of the docstring."""
    n, x = 200_000, 3.0
    variance = {
        "gaussian": x**2 * strength**2,
        "bernoulli": x**2 * strength / (1.0 - strength),
        "additive": strength**2,
    }[kind]
    layer = NuisanceDropout(kind, strength, seed=0, dtype=policy)
    noisy = layer(x * ops.ones((n,), layer.compute_dtype), training=True)
    noisy = np.asarray(ops.cast(noisy, "float32"), "float64")
    # bfloat16 has 8 bits: its rounding errors add up to 0.5 %.
    rounding = 0.005 if policy == "mixed_bfloat16" else 0.0
    assert abs(noisy.mean() - x) < 5.0 * math.sqrt(variance / n) + rounding * x
    assert noisy.var() == pytest.approx(variance, rel=0.03 + 2.0 * rounding)
    if kind == "bernoulli" and policy == "float32":
        # Dropped or rescaled, nothing in between.
        dropped = noisy == 0.0
        np.testing.assert_allclose(noisy[~dropped], x / (1.0 - strength), rtol=1e-6)
        assert dropped.mean() == pytest.approx(strength, abs=0.01)


@pytest.mark.jax
@pytest.mark.parametrize("kind", KINDS)
def test_noise_of_every_instance_and_none_at_strength_0(kind, rng) -> None:
    """Groups and instances have independent noise."""
    layer = NuisanceDropout(kind, 0.5, seed=0)
    noisy = _altered(layer, ops.ones((4, 5, 64)))
    assert len(np.unique(noisy.reshape(20, 64), axis=0)) == 20
    x = rng.normal(size=(2, 3, 4)).astype("float32")
    layer.set_strength(0.0)
    np.testing.assert_array_equal(layer(x, training=True), x)


@pytest.mark.jax
@pytest.mark.parametrize("policy", ["float16", "mixed_bfloat16"])
def test_heavy_bernoulli_is_finite_in_half_precision(policy) -> None:
    """A strength of 0.9999 would be 1 in bfloat16, and 1 / (1 - 1) is no scale."""
    layer = NuisanceDropout("bernoulli", 0.9999, seed=0, dtype=policy)
    noisy = layer(ops.ones((100_000,), layer.compute_dtype), training=True)
    noisy = np.asarray(ops.cast(noisy, "float32"))
    assert np.isfinite(noisy).all()
    assert noisy.max() == pytest.approx(1e4, rel=0.01)


@pytest.mark.jax
@pytest.mark.parametrize("kind", KINDS)
def test_limits_of_the_strength(kind) -> None:
    """Unlike in `keras.layers.GaussianNoise`, the strength may be above 1."""
    layer = NuisanceDropout(kind, 0.25)
    bad = [-0.1, math.nan, math.inf]
    if kind == "bernoulli":
        bad += [1.0, 1.5]
    else:
        assert float(NuisanceDropout(kind, 4.0).strength.value) == 4.0
    for strength in bad:
        message = rf"`strength`.*0 <= strength < .* {kind} noise.*strength={strength}"
        with pytest.raises(ValueError, match=message):
            NuisanceDropout(kind, strength)
        with pytest.raises(ValueError, match=message):
            layer.set_strength(strength)
    assert float(layer.strength.value) == 0.25


@pytest.mark.jax
def test_the_current_strength_is_saved(tmp_path) -> None:
    inputs = keras.Input((3,))
    model = keras.Model(inputs, NuisanceDropout("additive", 0.5, seed=3)(inputs))
    model.layers[-1].set_strength(0.125)
    model.save(tmp_path / "model.keras")
    layer = keras.saving.load_model(tmp_path / "model.keras").layers[-1]
    assert float(layer.strength.value) == 0.125
    assert (layer.kind, layer.initial_strength, layer.seed) == ("additive", 0.5, 3)


def test_strength_changes_without_retracing(tf) -> None:
    layer = NuisanceDropout("additive", 0.0, seed=0)
    traces = []

    @tf.function
    def step(x):
        traces.append(x)
        return layer(x, training=True)

    zeros = tf.zeros((20_000,))
    for strength in (0.0, 0.5, 2.0):
        layer.set_strength(strength)
        assert np.std(step(zeros)) == pytest.approx(strength, rel=0.03)
    assert len(traces) == 1


def test_no_gradient_to_the_strength(gradients) -> None:
    """The optimiser cannot reduce the strength, which is not trainable."""
    assert NuisanceDropout().trainable_variables == []

    def noisy(x):
        return NuisanceDropout("gaussian", 0.5, seed=0)(x, training=True)

    ones = np.ones(5, "float32")
    # d(x (1 + s e)) / dx = 1 + s e, which is y at x = 1.
    np.testing.assert_allclose(gradients(noisy, ones)[0], noisy(ones), atol=1e-6)
