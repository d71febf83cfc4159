"""The contractive autoencoder and its penalty."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from symae_keras.layers import DenseEncoder, TiedDense
from symae_keras.models import ContractiveAutoencoder


def _curves(rng, n=500) -> np.ndarray:
    """Waves of 20 pixels with a phase and an amplitude of their own."""
    phase, amplitude = rng.uniform(-1.0, 1.0, size=(2, n, 1))
    wave = np.sin(2 * np.pi * (np.linspace(0, 1, 20) + phase / 2))
    return (wave * (1 + amplitude / 2)).astype("float32")


def _rifai(**arguments) -> ContractiveAutoencoder:
    """One hidden layer with tied weights."""
    dense = keras.layers.Dense(20, activation="sigmoid")
    decoder = TiedDense(dense, (20,))
    return ContractiveAutoencoder((20,), None, dense, decoder, seed=0, **arguments)


def _jacobian(model, x) -> float:
    """Mean squared norm for a sigmoid layer, `|diag(s (1 - s)) W|^2`."""
    code = np.float64(model.encode(x))
    kernel = np.float64(model.encoder.kernel.value)
    return ((code * (1 - code)) ** 2 @ (kernel**2).sum(axis=0)).mean()


@pytest.mark.jax
def test_the_penalty_of_one_layer_has_a_closed_form(rng) -> None:
    x = _curves(rng, 30)
    model = _rifai(penalty_weight=0.3, n_directions=None)
    model.compile(loss="mse")
    logs = model.evaluate(x, x, batch_size=30, verbose=0, return_dict=True)
    expected = 0.3 * _jacobian(model, x)
    assert logs["contractive_loss"] == pytest.approx(expected, rel=1e-3)


def test_the_penalty_is_of_normalised_instances(tf, rng) -> None:
    x = (1000.0 + 100.0 * rng.normal(size=(20, 12))).astype("float32")
    normalization = keras.layers.Normalization(axis=None, mean=1e3, variance=1e4)
    model = ContractiveAutoencoder(
        (12,),
        4,
        penalty_weight=1.0,
        n_directions=None,
        normalization=normalization,
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
    x, unseen = _curves(rng), _curves(rng)
    norms, errors = [], []
    for weight in (0.0, 1e-2):
        keras.utils.set_random_seed(0)
        model = _rifai(penalty_weight=weight)
        rate = keras.optimizers.schedules.CosineDecay(1e-2, decay_steps=800)
        model.compile(keras.optimizers.Adam(rate), "mse", steps_per_execution=400)
        many = np.tile(x, (80, 1))
        model.fit(many, many, batch_size=100, epochs=2, verbose=0)
        norms.append(_jacobian(model, unseen))
        errors.append(np.mean((np.asarray(model.reconstruct(unseen)) - unseen) ** 2))
    assert norms[1] < 0.75 * norms[0]
    assert max(errors) < 0.05 * unseen.var()


@pytest.mark.jax
def test_dropout_counts_for_the_reconstruction_only(rng) -> None:
    """The penalty takes the encoder as it is outside of training."""
    x = rng.normal(size=(8, 12)).astype("float32")

    def dropping():
        return keras.Sequential([keras.layers.Dropout(0.5, seed=0), DenseEncoder(6)])

    model = ContractiveAutoencoder(
        (12,),
        4,
        encoder=dropping(),
        # Comes after the encoder, and must still be in training then.
        decoder=keras.Sequential(
            [keras.layers.Dense(12), keras.layers.Dropout(0.5, seed=0)]
        ),
        n_directions=None,
    )
    model(x)
    expected = float(np.asarray(model.losses[0]))
    for _ in range(2):
        output = np.asarray(model(x, training=True))
        assert np.mean(output == 0.0) == pytest.approx(0.5, abs=0.2)
        assert float(np.asarray(model.losses[0])) == pytest.approx(expected, rel=1e-5)
    first = np.asarray(model.instance_encoder(x, training=True))
    assert np.any(first != np.asarray(model.instance_encoder(x, training=True)))


def test_tied_weights_stay_tied_in_a_file(tmp_path, rng) -> None:
    x = _curves(rng, 30)
    model = _rifai()
    assert len(model.trainable_weights) == 3
    model.save(tmp_path / "tied.keras")
    again = keras.saving.load_model(tmp_path / "tied.keras")
    assert again.decoder.dense is again.encoder
    np.testing.assert_array_equal(again.reconstruct(x), model.reconstruct(x))
