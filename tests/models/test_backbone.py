"""The linear backbone of SymAE: closed forms, loss, training and files."""

from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np
import pytest
from keras import ops

from symae_keras.classical import LinearMixedModel
from symae_keras.data import GroupedData
from symae_keras.errors import InputError
from symae_keras.layers import (
    DenseDecoder,
    DenseEncoder,
    LinearBackbone,
    Standardization,
)
from symae_keras.losses import RelativeMeanSquaredError
from symae_keras.models import ContrastiveEncoder, SymAE
from symae_keras.training import Training, normalization, train

pytestmark = pytest.mark.jax


def _numpy(tensor) -> np.ndarray:
    return ops.convert_to_numpy(tensor)


def groups_of(
    seed: int = 0, n_groups: int = 30, n_instances: int = 4, noise: float = 0.1
) -> np.ndarray:
    """Make data with two numbers of state and two of nuisance on 12 pixels around 3."""
    rng = np.random.default_rng(seed)
    state = rng.normal(size=(n_groups, 1, 2)) @ rng.normal(size=(2, 12))
    nuisance = rng.normal(size=(n_groups, n_instances, 2)) @ rng.normal(size=(2, 12))
    rest = noise * rng.normal(size=(n_groups, n_instances, 12))
    return (3.0 + state + nuisance + rest).astype("float32")


@pytest.fixture(scope="module")
def linear() -> Callable[..., SymAE]:
    """Return a function that makes a small model with a backbone."""

    def make(**arguments) -> SymAE:
        arguments = {
            "coherent_dim": 2,
            "nuisance_dim": 2,
            "encoder": DenseEncoder(8, units=(16,)),
            "normalization": normalization(GroupedData(groups_of())),
            "backbone": "linear",
            "seed": 0,
            **arguments,
        }
        return SymAE((12,), **arguments)

    return make


# === Closed forms ===


@pytest.mark.parametrize("whitening", [0.0, 0.5, 1.0])
def test_coordinates(whitening) -> None:
    x = groups_of(noise=0.3)
    layer = LinearBackbone((12,), 2, 2)
    layer.adapt(x, whitening=whitening)
    z = _numpy(layer.coordinates(x))
    np.testing.assert_allclose(layer.instances(z), x, atol=1e-4)
    centred = x.reshape(-1, 12) - x.mean(axis=(0, 1))
    assert np.mean(z**2) == pytest.approx(np.mean(centred**2), rel=1e-4)
    before, axes = np.linalg.eigh(centred.T @ centred / len(centred))
    spread = np.sqrt(before)
    softened = spread / (spread + 0.05 * spread.max()) ** whitening
    softened *= np.sqrt(np.sum(before) / np.sum(softened**2))
    rows = z.reshape(-1, 12)
    np.testing.assert_allclose(
        axes.T @ (rows.T @ rows / len(rows)) @ axes, np.diag(softened**2), atol=1e-3
    )


def test_full_codes_start_at_the_linear_mixed_model() -> None:
    x = groups_of()
    layer = LinearBackbone((12,), 12, 12)
    layer.adapt(x)
    z = _numpy(layer.coordinates(x)).astype("float64")
    reference = LinearMixedModel().fit(GroupedData(z))
    codes = reference.encode(z)
    coherent = layer.coherent(z)
    nuisance = layer.nuisance(z, coherent)
    np.testing.assert_allclose(_numpy(layer.decode(coherent, nuisance)), z, atol=1e-3)
    swapped = layer.decode(ops.flip(coherent, axis=0), nuisance)
    expected = reference.decode(codes.coherent[::-1], codes.nuisance)
    np.testing.assert_allclose(_numpy(swapped), expected, atol=1e-2)


def test_small_codes_start_at_the_main_components_of_the_model() -> None:
    x = groups_of()
    layer = LinearBackbone((12,), 2, 2, conditional_nuisance=False)
    layer.adapt(x)
    z = _numpy(layer.coordinates(x)).astype("float64")
    model = LinearMixedModel().fit(GroupedData(z))
    between, within = model.between_, model.within_
    for signal, noise, start in (
        (between, within / 4, lambda code: (code, ops.zeros((30, 1, 2)))),
        (within, between, lambda code: (ops.zeros((30, 2)), code)),
    ):
        guess = (z - model.mean_) @ np.linalg.solve(signal + noise, signal)
        if signal is between:
            guess = guess.mean(axis=1, keepdims=True)
            code = layer.coherent(z)
        else:
            code = layer.nuisance(z, layer.coherent(z))
        predicted = signal @ np.linalg.solve(signal + noise, signal)
        axes = np.linalg.eigh(predicted)[1][:, -2:]
        zero = _numpy(layer.decode(*start(ops.zeros_like(code))))
        found = _numpy(layer.decode(*start(code))) - zero
        expected = guess @ axes @ axes.T
        spread = expected - expected.mean(axis=0)
        np.testing.assert_allclose(found - found.mean(axis=0), spread, atol=1e-2)


def test_instance_dropout_makes_the_start_more_cautious() -> None:
    """A state from fewer instances is less certain, so it is shrunk more."""
    x = groups_of(noise=0.5)
    sizes = []
    for share in (0.0, 0.5, 0.9):
        layer = LinearBackbone((12,), 2, 2)
        layer.adapt(x, instance_dropout=share)
        z = layer.coordinates(x)
        zero = ops.zeros((30, 1, 2))
        state = _numpy(layer.decode(layer.coherent(z), zero))
        sizes.append(float(np.var(state, axis=0).sum()))
    assert sizes[0] > sizes[1] > sizes[2]


@pytest.mark.parametrize("conditional", [True, False])
def test_training_starts_at_the_linear_answer(conditional, linear) -> None:
    """A linear data set is reconstructed and redatumed well before any training."""
    rng = np.random.default_rng(0)
    mix = rng.normal(size=(2, 2, 12))
    state, nuisance = rng.normal(size=(60, 1, 2)), rng.normal(size=(60, 4, 2))
    x = (3.0 + state @ mix[0] + nuisance @ mix[1]).astype("float32")
    model = linear(conditional_nuisance=conditional)
    model.adapt_backbone(x)
    error = _numpy(model.reconstruct(x)) - x
    assert np.mean(error**2) < 0.02 * np.var(x)
    truth = 3.0 + state[::-1] @ mix[0] + nuisance @ mix[1]
    error = _numpy(model.redatum(x[::-1], x)) - truth
    assert np.mean(error**2) < 0.05 * np.var(truth)
    normalized = super(SymAE, model)._normalize(ops.convert_to_tensor(x))
    by_layer = model.linear(normalized)
    expected = super(SymAE, model)._denormalize(by_layer)
    np.testing.assert_allclose(model.reconstruct(x), expected, atol=1e-4)


def test_a_start_beyond_the_rank_is_finite(linear) -> None:
    x = groups_of(n_groups=3, n_instances=2)
    model = SymAE((12,), 16, 14, backbone="linear", seed=0)
    model.adapt_backbone(x)
    np.testing.assert_allclose(model.reconstruct(x), x, atol=0.1)


# === Masks ===


def test_padding_does_not_count(linear) -> None:
    x = groups_of()
    wide = np.full((30, 7, 12), np.nan, "float32")
    wide[:, [1, 2, 5, 6]] = x
    mask = np.zeros(wide.shape[:2], bool)
    mask[:, [1, 2, 5, 6]] = True
    plain, padded = linear(), linear()
    plain.adapt_backbone(x)
    padded.adapt_backbone(GroupedData(wide, mask=mask))
    for one, other in zip(plain.linear.weights, padded.linear.weights, strict=True):
        np.testing.assert_allclose(np.abs(other), np.abs(one), atol=1e-3)


def test_groups_of_any_sizes_and_bad_pixels(linear) -> None:
    x = groups_of(n_groups=60, noise=0.0)
    rng = np.random.default_rng(0)
    good = rng.random(x.shape) < 0.97
    good[:, 1:] &= rng.random((60, 3, 1)) < 0.6
    model = linear()
    model.adapt_backbone(GroupedData(np.where(good, x, np.nan), pixel_mask=good))
    error = _numpy(model.reconstruct(x)) - x
    assert np.mean(error**2) < 0.1 * np.var(x)


# === Loss ===


def test_loss_is_in_the_coordinates(linear) -> None:
    x = groups_of()
    model = linear(normalization=Standardization(3.0, 2.0))
    model.adapt_backbone(x)
    model.linear.nuisance_decoder.bias.assign(np.arange(12.0))
    model.compile(loss=RelativeMeanSquaredError(4.0), metrics=["mse"])
    logs = model.evaluate(x, x, verbose=0, return_dict=True)
    difference = _numpy(model.reconstruct(x)) - x
    zero = np.zeros_like(x)
    inside = model.linear.coordinates(difference / 2.0) - model.linear.coordinates(zero)
    assert logs["loss"] == pytest.approx(np.mean(_numpy(inside) ** 2), rel=1e-4)
    assert logs["mse"] == pytest.approx(np.mean(difference**2), rel=1e-4)


def test_loss_before_adaption_is_the_plain_one(linear) -> None:
    x = groups_of()
    model = linear()
    model.compile(loss="mse")
    expected = np.mean((_numpy(model.reconstruct(x)) - x) ** 2)
    assert model.evaluate(x, x, verbose=0) == pytest.approx(expected, rel=1e-4)


def test_pixels_of_no_weight_do_not_count(linear) -> None:
    x = groups_of()
    model = linear()
    model.adapt_backbone(x)
    model.linear.nuisance_decoder.bias.assign(np.ones(12))
    model.compile(loss=RelativeMeanSquaredError())
    weights = np.ones_like(x)
    plain = model.evaluate(x, x, verbose=0)
    same = model.evaluate(x, x, sample_weight=weights, verbose=0)
    assert same == pytest.approx(plain, rel=1e-4)
    weights[..., 3] = 0.0
    y = x.copy()
    losses = []
    for value in (0.0, 1e3):
        y[..., 3] = value
        losses.append(model.evaluate(x, y, sample_weight=weights, verbose=0))
    assert losses[0] == pytest.approx(losses[1], rel=1e-2)
    assert losses[0] != pytest.approx(plain, rel=1e-2)


def test_masked_instances_do_not_count_in_the_loss(linear) -> None:
    x = groups_of()
    model = linear()
    model.adapt_backbone(x)
    model.linear.nuisance_decoder.bias.assign(np.ones(12))
    model.compile(loss="mse")
    expected = model.evaluate(x, x, verbose=0)
    wide = np.concatenate([x, 50.0 + x], axis=1)
    mask = np.repeat([[True] * 4 + [False] * 4], 30, axis=0)
    inputs = {"instances": wide, "mask": mask}
    assert model.evaluate(inputs, wide, verbose=0) == pytest.approx(expected, rel=1e-4)


# === Training and files ===


def test_every_weight_moves(linear) -> None:
    """The networks get gradients one step after their last layers, which start at 0."""
    x = groups_of(noise=0.3)
    model = linear(instance_dropout=0.5)
    model.adapt_backbone(x)
    model.compile(keras.optimizers.SGD(0.1), "mse", run_eagerly=True)
    model.train_on_batch(x, x)
    before = [_numpy(each.value) for each in model.trainable_variables]
    model.train_on_batch(x, x)
    for variable, old in zip(model.trainable_variables, before, strict=True):
        assert np.abs(_numpy(variable.value) - old).max() > 0.0, variable.path


def test_train_adapts_once(linear, tmp_path) -> None:
    groups = GroupedData(groups_of())
    model = linear()
    training = Training(epochs=1, weight_decay=0.1)
    history = train(model, groups, training).history
    assert model.linear.is_adapted
    # The error of the linear solution is about the noise.
    assert history["loss"][0] < 0.5
    assert model.optimizer.weight_decay == 0.1
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert again.linear.is_adapted
    x = groups.x
    np.testing.assert_array_equal(
        _numpy(again.redatum(x, x)), _numpy(model.redatum(x, x))
    )
    kernel = _numpy(again.linear.state_read_out.kernel.value)
    train(again, groups, Training(epochs=1, learning_rate=1e-9))
    assert not getattr(again.optimizer, "weight_decay", None)
    found = _numpy(again.linear.state_read_out.kernel.value)
    np.testing.assert_allclose(found, kernel, atol=1e-6)


@pytest.mark.parametrize("single", ["coherent_dim", "nuisance_dim"])
def test_muon_trains_codes_of_one_number(single, linear) -> None:
    """Kernels are single rows; their length may be unknown in a TensorFlow graph."""
    model = linear(**{single: 1})
    train(model, GroupedData(groups_of()), Training(epochs=1, optimizer="muon"))
    # The gain starts at 0.
    assert np.abs(_numpy(model.linear.gain.kernel.value)).max() > 0.0


def test_a_decoder_with_weights_keeps_them(linear) -> None:
    decoder = DenseDecoder((12,), units=(5,))
    decoder.build((None, 4))
    before = decoder.get_weights()
    model = linear(decoder=decoder)
    for one, other in zip(before, model.instance_decoder.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


# === Errors ===


@pytest.mark.parametrize("noise", ["additive", "variational"])
def test_noise_that_scales_codes_is_refused(noise, linear) -> None:
    with pytest.raises(ValueError, match=f"={noise!r}.*'gaussian' or 'bernoulli'"):
        linear(nuisance_noise=noise)


def test_codes_on_a_sphere_have_no_backbone() -> None:
    with pytest.raises(ValueError, match="`backbone`.*None, because codes on a sphere"):
        ContrastiveEncoder((8,), 2, 2, backbone="linear")


def test_whitening_beyond_its_range_is_refused(linear) -> None:
    with pytest.raises(ValueError, match="0 <= whitening <= 1.*Received: .*=1.5"):
        linear().adapt_backbone(groups_of(), whitening=1.5)


def test_models_without_backbone_cannot_adapt(linear) -> None:
    with pytest.raises(ValueError, match="make it with `backbone='linear'`"):
        linear(backbone=None).adapt_backbone(groups_of())


@pytest.mark.parametrize("equal", [True, False])
def test_groups_without_differences_are_refused(equal, linear) -> None:
    x = groups_of()[:, :1]
    if equal:
        x = np.repeat(x, 3, axis=1)
    with pytest.raises(InputError, match="two instances that differ"):
        linear().adapt_backbone(x)


def test_a_decoder_without_kernel_is_refused(linear) -> None:
    class Sums(keras.layers.Layer):
        def call(self, inputs):
            return ops.concatenate([inputs, inputs, inputs], axis=-1)

    with pytest.raises(ValueError, match="`decoder`.*has a kernel"):
        linear(decoder=Sums())
