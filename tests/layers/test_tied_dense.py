"""A decoder on the kernel of its encoder."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from symae_keras.layers import TiedDense


@pytest.mark.jax
def test_transposed_kernel(rng) -> None:
    dense = keras.layers.Dense(4)
    decoder = TiedDense(dense, (3, 2))
    code = rng.normal(size=(5, 4)).astype("float32")
    decoder(code)
    decoder.bias.assign(np.arange(6.0))
    expected = code @ np.asarray(dense.kernel.value).T + np.arange(6.0)
    np.testing.assert_allclose(decoder(code), expected.reshape(5, 3, 2), rtol=1e-5)


def test_the_kernel_is_still_shared_after_reloading(tmp_path, rng) -> None:
    x = rng.normal(size=(8, 6)).astype("float32")
    inputs = keras.Input((6,))
    dense = keras.layers.Dense(4)
    model = keras.Model(inputs, TiedDense(dense, (6,))(dense(inputs)))
    assert len(model.trainable_weights) == 3
    model.save(tmp_path / "tied.keras")
    again = keras.saving.load_model(tmp_path / "tied.keras")
    np.testing.assert_array_equal(again(x), model(x))
    again.compile("sgd", "mse")
    again.fit(x, x, verbose=0)
    assert len(again.trainable_weights) == 3
    assert again.layers[1].kernel is again.layers[2].dense.kernel


def test_bad_argument() -> None:
    with pytest.raises(ValueError, match=r"`dense`.*Expected a keras.layers.Dense"):
        TiedDense(keras.layers.Flatten(), (3,))
    with pytest.raises(ValueError, match=r"of 6 numbers.*\(2, 5\).*\(6, 4\)"):
        TiedDense(keras.layers.Dense(4), (3, 2))(np.ones((2, 5)))
