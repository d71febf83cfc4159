"""The encoder of the nuisance branch: a copy that is never random and frozen."""

from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np
import pytest
from keras import layers

from symae_keras.evaluation.contenders import Sizes
from symae_keras.layers import DenseEncoder
from symae_keras.models import MLVAE, SymAE


def _sequential(built: bool) -> keras.Sequential:
    first = [keras.Input((12,))] if built else []
    return keras.Sequential([*first, layers.Dense(8), layers.Dense(4)])


def _frozen(encoder: keras.Layer) -> keras.Layer:
    encoder.trainable = False
    return encoder


def _partly_frozen(encoder: keras.Sequential) -> keras.Sequential:
    encoder.layers[0].trainable = False
    return encoder


def _inside_frozen() -> keras.Layer:
    encoder = DenseEncoder(8, units=(6,))
    encoder.chain[1].trainable = False
    return encoder


def _adapted() -> keras.Sequential:
    encoder = _sequential(True)
    encoder.layers[0].enable_lora(2)
    return encoder


#: Encoders, whether both branches begin alike, and the variables that are trained.
CASES: dict[str, tuple[Callable[[], keras.Layer], bool, int]] = {
    "fresh": (lambda: _sequential(False), False, 4),
    "with weights": (lambda: _sequential(True), True, 4),
    "frozen": (lambda: _frozen(_sequential(True)), True, 0),
    "frozen, not built": (lambda: _frozen(_sequential(False)), True, 0),
    "partly frozen": (lambda: _partly_frozen(_sequential(True)), True, 2),
    "partly frozen, not built": (lambda: _partly_frozen(_sequential(False)), True, 2),
    "one of ours, frozen": (lambda: DenseEncoder(8, trainable=False), True, 0),
    "frozen inside": (_inside_frozen, True, 2),
    "adapted": (_adapted, True, 5),
}


@pytest.mark.jax
@pytest.mark.parametrize("cls", [SymAE, MLVAE])
@pytest.mark.parametrize("name", CASES)
def test_weights_of_the_copy(name, cls) -> None:
    make, alike, trained = CASES[name]
    model = cls((12,), 3, 2, encoder=make())
    own, copy = model.coherent_encoder.layer, model.nuisance_encoder.layer
    assert copy is not own
    pairs = zip(own.get_weights(), copy.get_weights(), strict=True)
    assert all(np.array_equal(a, b) for a, b in pairs) == alike
    assert len(own.trainable_variables) == len(copy.trainable_variables) == trained


def test_comparisons_copy_weights_too() -> None:
    encoder = _frozen(_sequential(True))
    copy = Sizes(encoder=encoder).copy_of_encoder()
    assert copy is not encoder and copy.trainable_variables == []
    for one, other in zip(encoder.get_weights(), copy.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_saved_models_keep_both(x, tmp_path) -> None:
    model = SymAE((12,), 3, 2, encoder=_frozen(_sequential(True)))
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(again.reconstruct(x), model.reconstruct(x))
    assert again.nuisance_encoder.trainable_variables == []


class WithoutConfig(keras.Model):
    """Its argument is no plain value, which Keras could keep by itself."""

    def __init__(self, net: keras.Layer) -> None:
        super().__init__()
        self.net = net

    def call(self, x):
        return self.net(x)


class LosesItsArgument(keras.Layer):
    def __init__(self, units: int = 4, **kwargs) -> None:
        super().__init__(**kwargs)
        self.net = layers.Dense(units)

    def build(self, input_shape) -> None:
        self.net.build(input_shape)

    def call(self, x):
        return self.net(x)

    def get_config(self):
        return super().get_config()


def _loses() -> keras.Layer:
    encoder = LosesItsArgument(7)
    encoder.build((None, 12))
    return encoder


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: WithoutConfig(layers.Dense(4)), "WithoutConfig"),
        (
            lambda: keras.Sequential([layers.Lambda(lambda x: 2.0 * x)]),
            "Sequential.*`Lambda`",
        ),
        (_loses, r"LosesItsArgument.*\(12, 7\).*\(12, 4\)"),
    ],
)
def test_what_cannot_be_copied_is_an_error(make, reason) -> None:
    with pytest.raises(ValueError, match=f"used more than once.*{reason}"):
        SymAE((12,), 3, 2, encoder=make())
