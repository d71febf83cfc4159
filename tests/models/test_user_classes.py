"""User-defined layers and encoders, subclasses of models, and invalid inputs."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from keras import ops
from keras.layers import Dense

from symae_keras import layers
from symae_keras.evaluation.contenders import Sizes
from symae_keras.models import MLVAE, VAE, NeuralStatistician, SymAE

register = keras.saving.register_keras_serializable(package="tests")


@register
class LargestInstance(keras.layers.Layer):
    """Custom pooling that selects the instance with the largest sum."""

    def __init__(self, **kwargs) -> None:
        super().__init__(**kwargs)
        self.supports_masking = True
        self.received_masks: list[bool] = []

    def build(self, input_shape) -> None:
        pass

    def call(self, features, mask=None):
        self.received_masks.append(mask is not None)
        score = ops.sum(features, axis=-1)
        if mask is not None:
            score = ops.where(mask, score, -1e9)
        chosen = ops.one_hot(ops.argmax(score, axis=1), ops.shape(features)[1])
        return ops.sum(features * ops.expand_dims(chosen, -1), axis=1)

    def compute_output_shape(self, input_shape):
        return (input_shape[0], input_shape[-1])

    def compute_mask(self, inputs, previous_mask):
        return None


@register
class OnlyCall(keras.Model):
    """Minimal Keras model: no `build`, no output shape."""

    def __init__(self, units: int, **kwargs) -> None:
        super().__init__(**kwargs)
        self.units = units
        self.dense = Dense(units, activation="gelu")

    def call(self, inputs):
        return self.dense(inputs)

    def get_config(self):
        return {**super().get_config(), "units": self.units}


def _functional() -> keras.Model:
    inputs = keras.Input((12,))
    hidden = Dense(8, activation="gelu")(inputs)
    return keras.Model(inputs, keras.layers.Add()([hidden, hidden]))


def _sequential(*chain: keras.Layer | keras.KerasTensor) -> keras.Sequential:
    return keras.Sequential(list(chain))


# Encoders without `mirror` that return features of rank 2 and 3, and other layers.
LAYERS = {
    "layer": lambda: {"encoder": Dense(5, activation="tanh")},
    "sequential": lambda: {
        "encoder": _sequential(
            keras.layers.Reshape((12, 1)), keras.layers.Conv1D(3, 5, strides=2)
        )
    },
    "built": lambda: {"encoder": _sequential(keras.Input((12,)), Dense(5))},
    "functional": lambda: {"encoder": _functional()},
    "subclassed": lambda: {"encoder": OnlyCall(5), "decoder": OnlyCall(12)},
    "decoder": lambda: {"decoder": _sequential(Dense(7, activation="gelu"), Dense(12))},
    "pooling": lambda: {"pooling": LargestInstance()},
    "noise": lambda: {"nuisance_noise": keras.layers.GaussianDropout(0.3, seed=0)},
}


@pytest.mark.jax
@pytest.mark.parametrize("kind", LAYERS)
def test_layers_of_the_user(kind, x, mask, tmp_path) -> None:
    given = LAYERS[kind]()
    model = SymAE((12,), 3, 2, **given)
    own, copy = model.coherent_encoder.layer, model.nuisance_encoder.layer
    decoder = model.instance_decoder.layer
    used = {"encoder": own, "decoder": decoder, "pooling": model.pool}
    used["nuisance_noise"] = model.noise
    assert all(used[name] is layer for name, layer in given.items())
    # The nuisance branch has a separate network of the same kind.
    assert type(copy) is type(own)
    assert not {id(w) for w in own.weights} & {id(w) for w in copy.weights}
    assert [w.shape for w in own.weights] == [w.shape for w in copy.weights]
    assert own.trainable_weights and decoder.trainable_weights
    assert isinstance(decoder, layers.DenseDecoder) == ("decoder" not in given)
    if kind == "noise":
        assert np.abs(np.asarray(model(x, training=True) - model(x))).max() > 1e-4
    model.compile(optimizer="adam", loss="mse", run_eagerly=True)
    history = model.fit(x, x, batch_size=6, verbose=0)
    assert np.isfinite(history.history["loss"][0])
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(again.redatum(x, x), model.redatum(x, x))
    # JSON has no tuples, so the two are compared as JSON.
    assert json.dumps(again.get_config()) == json.dumps(model.get_config())
    if kind == "pooling":
        model.pool.received_masks.clear()
        spoiled = np.where(mask[..., None], x, 1e3)
        codes = [model.encode(each, mask).coherent for each in (spoiled, x)]
        np.testing.assert_allclose(*codes, atol=1e-5)
        assert model.pool.received_masks == [True, True]


@pytest.mark.jax
@pytest.mark.parametrize(
    ("name", "kinds"),
    [
        ("dense", (layers.DenseEncoder, layers.DenseDecoder)),
        ("conv1d", (layers.Conv1DEncoder, layers.Conv1DDecoder)),
        ("conv2d", (layers.Conv2DEncoder, layers.Conv2DDecoder)),
    ],
)
def test_named_encoders_and_their_mirrors(name, kinds, rng) -> None:
    shape = (6, 5, 1) if name == "conv2d" else (11,)
    model = SymAE(shape, encoder=name)
    encoder, decoder = model.coherent_encoder.layer, model.instance_decoder.layer
    assert (type(encoder), type(decoder)) == kinds
    x = rng.normal(size=(2, 3, *shape)).astype("float32")
    assert model.reconstruct(x).shape == x.shape


# === The encoder of the nuisance branch: a copy ===


def _dense(built: bool) -> keras.Sequential:
    first = [keras.Input((12,))] if built else []
    return _sequential(*first, Dense(8), Dense(4))


def _frozen(encoder: keras.Layer) -> keras.Layer:
    encoder.trainable = False
    return encoder


def _partly_frozen(encoder: keras.Sequential) -> keras.Sequential:
    encoder.layers[0].trainable = False
    return encoder


def _inside_frozen() -> keras.Layer:
    encoder = layers.DenseEncoder(8, units=(6,))
    encoder.chain[1].trainable = False
    return encoder


def _adapted() -> keras.Sequential:
    encoder = _dense(True)
    encoder.layers[0].enable_lora(2)
    return encoder


#: Encoders, whether both branches start with equal weights, and trained variables.
ENCODERS: dict[str, tuple[Callable[[], keras.Layer], bool, int]] = {
    "fresh": (lambda: _dense(False), False, 4),
    "with weights": (lambda: _dense(True), True, 4),
    "frozen": (lambda: _frozen(_dense(True)), True, 0),
    "frozen, not built": (lambda: _frozen(_dense(False)), True, 0),
    "partly frozen": (lambda: _partly_frozen(_dense(True)), True, 2),
    "partly frozen, not built": (lambda: _partly_frozen(_dense(False)), True, 2),
    "one of ours, frozen": (lambda: layers.DenseEncoder(8, trainable=False), True, 0),
    "frozen inside": (_inside_frozen, True, 2),
    "adapted": (_adapted, True, 5),
}


@pytest.mark.jax
@pytest.mark.parametrize("cls", [SymAE, MLVAE])
@pytest.mark.parametrize("name", ENCODERS)
def test_weights_of_the_copy(name, cls) -> None:
    make, alike, trained = ENCODERS[name]
    model = cls((12,), 3, 2, encoder=make())
    own, copy = model.coherent_encoder.layer, model.nuisance_encoder.layer
    assert copy is not own
    pairs = zip(own.get_weights(), copy.get_weights(), strict=True)
    assert all(np.array_equal(a, b) for a, b in pairs) == alike
    assert len(own.trainable_variables) == len(copy.trainable_variables) == trained


def test_comparisons_copy_weights_too() -> None:
    encoder = _frozen(_dense(True))
    copy = Sizes(encoder=encoder).copy_of_encoder()
    assert copy is not encoder and copy.trainable_variables == []
    for one, other in zip(encoder.get_weights(), copy.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_saved_models_keep_both_encoders(x, tmp_path) -> None:
    model = SymAE((12,), 3, 2, encoder=_frozen(_dense(True)))
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(again.reconstruct(x), model.reconstruct(x))
    assert again.nuisance_encoder.trainable_variables == []


class WithoutConfig(keras.Model):
    """A layer with an argument that Keras cannot save without help."""

    def __init__(self, net: keras.Layer) -> None:
        super().__init__()
        self.net = net

    def call(self, x):
        return self.net(x)


class LosesItsArgument(keras.Layer):
    def __init__(self, units: int = 4, **kwargs) -> None:
        super().__init__(**kwargs)
        self.net = Dense(units)

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
        (lambda: WithoutConfig(Dense(4)), "WithoutConfig"),
        (
            lambda: keras.Sequential([keras.layers.Lambda(lambda x: 2.0 * x)]),
            "Sequential.*`Lambda`",
        ),
        (_loses, r"LosesItsArgument.*\(12, 7\).*\(12, 4\)"),
    ],
)
def test_what_cannot_be_copied_is_an_error(make, reason) -> None:
    with pytest.raises(ValueError, match=f"used more than once.*{reason}"):
        SymAE((12,), 3, 2, encoder=make())


# === Subclasses with other constructors ===


@register
class Keyword(SymAE):
    """A subclass in the style of Keras."""

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
        super().__init__(
            *args, encoder=layers.DenseEncoder(8, units=(units,)), **kwargs
        )


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


_MEAN = layers.Standardization(1000.0, 50.0)

SUBCLASSES: dict[str, tuple[type[SymAE], tuple[Any, ...], dict[str, Any]]] = {
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
@pytest.mark.parametrize("name", SUBCLASSES)
def test_nothing_is_lost(name, x, tmp_path) -> None:
    cls, args, kwargs = SUBCLASSES[name]
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


# === Inputs ===


@pytest.mark.jax
@pytest.mark.parametrize("shape", [(6, 1), (6, 5), (6,), (6, 4, 11)])
def test_wrong_mask_shape(shape, tiny, x) -> None:
    """Masks must have the correct shape, even if another shape would broadcast."""
    model, mask = tiny(), np.ones(shape, bool)
    for use in (
        lambda: model.encode(x, mask),
        lambda: model({"instances": x, "mask": mask}),
    ):
        with pytest.raises(ValueError, match="mask"):
            use()


@pytest.mark.jax
@pytest.mark.parametrize("keys", [("x",), ("mask",), ("instances", "maks")])
def test_wrong_keys(keys, tiny, x) -> None:
    with pytest.raises(ValueError) as error:
        tiny()(dict.fromkeys(keys, x))
    assert "key 'instances' and may have 'mask'" in str(error.value)
    assert f"Received: keys {sorted(keys)}" in str(error.value)


@pytest.mark.jax
def test_a_dict_may_leave_the_mask_out(tiny, x) -> None:
    model = tiny()
    np.testing.assert_array_equal(model({"instances": x}), model(x))
