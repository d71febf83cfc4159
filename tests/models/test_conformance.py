"""Properties of every model, tested on small models; see `conformance.py`."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
import pytest
from conformance import CASES, FIRST, INSTANCES, TEN, THREE
from keras import ops

from symae_keras import layers, models
from symae_keras.layers import LossTerm
from symae_keras.models import MODELS
from symae_keras.models.base import AutoencoderBase

# Fewer cases where compiling is slow; `test_backends_agree` has one of each.
_COMPILES = keras.backend.backend() == "jax"
#: One case of each model, or of each kind of model.
each_case = pytest.mark.parametrize("name", THREE if _COMPILES else FIRST)
ten_cases = pytest.mark.parametrize("name", TEN)


def _numpy(tensor: Any) -> np.ndarray:
    return ops.convert_to_numpy(ops.cast(tensor, "float32"))


def _loss_terms(model: Any) -> list[LossTerm]:
    return [each for each in model._flatten_layers() if isinstance(each, LossTerm)]


# === Registry ===


def test_every_model_is_in_the_registry() -> None:
    public = [getattr(models, name) for name in models.__all__]
    classes = [each for each in public if isinstance(each, type)]
    known = {each for each in classes if issubclass(each, keras.Model)}
    assert set(MODELS.values()) == known
    assert len(MODELS) == len(known)


def test_every_model_has_a_case() -> None:
    assert {case.model for case in CASES.values()} == set(MODELS)


def test_the_chosen_cases_have_every_base() -> None:
    def classes(names: Iterable[str]) -> set[type]:
        found = {each for name in names for each in CASES[name].cls.__mro__}
        return {each for each in found if issubclass(each, AutoencoderBase)}

    bases = {base for each in classes(CASES) for base in each.__bases__}
    assert bases & classes(CASES) <= classes(TEN)
    kinds = {each for each in classes(CASES) if AutoencoderBase in each.__bases__}
    assert kinds <= classes(THREE)


# === Saved models, in other processes ===

_IMPORTS = """
import json
import sys
from pathlib import Path

import symae_keras, keras
import numpy as np
from keras import ops

"""

_RELOAD = """
assert "symae_keras.models" in sys.modules  # registered by the imports alone
from symae_keras._utils.untrusted_models import load_model

for path in Path(sys.argv[1]).glob("*.keras"):
    model = keras.saving.load_model(path)
    model.run_eagerly = True  # compiled graphs of two models may round differently
    x = np.load(path.with_suffix(".npy"))
    output = keras.ops.convert_to_numpy(model.reconstruct(x))
    np.save(path.with_suffix(".reloaded.npy"), output)
    checked = load_model(path)
    checked.run_eagerly = True
    again = keras.ops.convert_to_numpy(checked.reconstruct(x))
    np.testing.assert_array_equal(again, output)
"""

#: Other backends, tested if they are installed.
_BACKENDS = ("jax", "torch")
#: The last case updates a moving average in its forward pass.
ON_REPLICAS = (*THREE, "ada_gvae")
#: JAX compiles every operation, so fewer models are tested on it.
_ON_JAX = tuple(name for name in FIRST if name in TEN)

_ON_ANOTHER_BACKEND = """
backend, fits = sys.argv[2], sys.argv[3] == "fit"
assert keras.config.backend() == backend
logs = {}
for name in sys.argv[4:]:
    path = Path(sys.argv[1], f"{name}.keras")
    model = keras.saving.load_model(path)
    x, y = (np.load(path.with_suffix(end)) for end in (".npy", ".targets.npy"))
    output = keras.ops.convert_to_numpy(model.reconstruct(x))
    np.save(path.with_suffix(f".{backend}.npy"), output)
    found = model.evaluate(x, y, batch_size=8, verbose=0, return_dict=True)
    if fits:
        history = model.fit(x, y, batch_size=4, epochs=2, verbose=0).history
        assert all(np.isfinite(each).all() for each in history.values()), path
        weights = [each for each in model.get_weights() if each.dtype == "float32"]
        assert all(np.isfinite(each).all() for each in weights), path
    logs[path.stem] = found
print(json.dumps(logs))
"""

# Replicas draw the same noise for different rows, so the noise is made equal for all
# rows here.
_ON_TWO_REPLICAS = """
import tensorflow as tf

cpu, two = tf.config.list_physical_devices("CPU")[0], ["CPU:0", "CPU:1"]
one_device = tf.config.LogicalDeviceConfiguration()
tf.config.set_logical_device_configuration(cpu, [one_device, one_device])
# Optimising graphs takes longer than their few steps gain.
tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})

normal = lambda shape, dtype="float32", seed=None: ops.full(shape, 0.3, dtype)
keras.random.normal = keras.random.uniform = normal
keras.random.randint = lambda shape, low, high, seed=None: ops.full(shape, low, "int32")


def train(path, eagerly):
    keras.utils.set_random_seed(0)
    model = keras.saving.load_model(path)
    model.run_eagerly = eagerly
    # Ten steps, so short that rounding is not blown up on the way.
    model.optimizer.learning_rate = 0.5 * float(model.optimizer.learning_rate.numpy())
    ends = (".npy", ".targets.npy")
    x, y = (np.concatenate([np.load(path.with_suffix(end))] * 10) for end in ends)
    history = model.fit(x, y, batch_size=8, shuffle=False, verbose=0).history
    return history, model.get_weights()


strategy = tf.distribute.MirroredStrategy(two)
assert strategy.num_replicas_in_sync == 2
results = {}
for name in sys.argv[2:]:
    path = Path(sys.argv[1], f"{name}.keras")
    history, weights = train(path, eagerly=True)
    with strategy.scope():
        other_history, other_weights = train(path, eagerly=False)
    results[path.stem] = {
        "history": [history, other_history],
        "weights": max(
            float(np.abs(one - other).max())
            for one, other in zip(weights, other_weights, strict=True)
            if one.dtype == "float32"
        ),
    }
print(json.dumps(results))
"""


class Saved(NamedTuple):
    folder: Path
    outputs: dict[str, np.ndarray]
    logs: dict[str, dict[str, float]]


@pytest.fixture(scope="module")
def saved(tf, tmp_path_factory) -> Saved:
    """Save each case with an input and the results of this process."""
    keras.utils.set_random_seed(0)
    folder, rng = tmp_path_factory.mktemp("saved"), np.random.default_rng(0)
    outputs, logs = {}, {}
    for name in dict.fromkeys((*FIRST, *THREE)):
        case = CASES[name]
        model, x = case.build(), case.even_data()
        # As after training: nothing keeps its initial value, not even biases.
        for weight in model.trainable_weights:
            weight.assign_add(case.moved * rng.normal(size=weight.shape))
        case.compile(model, run_eagerly=True)
        model.save(folder / f"{name}.keras")
        y = case.targets(x)
        np.save(folder / f"{name}.npy", x)
        np.save(folder / f"{name}.targets.npy", y)
        outputs[name] = _numpy(model.reconstruct(x))
        logs[name] = model.evaluate(x, y, batch_size=8, verbose=0, return_dict=True)
    return Saved(folder, outputs, logs)


@pytest.fixture(scope="module")
def elsewhere(saved, run_python) -> dict[str, Future[str]]:
    """Return what other processes print about the files; two of them run at once."""
    with ThreadPoolExecutor(2) as pool:

        def submit(code: str, *arguments: str, backend="tensorflow") -> Future[str]:
            given = (_IMPORTS + code, saved.folder, *arguments)
            return pool.submit(run_python, *given, backend=backend)

        found = {
            "reload": submit(_RELOAD),
            "replicas": submit(_ON_TWO_REPLICAS, *ON_REPLICAS),
        }
        for name in _BACKENDS:
            if importlib.util.find_spec(name) is not None:
                # PyTorch does not compile, so a few steps take little time.
                few = ("fit", *FIRST) if name == "torch" else ("", *_ON_JAX)
                found[name] = submit(_ON_ANOTHER_BACKEND, name, *few, backend=name)
        yield found


@pytest.mark.large
def test_every_layer_is_in_some_case() -> None:
    for_users = """
        BedOfNails FourierShift LossTerm MaxPoolingWithIndices1D
        MaxPoolingWithIndices2D MaxUnpooling1D MaxUnpooling2D MedianNormalization
        RandomScale RandomShift ShiftEstimator SubPixel TransposedConv1D
        TransposedConv2D
    """
    models = [case.build() for case in CASES.values()]
    used = {type(part).__name__ for model in models for part in model._flatten_layers()}
    assert set(layers.__all__) - set(for_users.split()) <= used


# === Config, shapes, errors ===


@pytest.mark.jax
@each_case
def test_config(name) -> None:
    case = CASES[name]
    model = case.build()
    config = model.get_config()
    text = json.dumps(config)
    again = case.cls.from_config(json.loads(text))
    for argument in case.parameters:
        assert argument in config
        for each in (model, again):
            value = keras.saving.serialize_keras_object(getattr(each, argument))
            if config[argument] != "median":  # the model makes a layer of this name
                assert json.dumps(value) == json.dumps(config[argument]), argument
    assert json.dumps(again.get_config()) == text
    text = json.dumps(keras.saving.serialize_keras_object(model))
    again = keras.saving.deserialize_keras_object(json.loads(text))
    assert type(again) is case.cls
    assert json.dumps(keras.saving.serialize_keras_object(again)) == text


@pytest.mark.jax
@each_case
def test_shapes(name) -> None:
    """Shapes computed without data, for unknown axes, agree with those of data."""
    case = CASES[name]
    model, x = case.build(), case.data(5)
    unknown = (None,) * (x.ndim - len(case.shape)) + case.shape
    symbol = keras.KerasTensor(unknown)
    shape, open_shape = case.output_shape(x.shape), case.output_shape(unknown)
    assert model.compute_output_shape(x.shape) == shape
    assert model.compute_output_shape(unknown) == open_shape
    inputs = {"instances": unknown, "mask": unknown}
    assert model.compute_output_shape(inputs) == open_shape
    for training in (False, True):
        assert model(x, training=training).shape == shape
        assert model(symbol, training=training).shape == open_shape
    assert model.reconstruct(x).shape == shape
    assert model.reconstruct(symbol).shape == open_shape

    codes, symbols = model.encode(x), model.encode(symbol)
    for code, told in zip(_flat(codes), _flat(symbols), strict=True):
        axes = 2 if case.grouped and len(code.shape) == 3 else 1
        # A tuple, because a `torch.Size` cannot contain None.
        assert told.shape == (None,) * axes + tuple(code.shape[axes:])
    if not case.grouped:
        assert model.decode(codes).shape == shape
        assert model.decode(symbols).shape == open_shape
        return
    assert model.decode(*codes).shape == x.shape
    assert model.decode(*symbols).shape == unknown
    assert model.redatum(x, x[:, :1]).shape == x[:, :1].shape
    assert model.redatum(symbol, symbol).shape == unknown


def _flat(codes: Any) -> list[Any]:
    return keras.tree.flatten(codes)


@pytest.mark.jax
@each_case
def test_wrong_instance_shape(name) -> None:
    case = CASES[name]
    model, x = case.build(), case.data(2)
    wider = np.zeros((*x.shape[:-1], x.shape[-1] + 1), "float32")
    for wrong in (wider, x[..., None], x[0]):
        for use in (model, model.encode, model.reconstruct):
            with pytest.raises(ValueError) as error:
                use(wrong)
            assert f"instances of shape {case.shape}" in str(error.value)
            assert str(wrong.shape) in str(error.value)


# === Training ===


@ten_cases
def test_logged_terms_add_up(name) -> None:
    """Terms add up in training and validation, with a last batch of another size."""
    case = CASES[name]
    model, x = case.build(), case.data(6)
    y = case.targets(x)
    case.compile(model, run_eagerly=True)
    options = {"validation_data": (x, y), "validation_batch_size": 4, "verbose": 0}
    history = model.fit(x, y, batch_size=4, epochs=2, **options).history
    terms = [layer.term_name for layer in _loss_terms(model)]
    logged = [model.compiled_loss_name, *terms] if terms else []
    names = {key for key in history if key.endswith("loss")}
    assert names == {p + each for p in ("", "val_") for each in ("loss", *logged)}
    for prefix in ("", "val_"):
        loss = np.array(history[f"{prefix}loss"])
        assert np.isfinite(loss).all()
        if terms:
            total = sum(np.array(history[prefix + each]) for each in logged)
            np.testing.assert_allclose(total, loss, rtol=1e-5)


@pytest.mark.jax
@pytest.mark.parametrize(
    "name", [pytest.param("vqvae", marks=pytest.mark.compiles), "wasserstein"]
)
def test_logged_terms_add_up_on_every_backend(name) -> None:
    test_logged_terms_add_up(name)


@pytest.mark.large
@ten_cases
def test_a_seed_repeats_training(name) -> None:
    case = CASES[name]

    def train(**changed: Any) -> list[Any]:
        keras.utils.set_random_seed(0)
        model, x = case.build(**changed), case.data(4)
        y = case.targets(x)
        case.compile(model, run_eagerly=True)
        logs = [model.train_on_batch(x, y, return_dict=True) for _ in range(2)]
        weights = [_numpy(weight) for weight in model.trainable_weights]
        return [*logs, *(weight.tolist() for weight in weights)]

    first = train()
    assert train() == first
    if "seed" in case.parameters:
        # The initial weights are equal: only the noise differs.
        assert (train(seed=1) != first) == case.noisy


@pytest.mark.large
@pytest.mark.parametrize("name", [*THREE, "vae", "vqvae", "latent_mean_swap"])
def test_fits_ten_instances(name) -> None:
    """Two cases are compiled by XLA, which Keras does on CPU only if requested."""
    case = CASES[name]
    model, x = case.build(), case.data(10)
    y = case.targets(x)
    assert case.misfit(_numpy(model.reconstruct(x)), x) > 0.5
    case.compile(model, run_eagerly=True)
    expected = model.test_on_batch(x, y, return_dict=True)["loss"]
    case.compile(model, jit_compile=name in ("vae", "symae-attention"))
    losses: list[float] = []
    record = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: losses.append(logs["loss"])
    )
    many, targets = (np.concatenate([each] * 300) for each in (x, y))
    options = {"batch_size": 10, "shuffle": False, "verbose": 0}
    model.fit(many, targets, callbacks=[record], **options)
    if not case.noisy:
        assert losses[0] == pytest.approx(expected, rel=1e-5)
    assert case.misfit(_numpy(model.reconstruct(x)), x) < case.error


@each_case
def test_every_term_has_a_gradient(name, tf) -> None:
    case = CASES[name]
    model, x = case.build(), case.data(6)
    case.compile(model)
    variables = model.trainable_variables
    with tf.GradientTape(persistent=True) as tape:
        decoded = model(x, training=True)
        added = list(model.losses)
        terms = {layer.term_name: sum(layer.losses) for layer in _loss_terms(model)}
        total = model.compute_loss(x, case.targets(x), decoded)
        reconstruction = total - sum(added)
    assert len(added) == len(terms)

    def reached(loss: Any) -> set[str]:
        gradients = tape.gradient(loss, variables)
        paths = set()
        for variable, gradient in zip(variables, gradients, strict=True):
            if gradient is not None:
                gradient = tf.convert_to_tensor(gradient)
                assert np.isfinite(gradient).all(), variable.path
                if np.abs(gradient).max() > 1e-12:
                    paths.add(variable.path)
        return paths

    def without(parts: tuple[str, ...]) -> set[str]:
        paths = {variable.path for variable in variables}
        return {path for path in paths if not any(part in path for part in parts)}

    assert without(case.idle) <= reached(total)
    assert without(case.idle + case.not_decoded) <= reached(reconstruction)
    for term, value in terms.items():
        assert reached(value), term


@pytest.mark.large
@pytest.mark.parametrize("half", ["bfloat16", "float16"])
@ten_cases
def test_mixed_precision(name, half) -> None:
    """For float16, Keras scales the loss and skips steps whose gradients overflow."""
    case = CASES[name]
    model, x = case.build(dtype=f"mixed_{half}"), case.data(4)
    case.compile(model, run_eagerly=True)
    scaled = isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
    assert scaled == (half == "float16")
    steps, optimizer = 0, getattr(model.optimizer, "inner_optimizer", model.optimizer)
    while int(optimizer.iterations) < 2:
        assert np.isfinite(model.train_on_batch(x, case.targets(x))).all()
        steps += 1
        assert steps < 16  # the scale, 2^15 at first, is halved for each skipped step
    assert all(np.isfinite(_numpy(each)).all() for each in model.trainable_weights)
    floats = [v.dtype for v in model.variables if "int" not in v.dtype]
    assert set(floats) == {"float32"}
    for part in model._flatten_layers():
        # Keras's own containers do not compute, and cannot be given a policy.
        if isinstance(part, AutoencoderBase) or not isinstance(
            part, (keras.Model, keras.layers.InputLayer)
        ):
            assert part.compute_dtype == half, part.name
    # Half precision may not hold the units of the data after the normalisation is
    # undone, nor the probability of a class that is almost certain.
    scales = [
        each.normalization
        for each in model._flatten_layers()
        if isinstance(each, AutoencoderBase)
    ]
    in_units = case.n_classes is not None or scales != [None] * len(scales)
    expected = "float32" if in_units else half
    output = model(x, training=True)
    assert keras.backend.standardize_dtype(output.dtype) == expected
    for loss in model.losses:
        assert keras.backend.standardize_dtype(loss.dtype) == "float32"


@pytest.mark.jax
@pytest.mark.parametrize("name", ("vae", "symae-linear") if _COMPILES else TEN)
def test_bad_pixels_never_count(name) -> None:
    """Masked values have no effect on codes or training, even if they are NaN."""
    case = CASES[name]
    good = np.random.default_rng(0).random(case.data(3).shape) < 0.7

    def train(content: float) -> list[Any]:
        keras.utils.set_random_seed(0)
        model = case.build()
        x = np.where(good, case.data(3), np.float32(content))
        case.compile(model, run_eagerly=True)
        logs = model.train_on_batch({"instances": x, "mask": good}, case.targets(x))
        return [logs, model.encode(x, good), model.reconstruct(x, good)]

    zeros = keras.tree.map_structure(_numpy, train(0.0))
    assert all(np.isfinite(each).all() for each in keras.tree.flatten(zeros))
    for content in (-3e4, np.nan):
        other = keras.tree.map_structure(_numpy, train(content))
        keras.tree.map_structure(np.testing.assert_array_equal, other, zeros)


@pytest.mark.parametrize("name", [n for n, case in CASES.items() if case.grouped])
def test_padding_never_counts(name, tf) -> None:
    """Loss and gradients are the same with more padding, at any position."""
    case = CASES[name]
    model, x = case.build(), case.data(4)
    case.compile(model)
    wide = np.full((4, INSTANCES + 3, *case.shape), np.float32(np.nan))
    places = [1, 2, 5]
    wide[:, places] = x
    present = np.zeros(wide.shape[:2], bool)
    present[:, places] = True

    def loss_and_gradients(x: np.ndarray, mask: np.ndarray) -> Any:
        inputs = {"instances": x, "mask": mask}
        with tf.GradientTape() as tape:
            decoded = model(inputs, training=False)
            loss = model.compute_loss(inputs, np.where(np.isnan(x), 0, x), decoded)
        variables = model.trainable_variables
        gradients = tape.gradient(loss, variables, unconnected_gradients="zero")
        return [_numpy(each) for each in (loss, *gradients)]

    plain = loss_and_gradients(x, np.ones(x.shape[:2], bool))
    padded = loss_and_gradients(wide, present)
    for one, other in zip(plain, padded, strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-5, atol=1e-6)


# === Files ===

EXPORTED = ("vae", "symae", "mlvae", "latent_mean_swap", "unet")


@pytest.mark.large
@pytest.mark.parametrize(
    ("name", "fitted"), [*((name, False) for name in EXPORTED), ("symae", True)]
)
def test_export_serves_any_number_of_groups(name, fitted, tf, tmp_path) -> None:
    case = CASES[name]
    model, x = case.build(), case.data(5)
    if fitted:
        case.compile(model)
        model.fit(x, x, verbose=0)
    model(x)
    model.export(tmp_path / "exported", verbose=False)
    served = tf.saved_model.load(tmp_path / "exported")
    for data in (x, x[:2, :1] if case.grouped else x[:2]):
        expected = np.asarray(model(data))
        np.testing.assert_allclose(served.serve(data), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.large
def test_exported_inputs_are_not_half_precision(tf, tmp_path) -> None:
    """Data units are cast to half precision only after they are normalised."""
    case = CASES["symae-attention"]
    model, x = case.build(dtype="mixed_float16"), case.data(5)
    expected = np.asarray(model(x))
    model.export(tmp_path / "exported", verbose=False)
    served = tf.saved_model.load(tmp_path / "exported")
    np.testing.assert_allclose(served.serve(x), expected, rtol=1e-2, atol=1e-2)


# === What the other processes found ===


@pytest.mark.large
def test_reloaded_models_give_the_same_digits(saved, elsewhere) -> None:
    elsewhere["reload"].result()
    for name, expected in saved.outputs.items():
        reloaded = np.load(saved.folder / f"{name}.reloaded.npy")
        np.testing.assert_array_equal(reloaded, expected, err_msg=name)


@pytest.mark.large
@pytest.mark.parametrize("backend", _BACKENDS)
def test_backends_agree(backend, saved, elsewhere) -> None:
    if backend not in elsewhere:
        pytest.skip(f"{backend} is not installed")
    logs = json.loads(elsewhere[backend].result())
    for name in FIRST if backend == "torch" else _ON_JAX:
        expected = saved.outputs[name]
        output = np.load(saved.folder / f"{name}.{backend}.npy")
        close = CASES[name].rounding
        np.testing.assert_allclose(output, expected, atol=close, err_msg=name)
        assert set(logs[name]) == set(saved.logs[name])
        if not CASES[name].noisy_evaluation:
            assert logs[name] == pytest.approx(saved.logs[name], rel=1e-4, abs=1e-6)


@pytest.mark.large
@pytest.mark.parametrize("name", ON_REPLICAS)
def test_two_replicas_train_as_one(name, elsewhere) -> None:
    """Losses and weights are the same if a batch is split into any number of parts."""
    found = json.loads(elsewhere["replicas"].result())[name]
    one, two = found["history"]
    assert set(two) == set(one)
    for key in one:
        assert two[key] == pytest.approx(one[key], abs=1e-5, rel=1e-5), key
    assert found["weights"] < 1e-5
