"""Sparse autoencoders: what their codes are, and what dictionaries they find."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from symae_keras.layers import DenseDecoder, DenseEncoder
from symae_keras.models import SparseAutoencoder


def _linear(pixels: int, code_dim: int, decoder=None, **arguments) -> SparseAutoencoder:
    """A model with a linear decoder."""
    return SparseAutoencoder(
        (pixels,),
        code_dim,
        DenseEncoder(code_dim, units=()),
        DenseDecoder((pixels,), units=()) if decoder is None else decoder,
        **arguments,
    )


def _fit(model, x, steps=800) -> None:
    rate = keras.optimizers.schedules.CosineDecay(1e-2, decay_steps=steps)
    model.compile(keras.optimizers.Adam(rate), "mse", steps_per_execution=steps // 2)
    many = np.tile(x, (steps * 100 // len(x) // 2, 1))
    model.fit(many, many, batch_size=100, epochs=2, verbose=0)


@pytest.fixture
def dictionary(rng) -> np.ndarray:
    """Twelve atoms of length 1 in 16 pixels."""
    atoms = rng.normal(size=(12, 16))
    return atoms / np.linalg.norm(atoms, axis=1, keepdims=True)


@pytest.fixture
def sums(rng, dictionary) -> np.ndarray:
    """Sums of two atoms each."""
    active = np.stack([rng.permutation(12) < 2 for _ in range(1000)])
    return (active * rng.uniform(1, 2, active.shape) @ dictionary).astype("float32")


@pytest.mark.jax
def test_codes(rng) -> None:
    x = rng.normal(size=(50, 12)).astype("float32")

    def code(sparsity):
        return np.asarray(SparseAutoencoder((12,), 20, sparsity=sparsity).encode(x))

    assert code("l1").min() == 0.0 < code("l1").max()
    assert 0.0 < code("kl").min() < 0.5 < code("kl").max() < 1.0
    np.testing.assert_array_equal((code("top_k") != 0.0).sum(axis=1), 8)


@pytest.mark.parametrize("sparsity", ["l1", "kl"])
def test_the_penalty_is_that_of_the_code(sparsity, rng) -> None:
    x = rng.normal(size=(50, 12)).astype("float32")
    model = SparseAutoencoder(
        (12,), 20, sparsity=sparsity, sparsity_weight=0.3, target_rate=0.1
    )
    model.compile(loss="mse")
    logs = model.evaluate(x, x, batch_size=50, verbose=0, return_dict=True)
    code = np.float64(model.encode(x))
    if sparsity == "l1":
        term, expected = "l1_loss", code.sum(axis=1).mean()
    else:
        rate = code.mean(axis=0)
        term = "kl_sparsity_loss"
        expected = 0.1 * np.log(0.1 / rate) + 0.9 * np.log(0.9 / (1 - rate))
    assert logs[term] == pytest.approx(0.3 * expected.sum(), rel=1e-4)
    error = np.mean((np.asarray(model.reconstruct(x)) - x) ** 2)
    assert logs["reconstruction_loss"] == pytest.approx(error, rel=1e-4)


def test_l1_finds_the_dictionary_behind_the_data(dictionary, sums) -> None:
    unit = keras.constraints.UnitNorm(1)
    decoder = keras.layers.Dense(16, kernel_constraint=unit)
    model = _linear(16, 16, decoder, sparsity_weight=1e-2)
    _fit(model, sums)
    atoms = np.asarray(model.atoms())
    np.testing.assert_allclose(np.linalg.norm(atoms, axis=1), 1.0, rtol=1e-3)
    # For each true atom, a learned one of the same direction and sign.
    assert (atoms @ dictionary.T).max(axis=0).min() > 0.9
    active = np.asarray(model.encode(sums)) > 0.05
    assert active.sum(axis=1).mean() < 4.0
    assert np.mean((model.reconstruct(sums) - sums) ** 2) < 0.02 * sums.var()


def test_top_k_tells_data_by_few_numbers(sums) -> None:
    model = _linear(16, 16, sparsity="top_k", n_active=2)
    _fit(model, sums)
    assert np.all((np.asarray(model.encode(sums)) != 0.0).sum(axis=1) == 2)
    # Two principal components would leave more than half of the variance.
    assert np.mean((model.reconstruct(sums) - sums) ** 2) < 0.1 * sums.var()


def test_kl_holds_the_rates(sums) -> None:
    model = _linear(16, 16, sparsity="kl", sparsity_weight=0.1, target_rate=0.1)
    before = np.asarray(model.encode(sums)).mean(axis=0)
    assert before.min() > 0.3
    _fit(model, sums, steps=400)
    after = np.asarray(model.encode(sums)).mean(axis=0)
    np.testing.assert_allclose(after, 0.1, atol=0.05)


@pytest.mark.jax
def test_atoms_of_a_linear_decoder_sum_up_to_instances(rng) -> None:
    shape = (3, 4)
    normalization = keras.layers.Normalization(
        axis=(1, 2), mean=rng.normal(size=shape), variance=rng.uniform(1, 9, shape)
    )
    model = SparseAutoencoder(
        shape,
        7,
        decoder=DenseDecoder(shape, units=()),
        sparsity="top_k",
        n_active=2,
        normalization=normalization,
    )
    atoms = np.asarray(model.atoms())
    assert atoms.shape == (7, *shape)
    code = np.asarray(model.encode(rng.normal(size=(5, *shape)).astype("float32")))
    zero = np.asarray(model.decode(np.zeros((1, 7), "float32")))
    np.testing.assert_allclose(
        model.decode(code), zero + np.tensordot(code, atoms, 1), atol=1e-5
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sparsity": "kl", "target_rate": 2.0}, r"`target_rate`.*target_rate=2.0"),
        ({"sparsity": "top_k", "n_active": 9}, r"active=9.*\(None, 8\)"),
    ],
)
def test_bad_argument(arguments, message) -> None:
    with pytest.raises(ValueError, match=message):
        SparseAutoencoder((12,), **{"code_dim": 8, **arguments})
