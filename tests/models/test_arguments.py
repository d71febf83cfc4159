"""Arguments of constructors: invalid ones raise one sentence, for every model."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from conformance import constructor_arguments

from symae_keras.layers import DenseEncoder
from symae_keras.models import MODELS, VAE

_RING = [[0.6, 0.0], [0.0, 0.6], [-0.6, 0.0], [0.0, -0.6]]
_REQUIRED = {
    "instance_shape": lambda: (12,),
    "n_classes": lambda: 3,
    "autoencoder": lambda: VAE((12,), 2),
    "receivers": lambda: _RING,
}
_VALUES = ("word", b"word", True, 2.5, -1, 256, None, np.nan, [], {}, {3}, object())
#: Valid values among these, by argument or by argument of one model.
_VALID: dict[str, tuple[Any, ...]] = {
    **dict.fromkeys(("coherent_dim", "nuisance_dim", "code_dim"), (256,)),
    **dict.fromkeys(("n_active", "n_embeddings", "n_latents"), (256,)),
    **dict.fromkeys(("embedding_dim", "n_classes", "kernel_size"), (256,)),
    **dict.fromkeys(("n_directions", "seed"), (256, None)),
    **dict.fromkeys(("tied", "vae_branch", "conditional_nuisance"), (True,)),
    **dict.fromkeys(("spatial_axes", "weight_decay", "decoder"), (None,)),
    **dict.fromkeys(("normalization", "backbone"), (None,)),
    "discriminator_units": ([],),
    "free_bits": (256, 2.5),
    "noise_strength": (256, 2.5, None),
    "temperature": (256, 2.5),
    **dict.fromkeys(("velocity", "sampling", "frequency", "spacing"), (256, 2.5)),
    "radius": (256, 2.5, None),
    "contrastive.noise_strength": (256, 2.5),
    "stellar.kl_weight": (256, 2.5, None),
    "unet.n_classes": (None,),
    "unet.corruption": (None,),
}
_CASES = [
    (model, name)
    for model, cls in MODELS.items()
    for name in constructor_arguments(cls)
]


@pytest.mark.parametrize(("model", "name"), _CASES)
def test_invalid_values(model, name) -> None:
    parameters = constructor_arguments(MODELS[model]).values()
    given = {
        p.name: _REQUIRED[p.name]()
        for p in parameters
        if p.name in _REQUIRED and p.default is p.empty
    }
    if "receivers" in given:
        given["instance_shape"] = (4, 96)
    usual = (256, 2.5) if name.endswith("_weight") else ()
    valid = _VALID.get(f"{model}.{name}", _VALID.get(name, usual))
    sentence = f"^Invalid value received for argument `{name}`. (Expected|`).*Received:"
    for value in _VALUES:
        if not any(type(value) is type(each) and value == each for each in valid):
            with pytest.raises(ValueError, match=sentence):
                MODELS[model](**{**given, name: value})


_SEGMENT: dict[str, Any] = {"head": "segmentation"}
_TOP_K = {"code_dim": 8, "sparsity": "top_k", "n_active": 9}


@pytest.mark.jax
@pytest.mark.parametrize(
    ("model", "arguments", "sentence"),
    [
        ("sparse", {"target_rate": 2.0}, "`target_rate`.*target_rate=2.0"),
        ("sparse", _TOP_K, r"active=9.*\(None, 8\)"),
        ("symae", {"encoder": "resnet"}, "`encoder`.*'conv1d'.*encoder='resnet'"),
        ("symae", {"nuisance_noise": "poisson"}, "`nuisance_n.*'variational'.*'poi"),
        ("symae", {"instance_dropout": 1.0}, "0 <= instance_dropout < 1.*=1.0"),
        ("symae", {"encoder": "conv2d"}, r"2 axes.*\(12,\)"),
        (
            "symae",
            {"decoder": keras.layers.Dense(11)},
            r"`decoder` must give.*instance_shape=\(12,\).*Received: \(11,\)",
        ),
        (
            "vqvae",
            {"n_latents": None, "embedding_dim": 4, "encoder": DenseEncoder(6)},
            "embedding_dim=4.*6",
        ),
        ("unet", _SEGMENT, "head 'segmentation'.*n_classes=None, head='seg"),
        ("unet", {"n_classes": 3}, "for the head 'segmentation'.*head='denoising'"),
        ("unet", {**_SEGMENT, "n_classes": 1}, "`n_classes`.*n_classes=1"),
        ("unet", {"corruption": "blur"}, "`corruption`.*'block'.*corruption='blur'"),
        (
            "unet",
            {"head": "inpainting", "corruption": "gaussian"},
            r"one of \('block', 'masking'\).*corruption='gaussian'",
        ),
        (
            "unet",
            {**_SEGMENT, "n_classes": 2, "corruption": "block"},
            "`corruption` is for the heads 'denoising' and 'inpainting'",
        ),
        ("unet", {"spatial_axes": 3}, r"axes of pixels.*\(8, 8\), spatial_axes=3"),
        ("segnet", {"n_classes": 3}, r"`SegNet` takes.*1 to 2 axes.*\(8, 8, 8, 1\)"),
        (
            "tomographic",
            {"receivers": _RING[:3]},
            r"at least 4 traces.*instance_shape=\(4, 96\) and 3 receivers",
        ),
        # Codes of a known size, also with an encoder whose output could be the code.
        *(
            (
                model,
                {"code_dim": None, "encoder": DenseEncoder(8)},
                "`code_dim`. Expected a positive integer. R",
            )
            for model in ("vae", "wasserstein", "adversarial", "sparse")
        ),
    ],
)
def test_sentences(model, arguments, sentence) -> None:
    shapes = {"unet": (8, 8), "segnet": (8, 8, 8, 1), "tomographic": (4, 96)}
    shape = shapes.get(model, (12,))
    with pytest.raises(ValueError, match=sentence):
        MODELS[model](shape, **arguments)
