"""Autoencoders with a corruption or a penalty that prevents copying the input."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from conformance import fit, waves

from symae_keras import layers
from symae_keras.models import (
    Autoencoder,
    ContractiveAutoencoder,
    DenoisingAutoencoder,
    SparseAutoencoder,
    UNet,
)

# === Denoising ===

CORRUPTIONS = {
    "gaussian": layers.GaussianCorruption,
    "masking": layers.MaskingCorruption,
    "salt_and_pepper": layers.SaltAndPepper,
    "block": layers.BlockCorruption,
}


@pytest.mark.jax
@pytest.mark.parametrize(
    ("cls", "arguments"),
    [
        (DenoisingAutoencoder, {"instance_shape": (12,)}),
        (UNet, {"instance_shape": (13, 11, 1), "filters": (4, 6)}),
    ],
)
@pytest.mark.parametrize("name", CORRUPTIONS)
def test_corrupts_in_training_only(name, cls, arguments, rng) -> None:
    model = cls(**arguments, corruption=name, seed=3)
    x = rng.normal(size=(3, *model.instance_shape)).astype("float32")
    assert type(model.corrupt) is CORRUPTIONS[name]
    assert model.corrupt.seed == 3
    clean = np.asarray(model.reconstruct(x))
    np.testing.assert_array_equal(model(x), clean)
    np.testing.assert_array_equal(model(x, training=False), clean)
    corrupted = CORRUPTIONS[name](seed=3)(x, training=True)
    np.testing.assert_allclose(
        model(x, training=True), model.reconstruct(corrupted), rtol=1e-4, atol=1e-6
    )


@pytest.mark.jax
def test_corrupts_before_normalising(rng) -> None:
    x = rng.normal(50.0, 10.0, size=(5, 12)).astype("float32")
    normalization = keras.layers.Normalization(axis=None, mean=50.0, variance=100.0)
    corruption = layers.MaskingCorruption(rate=1.0, value=50.0)
    model = DenoisingAutoencoder(
        (12,), 4, corruption=corruption, normalization=normalization
    )
    means = np.full((5, 12), 50.0, "float32")
    np.testing.assert_allclose(model(x, training=True), model(means), rtol=1e-5)


@pytest.mark.parametrize("shape", [(8, 8), (8, 8, 1)])
def test_blocks_of_images_are_rectangles(shape) -> None:
    """The encoder determines that two axes are height and width."""
    encoders = [("conv2d", (2, 2)), (layers.Conv2DEncoder(8), (2, 2))]
    if len(shape) == 2:  # spectra with channels
        encoders.append(("conv1d", (2, 8)))
    for encoder, expected in encoders:
        model = DenoisingAutoencoder(shape, 4, encoder, corruption="block")
        blank = np.asarray(model.corrupt(np.ones((1, *shape)), training=True)) == 0.0
        blank = blank.reshape(8, 8)
        assert (blank.any(axis=1).sum(), blank.any(axis=0).sum()) == expected


@pytest.mark.large
def test_noise_is_removed(rng) -> None:
    """The error is smaller than that of a plain autoencoder of the same size."""
    x, unseen = np.split(waves(rng, 1000), 2)
    noisy = unseen + rng.normal(0.0, 0.4, unseen.shape).astype("float32")

    def error(model) -> float:
        fit(model, x)
        return float(np.mean((np.asarray(model.reconstruct(noisy)) - unseen) ** 2))

    def encoder():
        return layers.DenseEncoder(20, units=(64,))

    corruption = layers.GaussianCorruption(0.4, seed=0)
    plain = error(Autoencoder((20,), 20, encoder()))
    denoising = error(DenoisingAutoencoder((20,), 20, encoder(), corruption=corruption))
    assert denoising < 0.6 * plain
    assert denoising < 0.15 * np.mean((noisy - unseen) ** 2)


# === Contractive ===


def _rifai(**arguments) -> ContractiveAutoencoder:
    """Make a model with one hidden layer and tied weights."""
    dense = keras.layers.Dense(20, activation="sigmoid")
    decoder = layers.TiedDense(dense, (20,))
    return ContractiveAutoencoder((20,), None, dense, decoder, seed=0, **arguments)


def _jacobian(model, x) -> float:
    """Return the mean squared norm for a sigmoid layer, `|diag(s (1 - s)) W|^2`."""
    code = np.float64(model.encode(x))
    kernel = np.float64(model.encoder.kernel.value)
    return ((code * (1 - code)) ** 2 @ (kernel**2).sum(axis=0)).mean()


@pytest.mark.jax
def test_the_contraction_of_one_layer_has_a_closed_form(rng) -> None:
    x = waves(rng, 30)
    model = _rifai(penalty_weight=0.3, n_directions=None)
    model.compile(loss="mse")
    logs = model.evaluate(x, x, batch_size=30, verbose=0, return_dict=True)
    expected = 0.3 * _jacobian(model, x)
    assert logs["contractive_loss"] == pytest.approx(expected, rel=1e-3)


def test_the_contraction_is_of_normalised_instances(tf, rng) -> None:
    x = (1000.0 + 100.0 * rng.normal(size=(20, 12))).astype("float32")
    scaling = keras.layers.Normalization(axis=None, mean=1e3, variance=1e4)
    model = ContractiveAutoencoder(
        (12,), 4, penalty_weight=1.0, n_directions=None, normalization=scaling
    )
    model(x)
    normalised = tf.constant((x - 1000.0) / 100.0)
    with tf.GradientTape() as tape:
        tape.watch(normalised)
        code = model.instance_encoder(normalised)
    jacobian = tape.batch_jacobian(code, normalised).numpy()
    expected = (jacobian**2).sum(axis=(1, 2)).mean()
    assert float(np.asarray(model.losses[0])) == pytest.approx(expected, rel=1e-3)


@pytest.mark.large
def test_training_contracts_the_code(rng) -> None:
    x, unseen = waves(rng), waves(rng)
    norms, errors = [], []
    for weight in (0.0, 1e-2):
        keras.utils.set_random_seed(0)
        model = _rifai(penalty_weight=weight)
        fit(model, x)
        norms.append(_jacobian(model, unseen))
        errors.append(np.mean((np.asarray(model.reconstruct(unseen)) - unseen) ** 2))
    assert norms[1] < 0.75 * norms[0]
    assert max(errors) < 0.05 * unseen.var()


@pytest.mark.jax
def test_dropout_counts_for_the_reconstruction_only(rng) -> None:
    """The penalty uses the encoder in inference mode."""
    x = rng.normal(size=(8, 12)).astype("float32")
    first, last = (keras.layers.Dropout(0.5, seed=0) for _ in range(2))
    encoder = keras.Sequential([first, layers.DenseEncoder(6)])
    # It comes after the encoder, and must still be in training mode then.
    decoder = keras.Sequential([keras.layers.Dense(12), last])
    model = ContractiveAutoencoder((12,), 4, encoder, decoder, n_directions=None)
    model(x)
    expected = float(np.asarray(model.losses[0]))
    for _ in range(2):
        output = np.asarray(model(x, training=True))
        assert np.mean(output == 0.0) == pytest.approx(0.5, abs=0.2)
        assert float(np.asarray(model.losses[0])) == pytest.approx(expected, rel=1e-5)
    first = np.asarray(model.instance_encoder(x, training=True))
    assert np.any(first != np.asarray(model.instance_encoder(x, training=True)))


def test_tied_weights_stay_tied_in_a_file(tmp_path, rng) -> None:
    x = waves(rng, 30)
    model = _rifai()
    assert len(model.trainable_weights) == 3
    model.save(tmp_path / "tied.keras")
    again = keras.saving.load_model(tmp_path / "tied.keras")
    assert again.decoder.dense is again.encoder
    np.testing.assert_array_equal(again.reconstruct(x), model.reconstruct(x))


# === Sparse ===


def _linear(decoder=None, **arguments) -> SparseAutoencoder:
    """Make a model of 16 pixels with a code of 16 and a linear decoder."""
    encoder, decoder = (
        layers.DenseEncoder(16, ()),
        decoder or layers.DenseDecoder((16,), ()),
    )
    return SparseAutoencoder((16,), 16, encoder, decoder, **arguments)


@pytest.fixture
def dictionary(rng) -> np.ndarray:
    """Make twelve atoms of length 1 in 16 pixels."""
    atoms = rng.normal(size=(12, 16))
    return atoms / np.linalg.norm(atoms, axis=1, keepdims=True)


@pytest.fixture
def sums(rng, dictionary) -> np.ndarray:
    """Make sums of two atoms each."""
    active = np.stack([rng.permutation(12) < 2 for _ in range(1000)])
    return (active * rng.uniform(1, 2, active.shape) @ dictionary).astype("float32")


@pytest.mark.jax
def test_sparse_codes(rng) -> None:
    x = rng.normal(size=(50, 12)).astype("float32")

    def code(sparsity):
        return np.asarray(SparseAutoencoder((12,), 20, sparsity=sparsity).encode(x))

    assert code("l1").min() == 0.0 < code("l1").max()
    assert 0.0 < code("kl").min() < 0.5 < code("kl").max() < 1.0
    np.testing.assert_array_equal((code("top_k") != 0.0).sum(axis=1), 8)


@pytest.mark.parametrize("sparsity", ["l1", "kl"])
def test_the_sparsity_penalty_is_that_of_the_code(sparsity, rng) -> None:
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
    model = _linear(decoder, sparsity_weight=1e-2)
    fit(model, sums)
    atoms = np.asarray(model.atoms())
    np.testing.assert_allclose(np.linalg.norm(atoms, axis=1), 1.0, rtol=1e-3)
    # Each true atom has a learned atom with the same direction and sign.
    assert (atoms @ dictionary.T).max(axis=0).min() > 0.9
    active = np.asarray(model.encode(sums)) > 0.05
    assert active.sum(axis=1).mean() < 4.0
    assert np.mean((model.reconstruct(sums) - sums) ** 2) < 0.02 * sums.var()


def test_top_k_tells_data_by_few_numbers(sums) -> None:
    model = _linear(sparsity="top_k", n_active=2)
    fit(model, sums)
    assert np.all((np.asarray(model.encode(sums)) != 0.0).sum(axis=1) == 2)
    # Two principal components would leave more than half of the variance.
    assert np.mean((model.reconstruct(sums) - sums) ** 2) < 0.1 * sums.var()


def test_kl_holds_the_rates(sums) -> None:
    model = _linear(sparsity="kl", sparsity_weight=0.1, target_rate=0.1)
    before = np.asarray(model.encode(sums)).mean(axis=0)
    assert before.min() > 0.3
    fit(model, sums, steps=400)
    after = np.asarray(model.encode(sums)).mean(axis=0)
    np.testing.assert_allclose(after, 0.1, atol=0.05)


@pytest.mark.jax
def test_atoms_of_a_linear_decoder_sum_up_to_instances(rng) -> None:
    shape = (3, 4)
    normalization = keras.layers.Normalization(
        axis=(1, 2), mean=rng.normal(size=shape), variance=rng.uniform(1, 9, shape)
    )
    decoder, top_k = (
        layers.DenseDecoder(shape, units=()),
        {"sparsity": "top_k", "n_active": 2},
    )
    model = SparseAutoencoder(
        shape, 7, decoder=decoder, normalization=normalization, **top_k
    )
    atoms = np.asarray(model.atoms())
    assert atoms.shape == (7, *shape)
    code = np.asarray(model.encode(rng.normal(size=(5, *shape)).astype("float32")))
    zero = np.asarray(model.decode(np.zeros((1, 7), "float32")))
    np.testing.assert_allclose(
        model.decode(code), zero + np.tensordot(code, atoms, 1), atol=1e-5
    )
