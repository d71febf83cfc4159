"""ML-VAE, GVAE, neural statistician and variational SymAE against closed forms.

Each test covers a mistake that occurs in public implementations.
"""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import ops

from symae_keras import layers
from symae_keras.models import GVAE, MLVAE, NeuralStatistician, SymAE

MODELS = [MLVAE, GVAE, NeuralStatistician, SymAE]
WEIGHT = 0.3


def make(cls):
    """Make a small model of one of the classes."""
    encoder = layers.DenseEncoder(8, units=(16,))
    regularisation = {"kl_weight": WEIGHT}
    if cls is SymAE:
        regularisation = {"nuisance_noise": "variational", "noise_strength": WEIGHT}
    return cls((12,), 3, 2, encoder=encoder, seed=0, **regularisation)


def _constant_head(head: list[keras.Layer], values: np.ndarray) -> None:
    """Make a head return the same numbers for all inputs: set its kernel to zero."""
    kernel, bias = head[-1].weights
    kernel.assign(ops.zeros(kernel.shape))
    bias.assign(values)


def _kl(mean, log_variance, prior_mean=0.0, prior_log_variance=0.0):
    variance, prior = np.exp(log_variance), np.exp(prior_log_variance)
    distance = (mean - prior_mean) ** 2 / prior
    return 0.5 * (variance / prior + distance - 1 - log_variance + prior_log_variance)


@pytest.mark.jax
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("cls", MODELS)
def test_the_loss_counts_the_divergence_of_a_group_once(cls, masked, x, mask) -> None:
    model = make(cls)
    m, v = np.float32([0.5, -1.0, 0.3]), np.float32([0.2, -0.7, 0.1])
    n, w = np.float32([0.4, -0.2]), np.float32([-0.3, 0.6])
    _constant_head(model.coherent_head, np.concatenate([m, v]))
    _constant_head(model.nuisance_head, np.concatenate([n, w]))
    prior_mean, prior_log_variance = np.zeros(2), np.zeros(2)
    if cls in (NeuralStatistician, SymAE):
        prior_mean, prior_log_variance = np.float32([0.1, 0.9]), np.float32([0.5, -1.0])
        values = np.concatenate([prior_mean, prior_log_variance])
        _constant_head(model.prior_head, values)
    if not masked:
        mask = np.ones((6, 4), bool)
    inputs = {"instances": x, "mask": mask} if masked else x
    count = mask.sum(axis=1, keepdims=True)
    if cls is MLVAE:  # the product of `count` equal Gaussians
        group = _kl(m, v - np.log(count))
    else:
        group = np.broadcast_to(_kl(m, v), (6, 3))
    own = _kl(n, w, prior_mean, prior_log_variance)

    model.compile(loss="mse")
    logs = model.evaluate(inputs, x, batch_size=6, verbose=0, return_dict=True)
    mse = np.mean((np.asarray(model(inputs)) - x)[mask] ** 2)
    expected = WEIGHT * group.sum() / mask.sum()
    assert logs["coherent_kl_loss"] == pytest.approx(expected, rel=1e-5)
    assert logs["nuisance_kl_loss"] == pytest.approx(WEIGHT * own.sum(), rel=1e-5)
    assert logs["reconstruction_loss"] == pytest.approx(mse, rel=1e-5)
    total = mse + expected + WEIGHT * own.sum()
    assert logs["loss"] == pytest.approx(total, rel=1e-5)


@pytest.mark.jax
@pytest.mark.parametrize("cls", MODELS)
def test_the_noise_of_a_group_is_drawn_once(cls, x) -> None:
    model = make(cls)
    # Nothing is specific to an instance, so all of a group are decoded equally.
    _constant_head(model.nuisance_head, np.float32([0.0, 0.0, -20.0, -20.0]))
    decoded = np.asarray(model(x, training=True))
    spread = np.abs(decoded - decoded[:, :1]).max()
    assert spread < 1e-3 * np.abs(decoded - np.asarray(model(x, training=True))).max()


@pytest.mark.jax
@pytest.mark.parametrize("cls", MODELS)
def test_samples_have_the_standard_deviation_of_half_the_log_variance(cls, rng) -> None:
    model = make(cls)
    log_variance = np.float32([1.0, -1.0, 0.5])
    _constant_head(model.coherent_head, np.concatenate([np.zeros(3), log_variance]))
    x = rng.normal(size=(20000, 1, 12)).astype("float32")
    codes = model._training_codes(ops.convert_to_tensor(x), None, True)
    measured = np.std(np.asarray(codes.coherent), axis=0)
    np.testing.assert_allclose(measured, np.exp(0.5 * log_variance), rtol=0.03)


@pytest.mark.parametrize("cls", MODELS)
def test_every_instance_learns_from_the_group_code(cls, x, tf) -> None:
    """Means are not detached: an error reaches all instances of the group."""
    model = make(cls)
    inputs = tf.Variable(x)
    with tf.GradientTape() as tape:
        first = tf.reduce_sum(model(inputs)[:, 0] ** 2)
    gradient = np.abs(np.asarray(tape.gradient(first, inputs)))
    assert (gradient.max(axis=-1) > 0.0).all()


@pytest.mark.jax
@pytest.mark.parametrize("cls", MODELS)
def test_absent_instances_do_not_matter(cls, x, mask) -> None:
    model = make(cls)
    garbage = np.where(mask[..., None], x, np.nan).astype("float32")
    zeros = np.where(mask[..., None], x, 0.0).astype("float32")
    codes = [model.encode(each, mask) for each in (garbage, zeros)]
    for one, other in zip(*codes, strict=True):
        np.testing.assert_array_equal(np.asarray(one), np.asarray(other))
    model.compile(loss="mse", run_eagerly=True)
    inputs = [{"instances": each, "mask": mask} for each in (garbage, zeros)]
    first, second = (model.test_on_batch(each, zeros) for each in inputs)
    assert np.isfinite(first).all()
    np.testing.assert_array_equal(first, second)


@pytest.mark.jax
def test_symae_measures_the_latent_variable_by_its_prior(x) -> None:
    one, other = make(SymAE), make(NeuralStatistician)
    other.set_weights(one.get_weights())
    codes, latent = one.encode(x), other.encode(x).nuisance
    np.testing.assert_array_equal(codes.coherent, other.encode(x).coherent)
    mean, log_variance = one._prior(codes.coherent)
    measured = (latent - mean) / ops.exp(0.5 * log_variance)
    np.testing.assert_allclose(codes.nuisance, measured, rtol=1e-4, atol=1e-5)
    # The two models are equal except for the swapped codes.
    np.testing.assert_allclose(one.reconstruct(x), other.reconstruct(x), atol=1e-5)
    assert np.abs(np.asarray(one.redatum(x, x[::-1]) - other.redatum(x, x[::-1]))).max()


@pytest.mark.jax
def test_the_original_variational_form_has_a_fixed_prior(x) -> None:
    model = SymAE((12,), 3, 2, nuisance_noise="variational", conditional_nuisance=False)
    assert model.prior_head is None
    model.compile(loss="mse")
    logs = model.evaluate(x, x, verbose=0, return_dict=True)
    assert {"coherent_kl_loss", "nuisance_kl_loss"} < set(logs)
