"""Losses, gradients and `fit`, for every pooling and every noise."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from symae_keras.layers import DenseEncoder
from symae_keras.models import SymAE

POOLINGS = ("mean", "sum", "max", "attention")
NOISES = ("gaussian", "bernoulli", "additive", "variational")


@pytest.mark.large
@pytest.mark.jax
@pytest.mark.parametrize(("pooling", "noise"), list(zip(POOLINGS, NOISES, strict=True)))
def test_fit_and_reload(pooling, noise, tiny, x, mask, tmp_path) -> None:
    model = tiny(pooling=pooling, nuisance_noise=noise, instance_dropout=0.3)
    model.compile(optimizer="adam", loss="mse", run_eagerly=True)
    inputs = {"instances": x, "mask": mask}
    before = model.get_weights()
    history = model.fit(inputs, x, batch_size=6, verbose=0)
    assert np.isfinite(history.history["loss"]).all()
    pairs = zip(before, model.get_weights(), strict=True)
    changed = sum(not np.array_equal(old, new) for old, new in pairs)
    # Attention ignores the bias of its keys.
    assert changed >= len(model.trainable_weights) - 1
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(again.redatum(x, x), model.redatum(x, x))
    np.testing.assert_array_equal(again(inputs), model(inputs))


@pytest.mark.jax
@pytest.mark.compiles
def test_masked_loss_and_step_equal_those_without_padding(tiny, x) -> None:
    """Padded groups train like the same groups without padding, for any values in it.

    With NaN in the targets, Keras's own losses would be NaN.
    """
    padded, targets = (
        np.concatenate([np.full((6, 3, 12), content, "float32"), x], axis=1)
        for content in (np.nan, 50.0)
    )
    mask = np.repeat([[False] * 3 + [True] * 4], 6, axis=0)
    plain, masked = (tiny(noise_strength=0.0) for _ in range(2))
    for model in (plain, masked):
        model.compile(keras.optimizers.SGD(0.1), "mse", run_eagerly=True)
    masked.set_weights(plain.get_weights())
    for _ in range(2):
        loss = plain.train_on_batch(x, x)
        with_padding = masked.train_on_batch(
            {"instances": padded, "mask": mask}, targets
        )
        assert with_padding == pytest.approx(loss, rel=1e-5)
    for one, other in zip(plain.get_weights(), masked.get_weights(), strict=True):
        np.testing.assert_allclose(other, one, atol=1e-5)


@pytest.mark.jax
@pytest.mark.parametrize(
    "shape", [(3, 4), pytest.param((2, 3, 2), marks=pytest.mark.compiles)]
)
def test_masked_loss_is_the_mean_over_present_instances(shape, x, mask) -> None:
    x = x.reshape(6, 4, *shape)
    model = SymAE(shape, encoder=DenseEncoder(8, units=(16,)), seed=0)
    model.compile(loss="mse", metrics=["mae"])
    inputs = {"instances": x, "mask": mask}
    error = (np.asarray(model(inputs)) - x)[mask]
    scores = model.evaluate(inputs, x, verbose=0, return_dict=True)
    assert scores["loss"] == pytest.approx(np.mean(error**2), rel=1e-5)
    assert scores["mae"] == pytest.approx(np.mean(np.abs(error)), rel=1e-5)
    assert scores["loss"] != pytest.approx(
        np.mean((np.asarray(model(inputs)) - x) ** 2)
    )


@pytest.mark.jax
@pytest.mark.parametrize("noise", NOISES)
def test_noise_acts_in_training_alone(noise, tiny, x) -> None:
    model = tiny(nuisance_noise=noise)
    np.testing.assert_array_equal(model(x), model(x, training=False))
    first, second = (np.asarray(model(x, training=True)) for _ in range(2))
    assert np.abs(first - second).max() > 1e-4
    assert (model.losses == []) == (noise != "variational")


@pytest.mark.jax
@pytest.mark.parametrize(
    ("noise", "given", "expected"),
    [
        ("gaussian", None, 0.5),
        ("gaussian", 0.2, 0.2),
        ("bernoulli", None, 0.5),
        ("additive", 0.0, 0.0),
        ("variational", None, 1e-3),
        ("variational", 0.1, 0.1),
    ],
)
def test_noise_strength(noise, given, expected, tiny) -> None:
    layer = tiny(nuisance_noise=noise, noise_strength=given).noise
    variable = layer.kl_weight if noise == "variational" else layer.strength
    assert float(variable.value) == pytest.approx(expected)


@pytest.mark.jax
def test_additive_noise_comes_with_a_bounded_code(tiny, x) -> None:
    """An unbounded code would outgrow noise of a fixed size."""
    for noise, bounded in (("additive", True), ("gaussian", False)):
        nuisance = tiny(nuisance_noise=noise).encode(x * 1e4).nuisance
        assert (np.abs(np.asarray(nuisance)).max() <= 1.0) == bounded


@pytest.mark.large
def test_fit_in_mixed_bfloat16(tiny, x) -> None:
    """The precision is set by the global policy."""
    keras.config.set_dtype_policy("mixed_bfloat16")
    model = tiny(noise_strength=0.1)
    model.compile(optimizer=keras.optimizers.Adam(1e-2), loss="mse")
    history = model.fit(x, x, batch_size=6, epochs=8, verbose=0).history["loss"]
    assert np.isfinite(history).all()
    assert history[-1] < history[0]
    assert {weight.dtype for weight in model.trainable_weights} == {"float32"}
    for part in model._flatten_layers():
        assert part.compute_dtype == "bfloat16", part.name
    assert keras.backend.standardize_dtype(model.redatum(x, x).dtype) == "bfloat16"


def test_traced_with_unknown_axes(tf, tiny, x, mask) -> None:
    """One trace is used for every number of groups and instances."""
    model = tiny()
    instances = tf.TensorSpec((None, None, 12), tf.float32)
    present = tf.TensorSpec((None, None), tf.bool)
    reconstruct = tf.function(model.reconstruct, input_signature=[instances, present])
    redatum = tf.function(
        model.redatum, input_signature=[instances, instances, present, present]
    )
    for a, b in ((slice(0, 6), slice(0, 4)), (slice(2, 5), slice(1, 4))):
        x_part, there = x[a, b], mask[a, b]
        both = x_part[::-1], x_part, there[::-1], there
        for traced, function, arguments in (
            (reconstruct, model.reconstruct, (x_part, there)),
            (redatum, model.redatum, both),
        ):
            found, expected = traced(*arguments), function(*arguments)
            np.testing.assert_allclose(found, expected, atol=1e-6)
    for function in (reconstruct, redatum):
        assert function.experimental_get_tracing_count() == 1
