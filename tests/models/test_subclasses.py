"""Subclasses with constructors of their own: configs hold all of their arguments."""

from __future__ import annotations

import json
from typing import Any

import keras
import numpy as np
import pytest

from symae_keras.layers import DenseEncoder, Standardization
from symae_keras.models import VAE, NeuralStatistician, SymAE

register = keras.saving.register_keras_serializable(package="tests")


@register
class Keyword(SymAE):
    """In Keras's idiom."""

    def __init__(self, instance_shape: Any, extra: int = 1, **kwargs: Any) -> None:
        super().__init__(instance_shape, **kwargs)
        self.extra = extra

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "extra": self.extra}


@register
class Passing(SymAE):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)


@register
class First(SymAE):
    def __init__(self, units: int, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, encoder=DenseEncoder(8, units=(units,)), **kwargs)


@register
class Second(First):
    def __init__(self, *args: Any, more: int = 2, **options: Any) -> None:
        options.setdefault("nuisance_dim", 2)
        super().__init__(*args, **options)


@register
class Inherited(NeuralStatistician):
    pass


@register
class Unnamed(VAE):
    def __init__(self, pixels: int, /, **kwargs: Any) -> None:
        super().__init__((pixels,), **kwargs)


_MEAN = Standardization(1000.0, 50.0)

CASES: dict[str, tuple[type[SymAE], tuple[Any, ...], dict[str, Any]]] = {
    "keyword": (
        Keyword,
        ((12,), 7),
        {"normalization": _MEAN, "noise_strength": 0.9, "seed": 1},
    ),
    "passing": (Passing, ((12,), 3), {"nuisance_dim": 2, "noise_strength": 0.9}),
    "first": (First, (5, (12,), 3), {"noise_strength": 0.9}),
    "second": (Second, (5, (12,), 3), {"more": 4, "pooling": "attention"}),
    "inherited": (Inherited, ((12,), 3), {"kl_weight": 0.1, "pooling": "attention"}),
}
NAMES = {
    "keyword": {"extra": 7},
    "passing": {"coherent_dim": 3},
    "first": {"units": 5, "coherent_dim": 3},
    "second": {"units": 5, "coherent_dim": 3, "more": 4},
    "inherited": {"coherent_dim": 3},
}


@pytest.mark.jax
@pytest.mark.parametrize("name", CASES)
def test_nothing_is_lost(name, x, tmp_path) -> None:
    cls, args, kwargs = CASES[name]
    model = cls(*args, **kwargs)
    config = model.get_config()
    for key, value in (NAMES[name] | kwargs).items():
        if key != "normalization":
            assert config[key] == value
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert type(again) is cls
    assert again.noise_strength == model.noise_strength
    assert json.dumps(again.get_config()) == json.dumps(config)
    np.testing.assert_array_equal(again.reconstruct(x), model.reconstruct(x))


def test_what_cannot_be_given_by_name_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"Unnamed cannot hold.*'pixels'.*override"):
        Unnamed(12).get_config()
