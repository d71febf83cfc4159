"""Marginal likelihoods with known values: linear models with Gaussian noise."""

from __future__ import annotations

import math

import keras
import numpy as np
import pytest
from keras import ops

from symae_keras.data import GroupedData
from symae_keras.errors import InputError
from symae_keras.evaluation import negative_log_likelihood
from symae_keras.models import (
    GVAE,
    MLVAE,
    VAE,
    AdaGVAE,
    AdversarialGVAE,
    Autoencoder,
    ContrastiveEncoder,
    LatentMeanSwap,
    NeuralStatistician,
    StellarAutoencoder,
    SymAE,
    SymVAE,
)

PIXELS, INSTANCES, SCALE = 4, 3, 0.5
#: Orthogonal directions of the coherent and the nuisance code.
A, B = np.array([1.0, 1.0, 0.5, 0.0]), np.array([0.4, -0.4, 0.0, 0.8])
OFFSET = np.array([0.1, -0.2, 0.3, 0.0])


def _gaussian(x, mean, covariance) -> np.ndarray:
    """Return the negative log density of rows."""
    x = x - mean
    squares = np.einsum("ni,ni->n", x, np.linalg.solve(covariance, x.T).T)
    determinant = np.linalg.slogdet(covariance)[1]
    return 0.5 * (squares + determinant + x.shape[1] * math.log(2.0 * math.pi))


# === Single instances ===


def _linear_vae(widened: float = 1.0, **arguments) -> VAE:
    """Use the exact posterior, or one with another variance."""
    model = VAE(
        (PIXELS,),
        2,
        keras.layers.Dense(PIXELS),
        keras.layers.Dense(PIXELS),
        **arguments,
    )
    model.instance_encoder.set_weights([np.eye(PIXELS), np.zeros(PIXELS)])
    weights = np.stack([A, B])
    model.instance_decoder.set_weights([weights, OFFSET])
    variance = 1.0 / (1.0 + np.square(weights).sum(axis=1) / SCALE**2)
    kernel = np.zeros((PIXELS, 4))
    kernel[:, :2] = weights.T * variance / SCALE**2
    bias = np.r_[-OFFSET @ kernel[:, :2], np.log(widened * variance)]
    model.code_head[-1].set_weights([kernel, bias])
    return model


def _instances(rng, n=30) -> np.ndarray:
    codes, noise = rng.normal(size=(n, 2)), rng.normal(size=(n, PIXELS))
    return (codes @ np.stack([A, B]) + OFFSET + SCALE * noise).astype("float32")


COVARIANCE = np.outer(A, A) + np.outer(B, B) + SCALE**2 * np.eye(PIXELS)


@pytest.mark.jax
@pytest.mark.parametrize("n_samples", [1, 7])
def test_one_draw_of_the_exact_posterior_is_enough(n_samples, rng) -> None:
    """All weights are equal, and equal to the density."""
    x = _instances(rng)
    found = negative_log_likelihood(_linear_vae(), x, n_samples, SCALE)
    expected = _gaussian(x, OFFSET, COVARIANCE)
    np.testing.assert_allclose(found.of_each, expected, rtol=1e-4)
    np.testing.assert_allclose(found.effective, n_samples, rtol=1e-3)
    assert found.mean == pytest.approx(expected.mean(), rel=1e-4)
    assert found.per_instance == found.mean
    error = expected.std(ddof=1) / math.sqrt(len(x))
    assert found.standard_error == pytest.approx(error, rel=1e-3)


def test_another_posterior_needs_more_draws(rng) -> None:
    x, model = _instances(rng), _linear_vae(widened=3.0)
    expected = _gaussian(x, OFFSET, COVARIANCE).mean()
    one, many = (negative_log_likelihood(model, x, n, SCALE) for n in (1, 4000))
    # One draw gives the bound: too high by the divergence of the posteriors.
    gap = 2 * 0.5 * (3.0 - 1.0 - math.log(3.0))
    assert one.mean - expected == pytest.approx(gap, abs=0.8)
    assert many.mean == pytest.approx(expected, abs=0.02)
    assert 400 < many.effective.mean() < 4000


@pytest.mark.parametrize("as_groups", [False, True])
def test_bad_pixels_are_left_out(as_groups, rng) -> None:
    """The likelihood is the density of the good pixels alone."""
    x, good = _instances(rng), rng.random((30, PIXELS)) < 0.7
    good[:, 0] = True
    expected = [
        _gaussian(row[None, g], OFFSET[g], COVARIANCE[np.ix_(g, g)])[0]
        for row, g in zip(x, good, strict=True)
    ]
    broken, mask = np.where(good, x, np.nan).astype("float32"), good
    model = _linear_vae(widened=2.0)
    if as_groups:
        groups = GroupedData(
            broken.reshape(10, 3, PIXELS), pixel_mask=good.reshape(10, 3, -1)
        )
        found = negative_log_likelihood(model, groups, 3000, SCALE)
    else:
        found = negative_log_likelihood(model, broken, 3000, SCALE, mask)
    np.testing.assert_allclose(found.of_each, expected, atol=0.15)
    assert found.mean == pytest.approx(np.mean(expected), abs=0.02)


def test_bernoulli_against_an_integral(rng) -> None:
    model = VAE((PIXELS,), 1, "dense", keras.layers.Dense(PIXELS), "bernoulli", seed=0)
    slope = np.array([[2.0, -1.0, 0.5, 0.0]])
    model.instance_decoder.set_weights([slope, OFFSET])
    x = (rng.random((20, PIXELS)) < 0.5).astype("float32")
    z = np.linspace(-8.0, 8.0, 4001)[:, None]
    p = 1.0 / (1.0 + np.exp(-(z * slope + OFFSET)))
    likelihood = np.prod(np.where(x[:, None] > 0.5, p, 1.0 - p), axis=-1)
    prior = np.exp(-0.5 * z[:, 0] ** 2) / math.sqrt(2.0 * math.pi)
    expected = -np.log((likelihood * prior).sum(axis=1) * (z[1, 0] - z[0, 0]))
    found = negative_log_likelihood(model, x, 3000)
    np.testing.assert_allclose(found.of_each, expected, atol=0.15)
    assert found.mean == pytest.approx(expected.mean(), abs=0.02)
    model.instance_decoder.set_weights([0.0 * slope, 0.0 * OFFSET])
    np.testing.assert_allclose(
        negative_log_likelihood(model, x, 2000).mean, PIXELS * math.log(2.0), atol=0.02
    )


def test_the_spectra_of_a_disentangled_stellar_autoencoder(rng) -> None:
    x = rng.normal(size=(5, 16)).astype("float32")
    model = StellarAutoencoder((16,), 2, kl_weight=0.1, normalization=None, seed=0)
    found = negative_log_likelihood(model, x, 20)
    assert np.isfinite(found.of_each).all()


def test_data_units(rng) -> None:
    """A scale of data and noise that is 10 times larger adds log 10 per pixel."""
    x = _instances(rng)
    normalization = keras.layers.Normalization(axis=None, mean=0.0, variance=100.0)
    scaled = _linear_vae(normalization=normalization)
    one = negative_log_likelihood(_linear_vae(), x, 3, SCALE)
    other = negative_log_likelihood(scaled, 10.0 * x, 3, 10.0 * SCALE)
    expected = one.of_each + PIXELS * math.log(10.0)
    np.testing.assert_allclose(other.of_each, expected, rtol=1e-4)


# === Groups ===

#: Large enough for gelu to be the identity.
_FAR = 30.0
#: Mean of the latent variable per coherent code, and its variance, for learned priors.
_SLOPE, _VARIANCE = 0.7, 0.4


def _set_linear(head, kernel, bias) -> None:
    """Make a head of two layers a linear function."""
    kernel, bias = np.asarray(kernel, float), np.asarray(bias, float)
    n = len(kernel)
    first = np.zeros(head[0].kernel.shape)
    first[:n, :n] = np.eye(n)
    shift = np.where(np.arange(first.shape[1]) < n, _FAR, 0.0)
    head[0].set_weights([first, shift])
    second = np.zeros(head[1].kernel.shape)
    second[:n] = kernel
    head[1].set_weights([second, bias - _FAR * kernel.sum(axis=0)])


def _columns(*columns):
    return np.stack(columns, axis=1)


def _grouped(cls, widened: float = 1.0):
    """Return a model of `A C + B z[t] + noise` with exact posterior, T = 3."""
    options = {"seed": 0}
    if cls is SymAE:
        options["nuisance_noise"] = "variational"
    dims = (2,) if cls is AdaGVAE else (1, 1)
    networks = {
        "encoder": keras.layers.Dense(PIXELS),
        "decoder": keras.layers.Dense(PIXELS),
    }
    model = cls((PIXELS,), *dims, **networks, **options)
    model.instance_decoder.layer.set_weights([np.stack([A, B]), OFFSET])
    encoders = (
        [model.instance_encoder]
        if cls is AdaGVAE
        else [model.coherent_encoder, model.nuisance_encoder]
    )
    for each in encoders:
        each.layer.set_weights([np.eye(PIXELS), np.zeros(PIXELS)])
    zeros, log = np.zeros(PIXELS), math.log(widened)
    if cls in (SymAE, NeuralStatistician):
        _set_learned_prior(model, log)
        return model
    precision = 1.0 + INSTANCES * A @ A / SCALE**2
    slope = INSTANCES * A / SCALE**2 / precision
    variance = (INSTANCES if cls in (MLVAE, SymVAE) else 1.0) / precision
    of_group = slope, -slope @ OFFSET, math.log(variance) + log
    precision = 1.0 + B @ B / SCALE**2
    slope = B / SCALE**2 / precision
    own = slope, -slope @ OFFSET, -math.log(precision) + log
    if cls is AdaGVAE:
        kernel = _columns(of_group[0], own[0], zeros, zeros)
        _set_linear(model.head, kernel, [of_group[1], own[1], of_group[2], own[2]])
        model.sharing.divergence.assign([0.1, 1.0])
        return model
    for head, (slope, *bias) in (
        (model.coherent_head, of_group),
        (model.nuisance_head, own),
    ):
        _set_linear(head, _columns(slope, zeros), bias)
    return model


def _set_learned_prior(model, log: float) -> None:
    """The latent variable has the mean `_SLOPE C` and the variance `_VARIANCE`."""
    _set_linear(model.prior_head, [[_SLOPE, 0.0]], [0.0, math.log(_VARIANCE)])
    covariance = _VARIANCE * np.outer(B, B) + SCALE**2 * np.eye(PIXELS)
    direction = np.linalg.solve(covariance, A + _SLOPE * B)
    precision = 1.0 + INSTANCES * direction @ (A + _SLOPE * B)
    # The input of this head is the mean of the group's features.
    slope = INSTANCES * direction / precision
    kernel = _columns(slope, np.zeros(PIXELS))
    _set_linear(
        model.coherent_head, kernel, [-slope @ OFFSET, -math.log(precision) + log]
    )
    # The input of the other head is the coherent code, then the features.
    precision = 1.0 / _VARIANCE + B @ B / SCALE**2
    slope = B / SCALE**2 / precision
    of_code = _SLOPE / _VARIANCE / precision - slope @ A
    kernel = _columns(np.r_[of_code, slope], np.zeros(PIXELS + 1))
    bias = [-slope @ OFFSET, -math.log(precision) + log]
    _set_linear(model.nuisance_head, kernel, bias)


def _expected(cls, x, present) -> np.ndarray:
    """Return exact negative log densities of the present instances of each group."""
    shared, own = A, B
    if cls in (SymAE, NeuralStatistician):
        shared, own = A + _SLOPE * B, math.sqrt(_VARIANCE) * B
    covariance = np.kron(np.ones((INSTANCES, INSTANCES)), np.outer(shared, shared))
    single = np.outer(own, own) + SCALE**2 * np.eye(PIXELS)
    covariance += np.kron(np.eye(INSTANCES), single)
    flat, mean = x.reshape(len(x), -1), np.tile(OFFSET, INSTANCES)
    chosen = np.repeat(present, PIXELS, axis=1)
    return np.array(
        [
            _gaussian(row[None, c], mean[c], covariance[np.ix_(c, c)])[0]
            for row, c in zip(flat, chosen, strict=True)
        ]
    )


GROUPED = [
    *(MLVAE, SymVAE, GVAE, AdversarialGVAE, AdaGVAE, NeuralStatistician, SymAE),
]


@pytest.fixture
def x(rng) -> np.ndarray:
    codes, own = rng.normal(size=(12, 1, 1)), rng.normal(size=(12, INSTANCES, 1))
    noise = rng.normal(size=(12, INSTANCES, PIXELS))
    return (codes * A + own * B + OFFSET + SCALE * noise).astype("float32")


@pytest.mark.jax
@pytest.mark.parametrize("cls", GROUPED)
def test_groups_with_their_exact_posterior(cls, x) -> None:
    expected = _expected(cls, x, np.ones((12, INSTANCES), bool))
    found = negative_log_likelihood(_grouped(cls), x, 2, SCALE, n_instance_samples=2)
    np.testing.assert_allclose(found.of_each, expected, rtol=1e-3)
    np.testing.assert_allclose(found.effective, 2.0, rtol=1e-2)
    assert found.per_instance == pytest.approx(expected.sum() / 36, rel=1e-3)


@pytest.mark.parametrize("cls", GROUPED)
def test_absent_instances_and_another_posterior(cls, x, rng) -> None:
    present = rng.random((12, INSTANCES)) < 0.6
    present[:, 1] = True
    groups = GroupedData(np.where(present[..., None], x, np.nan), mask=present)
    model = _grouped(cls, widened=2.0)
    found = negative_log_likelihood(model, groups, 2000, SCALE, n_instance_samples=2)
    expected = _expected(cls, x, present)
    np.testing.assert_allclose(found.of_each, expected, atol=0.35)
    assert found.mean == pytest.approx(expected.mean(), abs=0.05)
    assert found.counts.tolist() == present.sum(axis=1).tolist()
    assert found.per_instance == pytest.approx(expected.sum() / present.sum(), abs=0.05)


def test_draws_of_instances_tighten_the_bound(x) -> None:
    expected = _expected(MLVAE, x, np.ones((12, INSTANCES), bool)).mean()
    model = _grouped(MLVAE, widened=4.0)

    def gap(count: int) -> float:
        found = [
            negative_log_likelihood(
                model, x, 3, SCALE, n_instance_samples=count, seed=seed
            )
            for seed in range(20)
        ]
        return float(np.mean([each.mean for each in found])) - expected

    assert 0.0 < gap(30) < 0.7 * gap(1)


def test_a_seed_repeats_the_draws(x) -> None:
    model = _grouped(GVAE, widened=2.0)
    one, again, other = (
        negative_log_likelihood(model, x, 5, SCALE, seed=seed) for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(one.of_each, again.of_each)
    assert (one.of_each != other.of_each).all()


@pytest.mark.jax
def test_posteriors_of_symae_are_those_that_training_draws_from(x) -> None:
    """Means of both codes equal the result of `encode`."""
    model = SymAE((PIXELS,), 2, 3, nuisance_noise="variational", seed=0)
    codes = model.encode(x)
    mean, _ = model.group_posterior(x)
    np.testing.assert_allclose(
        ops.convert_to_numpy(mean), ops.convert_to_numpy(codes.coherent), atol=1e-6
    )
    own, _ = model.instance_posterior(x, mean)
    np.testing.assert_allclose(
        ops.convert_to_numpy(own), ops.convert_to_numpy(codes.nuisance), atol=1e-5
    )


# === Input ===

_ROWS = np.zeros((5, PIXELS), "float32")


def _nll(model, data=_ROWS, **arguments):
    return lambda: negative_log_likelihood(model(), data, **arguments)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (_nll(lambda: Autoencoder((PIXELS,), 2)), "a Autoencoder|an? Autoencoder"),
        (_nll(lambda: SymAE((PIXELS,))), "received a SymAE without a posterior"),
        (_nll(lambda: ContrastiveEncoder((PIXELS,))), "received a ContrastiveEncoder"),
        (_nll(lambda: LatentMeanSwap(VAE((PIXELS,), 2))), "received a LatentMeanSwap"),
        (_nll(lambda: StellarAutoencoder((16,), 2)), "received a StellarAutoencoder"),
        (
            _nll(lambda: StellarAutoencoder((16,), 2, kl_weight=0.1)),
            "divides every instance by its median",
        ),
        (_nll(_linear_vae, _ROWS[:, :3]), r"\(rows, \*\(4,\)\).*shape \(5, 3\)"),
        (_nll(lambda: MLVAE((PIXELS,))), r"\(groups, instances, .*shape \(5, 4\)"),
        (_nll(_linear_vae, _ROWS[:0]), "no rows"),
        (_nll(_linear_vae, mask=np.ones(5, bool)), r"shape \(5, 4\); received \(5,\)"),
        (_nll(_linear_vae, _ROWS * np.nan), "NaN or infinity in pixels"),
        (
            _nll(lambda: VAE((PIXELS,), 2, likelihood="bernoulli"), _ROWS + 2.0),
            "from 0 to 1; received values from 2 to 2",
        ),
    ],
)
def test_wrong_input(call, sentence) -> None:
    with pytest.raises(InputError, match=sentence):
        call()


@pytest.mark.parametrize(
    "arguments", [{"n_samples": 0}, {"scale": 0.0}, {"n_instance_samples": 1.5}]
)
def test_wrong_arguments(arguments) -> None:
    (name,) = arguments
    with pytest.raises(ValueError, match=f"`{name}`"):
        negative_log_likelihood(_linear_vae(), _ROWS, **arguments)
