"""Arguments of constructors: what is invalid gives one sentence, on every model."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest

from symae_keras.layers import DenseEncoder
from symae_keras.models import MODELS, VAE

_REQUIRED = {
    "instance_shape": lambda: (12,),
    "n_classes": lambda: 3,
    "autoencoder": lambda: VAE((12,), 2),
}
_VALUES = ("word", b"word", True, 2.5, -1, 256, None, np.nan, [], {}, {3}, object())
#: Which of these are valid, by arguments, or arguments of one model.
_VALID: dict[str, tuple[Any, ...]] = {
    **dict.fromkeys(("coherent_dim", "nuisance_dim", "code_dim"), (256,)),
    **dict.fromkeys(("n_active", "n_embeddings", "n_latents"), (256,)),
    **dict.fromkeys(("embedding_dim", "n_classes", "kernel_size"), (256,)),
    **dict.fromkeys(("n_directions", "seed"), (256, None)),
    **dict.fromkeys(("tied", "vae_branch", "conditional_nuisance"), (True,)),
    **dict.fromkeys(("spatial_axes", "weight_decay", "decoder"), (None,)),
    "normalization": (None,),
    "discriminator_units": ([],),
    "free_bits": (256, 2.5),
    "noise_strength": (256, 2.5, None),
    "stellar.kl_weight": (256, 2.5, None),
    "unet.n_classes": (None,),
    "unet.corruption": (None,),
}
_CASES = [
    (model, name)
    for model, cls in MODELS.items()
    for name in inspect.signature(cls).parameters
    if name != "kwargs"
]


@pytest.mark.parametrize(("model", "name"), _CASES)
def test_invalid_values(model, name) -> None:
    parameters = inspect.signature(MODELS[model]).parameters.values()
    given = {
        p.name: _REQUIRED[p.name]()
        for p in parameters
        if p.name in _REQUIRED and p.default is p.empty
    }
    usual = (256, 2.5) if name.endswith("_weight") else ()
    valid = _VALID.get(f"{model}.{name}", _VALID.get(name, usual))
    sentence = f"^Invalid value received for argument `{name}`. (Expected|`).*Received:"
    for value in _VALUES:
        if not any(type(value) is type(each) and value == each for each in valid):
            with pytest.raises(ValueError, match=sentence):
                MODELS[model](**{**given, name: value})


@pytest.mark.parametrize("model", ["vae", "wasserstein", "adversarial", "sparse"])
def test_codes_of_a_known_size(model) -> None:
    """Also with an encoder whose output could be the code."""
    with pytest.raises(ValueError, match="`code_dim`. Expected a positive integer. R"):
        MODELS[model]((12,), code_dim=None, encoder=DenseEncoder(8))
