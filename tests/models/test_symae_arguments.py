"""Layers that the user brings, and errors."""

from __future__ import annotations

import inspect
import json

import keras
import numpy as np
import pytest
from keras import ops

from symae_keras import layers
from symae_keras.models import SymAE


@keras.saving.register_keras_serializable(package="tests")
class LargestInstance(keras.layers.Layer):
    """Pools to the instance with the largest sum: a pooling that we do not have."""

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


def _trains_and_reloads(model: SymAE, x, folder) -> None:
    model.compile(optimizer="adam", loss="mse", run_eagerly=True)
    history = model.fit(x, x, batch_size=6, verbose=0)
    assert np.isfinite(history.history["loss"][0])
    model.save(folder / "model.keras")
    again = keras.saving.load_model(folder / "model.keras")
    np.testing.assert_array_equal(again.redatum(x, x), model.redatum(x, x))
    # JSON has no tuples, so the two are compared as JSON.
    assert json.dumps(again.get_config()) == json.dumps(model.get_config())


def _functional() -> keras.Model:
    inputs = keras.Input((12,))
    hidden = keras.layers.Dense(8, activation="gelu")(inputs)
    return keras.Model(inputs, keras.layers.Add()([hidden, hidden]))


# Features of rank 2 and 3, and encoders without `mirror`.
ENCODERS = {
    "layer": lambda: keras.layers.Dense(5, activation="tanh"),
    "sequential": lambda: keras.Sequential(
        [keras.layers.Reshape((12, 1)), keras.layers.Conv1D(3, 5, strides=2)]
    ),
    "built": lambda: keras.Sequential([keras.Input((12,)), keras.layers.Dense(5)]),
    "functional": _functional,
}


@pytest.mark.jax
@pytest.mark.parametrize("kind", ENCODERS)
def test_encoder_of_the_user(kind, x, tmp_path) -> None:
    encoder = ENCODERS[kind]()
    model = SymAE((12,), 3, 2, encoder=encoder)
    assert model.coherent_encoder.layer is encoder
    # The nuisance branch has a network of its own, of the same make.
    other = model.nuisance_encoder.layer
    assert type(other) is type(encoder)
    assert not {id(w) for w in other.weights} & {id(w) for w in encoder.weights}
    shapes = [[w.shape for w in each.weights] for each in (encoder, other)]
    assert shapes[0] == shapes[1]
    assert isinstance(model.instance_decoder.layer, layers.DenseDecoder)
    _trains_and_reloads(model, x, tmp_path)


def test_config_keeps_every_argument() -> None:
    arguments = {
        "instance_shape": (6, 5, 1),
        "coherent_dim": 3,
        "nuisance_dim": 2,
        "encoder": "conv2d",
        "decoder": layers.Conv2DDecoder((6, 5, 1), filters=(4,)),
        "pooling": "sum",
        "nuisance_noise": "additive",
        "noise_strength": 0.125,
        "conditional_nuisance": False,
        "instance_dropout": 0.25,
        "normalization": keras.layers.Normalization(axis=None, mean=1.0, variance=2.0),
        "seed": 7,
    }
    parameters = list(inspect.signature(SymAE.__init__).parameters)[1:-1]
    assert list(arguments) == parameters
    again = SymAE.from_config(SymAE(**arguments).get_config())
    for name, value in arguments.items():
        if isinstance(value, keras.layers.Layer):
            assert getattr(again, name).get_config() == value.get_config(), name
        else:
            assert getattr(again, name) == value, name


@pytest.mark.jax
@pytest.mark.parametrize("name", ["dense", "conv1d", "conv2d"])
def test_named_encoders_and_their_mirrors(name, rng) -> None:
    shape = (6, 5, 1) if name == "conv2d" else (11,)
    model = SymAE(shape, encoder=name)
    encoder, decoder = model.coherent_encoder.layer, model.instance_decoder.layer
    kinds = {
        "dense": (layers.DenseEncoder, layers.DenseDecoder),
        "conv1d": (layers.Conv1DEncoder, layers.Conv1DDecoder),
        "conv2d": (layers.Conv2DEncoder, layers.Conv2DDecoder),
    }[name]
    assert (type(encoder), type(decoder)) == kinds
    x = rng.normal(size=(2, 3, *shape)).astype("float32")
    assert model.reconstruct(x).shape == x.shape


@keras.saving.register_keras_serializable(package="tests")
class OnlyCall(keras.Model):
    """The least that Keras asks of a model: no `build`, no output shape."""

    def __init__(self, units: int, **kwargs) -> None:
        super().__init__(**kwargs)
        self.units = units
        self.dense = keras.layers.Dense(units, activation="gelu")

    def call(self, inputs):
        return self.dense(inputs)

    def get_config(self):
        return {**super().get_config(), "units": self.units}


@pytest.mark.jax
def test_subclassed_encoder_and_decoder(x, tmp_path) -> None:
    model = SymAE((12,), 3, 2, encoder=OnlyCall(5), decoder=OnlyCall(12))
    assert len(model.coherent_encoder.trainable_weights) == 2
    assert len(model.instance_decoder.trainable_weights) == 2
    _trains_and_reloads(model, x, tmp_path)


@pytest.mark.jax
def test_decoder_of_the_user(x, tmp_path) -> None:
    decoder = keras.Sequential(
        [keras.layers.Dense(7, activation="gelu"), keras.layers.Dense(12)]
    )
    model = SymAE((12,), 3, 2, decoder=decoder)
    assert model.instance_decoder.layer is decoder
    _trains_and_reloads(model, x, tmp_path)


@pytest.mark.jax
def test_pooling_of_the_user(tiny, x, mask, tmp_path) -> None:
    pooling = LargestInstance()
    model = tiny(pooling=pooling)
    assert model.pool is pooling
    _trains_and_reloads(model, x, tmp_path)
    pooling.received_masks.clear()
    spoiled = np.where(mask[..., None], x, 1e3)
    np.testing.assert_allclose(
        model.encode(spoiled, mask).coherent, model.encode(x, mask).coherent, atol=1e-5
    )
    assert pooling.received_masks == [True, True]


@pytest.mark.jax
def test_noise_of_the_user(tiny, x, tmp_path) -> None:
    noise = keras.layers.GaussianDropout(0.3, seed=0)
    model = tiny(nuisance_noise=noise)
    assert model.noise is noise
    assert np.abs(np.asarray(model(x, training=True) - model(x))).max() > 1e-4
    _trains_and_reloads(model, x, tmp_path)


# === Errors ===


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"encoder": "resnet"}, r"`encoder`.*'conv1d'.*encoder='resnet'"),
        ({"nuisance_noise": "poisson"}, r"`nuisance_noise`.*'variational'.*'poisson'"),
        ({"instance_dropout": 1.0}, r"0 <= instance_dropout < 1.*=1.0"),
        ({"encoder": "conv2d"}, r"2 axes.*\(12,\)"),
        (
            {"decoder": keras.layers.Dense(11)},
            r"`decoder` must give.*instance_shape=\(12,\).*Received: \(11,\)",
        ),
    ],
)
def test_bad_argument(arguments, message) -> None:
    with pytest.raises(ValueError, match=message):
        SymAE((12,), **arguments)


@pytest.mark.jax
@pytest.mark.parametrize("shape", [(6, 4, 11), (6, 12), (6, 4, 12, 1)])
def test_wrong_instance_shape(shape, tiny) -> None:
    model, wrong = tiny(), np.zeros(shape, "float32")
    message = rf"instances of shape \(12,\).*shape \({', '.join(map(str, shape))}\)"
    for use in (model.encode, model.reconstruct, model):
        with pytest.raises(ValueError, match=message):
            use(wrong)


@pytest.mark.jax
@pytest.mark.parametrize("shape", [(6, 1), (6, 5), (6,), (6, 4, 11)])
def test_wrong_mask_shape(shape, tiny, x) -> None:
    """Also of shapes that would broadcast, and spoil the count of instances."""
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


@pytest.mark.jax
def test_shapes_without_data(tiny) -> None:
    """For `keras.Input`s with groups and instances unknown."""
    model = tiny()
    instances = keras.Input((None, 12))
    assert model(instances).shape == (None, None, 12)
    for shape in ((5, 3, 12), (None, None, 12)):
        assert model.compute_output_shape(shape) == shape
        given = {"instances": shape, "mask": shape[:2]}
        assert model.compute_output_shape(given) == shape
