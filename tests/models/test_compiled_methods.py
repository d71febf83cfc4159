"""Encoding, decoding and redatuming in compiled functions."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from conformance import CASES, FIRST, THREE
from keras import ops

from symae_keras._utils import compiled
from symae_keras.models import SymAE, SymVAE

pytestmark = pytest.mark.jax

_BACKEND = keras.backend.backend()
_COMPILES = _BACKEND != "torch"
each_case = pytest.mark.parametrize(
    "name",
    [
        # Compiling takes a second or more for each.
        pytest.param(name, marks=() if name in THREE else pytest.mark.large)
        for name in FIRST
    ],
)
compiling = pytest.mark.skipif(not _COMPILES, reason="PyTorch runs operations singly")


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compile after two calls."""
    monkeypatch.setattr(compiled, "CALLS_BEFORE", 2)


def _numpy(structure: Any) -> list[np.ndarray]:
    return [ops.convert_to_numpy(each) for each in keras.tree.flatten(structure)]


def _eagerly(model: Any, method: str, *arguments: Any) -> list[np.ndarray]:
    model.run_eagerly = True
    result = _numpy(getattr(model, method)(*arguments))
    model.run_eagerly = False
    return result


def _agree(model: Any, method: str, *arguments: Any, rounding: float = 1e-5) -> None:
    for _ in range(compiled.CALLS_BEFORE):
        getattr(model, method)(*arguments)
    expected = _eagerly(model, method, *arguments)
    found = _numpy(getattr(model, method)(*arguments))
    for one, other in zip(found, expected, strict=True):
        scale = np.abs(other).max() + 1.0
        np.testing.assert_allclose(one / scale, other / scale, atol=rounding)


def _functions(model: Any) -> list[str]:
    return sorted(key[0] for key in model._compiled._functions)


def _symae(**arguments: Any) -> SymAE:
    return SymAE((12,), 3, 2, keras.layers.Dense(8), seed=0, **arguments)


def _groups(n: int, instances: int = 3, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, instances, 12)).astype("float32")


@each_case
def test_compiled_methods_agree_with_eager_ones(name: str) -> None:
    case = CASES[name]
    model, x = case.build(), case.data(4)
    rounding = max(case.rounding, 2e-5)
    _agree(model, "encode", x, rounding=rounding)
    _agree(model, "reconstruct", x, rounding=rounding)
    code = model.encode(x)
    _agree(model, "decode", *(code if case.grouped else [code]), rounding=rounding)
    if case.grouped:
        _agree(model, "redatum", x, x[:1], rounding=rounding)
    assert _COMPILES == bool(_functions(model))


@pytest.mark.parametrize("axes", [2, 3])
def test_masks_agree(axes: int) -> None:
    x, model = _groups(5), _symae()
    good = np.random.default_rng(1).random(x.shape[:axes]) > 0.3
    good[:, 0] = True
    x[~good] = np.nan
    _agree(model, "encode", x, good)
    _agree(model, "reconstruct", x, good)
    _agree(model, "redatum", x, x, good, good)


@compiling
def test_models_compile_at_the_first_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """Equal numbers in all calls, also of a model that was loaded again."""
    monkeypatch.setattr(compiled, "CALLS_BEFORE", 0)
    x, model = _groups(3), _symae()
    first = _numpy(model.encode(x))
    assert _functions(model) == ["_encoded"]
    again = _symae()
    again.set_weights(model.get_weights())
    for other in (model, again, model):
        for one, two in zip(_numpy(other.encode(x)), first, strict=True):
            np.testing.assert_array_equal(one, two)


@pytest.mark.skipif(_BACKEND != "tensorflow", reason="JAX compiles for each length")
def test_one_function_serves_any_number_of_groups_and_instances(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, traced = _symae(), []
    codes = model._codes

    def counted(*arguments: Any) -> Any:
        traced.append(arguments)
        return codes(*arguments)

    monkeypatch.setattr(model, "_codes", counted)
    for n in range(1, 8):
        x = _groups(n, instances=1 + n % 4, seed=n)
        expected = _eagerly(model, "encode", x)
        traced.clear()
        found = _numpy(model.encode(x))
        assert len(traced) == (n <= compiled.CALLS_BEFORE + 1)
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_allclose(one, other, atol=1e-5)


@pytest.mark.skipif(_BACKEND != "jax", reason="TensorFlow compiles for any length")
def test_rows_are_padded_to_powers_of_two() -> None:
    model = _symae()
    for n in (5, 6, 7, 8):
        assert model.encode(_groups(n)).coherent.shape == (n, 3)
    assert _functions(model) == ["_encoded"]


def test_large_inputs_are_cut_into_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    x, model = _groups(10), _symae()
    mask = np.random.default_rng(1).random((10, 3)) > 0.2
    arguments = [("encode", x, mask), ("reconstruct", x), ("redatum", x, x[:1])]
    expected = [_eagerly(model, *each) for each in arguments]
    monkeypatch.setattr(compiled, "_NUMBERS_AT_ONCE", 4 * 3 * 12)
    weights, model = model.get_weights(), _symae()
    model.set_weights(weights)
    sizes = []
    once = compiled.CompiledMethods._once

    def recorded(self: Any, name: str, free: Any, tensors: Any) -> Any:
        sizes.append(int(tensors[0].shape[0]))
        return once(self, name, free, tensors)

    monkeypatch.setattr(compiled.CompiledMethods, "_once", recorded)
    for each, values in zip(arguments, expected, strict=True):
        for one, other in zip(
            _numpy(getattr(model, each[0])(*each[1:])), values, strict=True
        ):
            np.testing.assert_allclose(one, other, atol=1e-5)
    assert max(sizes) == 4
    assert sizes[:3] == [4, 4, 2]


def test_no_groups_at_all() -> None:
    model = _symae()
    for _ in range(4):
        assert tuple(model.encode(_groups(0)).coherent.shape) == (0, 3)


def test_new_weights_and_new_layers_are_used() -> None:
    x, model = _groups(4), _symae()
    _agree(model, "reconstruct", x)
    rng = np.random.default_rng(0)
    model.set_weights([w + 0.1 * rng.normal(size=w.shape) for w in model.get_weights()])
    _agree(model, "reconstruct", x)
    before = _numpy(model.reconstruct(x))[0]
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.Dense):
            layer.enable_lora(2)
            layer.lora_kernel_b.assign(np.ones(layer.lora_kernel_b.shape))
    _agree(model, "reconstruct", x)
    assert np.abs(_numpy(model.reconstruct(x))[0] - before).max() > 0.01


def test_errors_name_the_shapes_of_the_data() -> None:
    model = _symae()
    for _ in range(4):
        model.encode(_groups(2))
        with pytest.raises(ValueError, match=r"shape \(2, 3, 11\)"):
            model.encode(_groups(2)[..., 1:])
        with pytest.raises(ValueError, match=r"mask of shape \(1, 3\)"):
            model.encode(_groups(2), np.ones((1, 3), bool))


def test_losses_of_layers_are_no_symbols() -> None:
    layer = keras.layers.Dense(8, activity_regularizer="l2")
    model = SymAE((12,), 3, 2, layer, seed=0)
    for _ in range(4):
        model.encode(_groups(2))
    assert all(np.isfinite(_numpy(each)[0]) for each in model.losses)


@pytest.mark.skipif(_BACKEND != "tensorflow", reason="tapes of TensorFlow")
def test_gradients_of_tensorflow_pass_through() -> None:
    import tensorflow as tf

    model, x = _symae(), tf.constant(_groups(4))

    def gradients() -> list[np.ndarray]:
        with tf.GradientTape() as tape:
            tape.watch(x)
            loss = ops.sum(model.redatum(x, x[::-1]) ** 2)
        weights = [each.value for each in model.trainable_variables]
        return _numpy(tape.gradient(loss, [x, *weights]))

    model.run_eagerly = True
    expected = gradients()
    model.run_eagerly = False
    for _ in range(4):
        found = gradients()
    assert _functions(model) == ["_redatumed"]
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-3)


@pytest.mark.skipif(_BACKEND != "jax", reason="transformations of JAX")
def test_gradients_of_jax_pass_through() -> None:
    import jax

    model, x = _symae(), _groups(4)
    for _ in range(4):
        model.encode(x)
    variables = model.trainable_variables

    def loss(values: Any, x: Any) -> Any:
        scope = keras.StatelessScope(list(zip(variables, values, strict=True)))
        with scope:
            return ops.sum(model.encode(x).coherent ** 2)

    values = [each.value for each in variables]
    by_weights = jax.grad(loss)(values, x)
    by_data = jax.grad(loss, argnums=1)(values, x)
    assert np.isfinite(by_data).all() and np.abs(by_data).max() > 0.0
    assert max(float(np.abs(each).max()) for each in by_weights) > 0.0


def test_models_that_were_compiled_are_copied(tmp_path: Any) -> None:
    import copy
    import pickle

    x, model = _groups(4), SymVAE((12,), 3, 2, seed=0)
    for _ in range(4):
        expected = _numpy(model.reconstruct(x))[0]
    model.save(tmp_path / "model.keras")
    for other in (
        copy.deepcopy(model),
        pickle.loads(pickle.dumps(model)),
        keras.saving.load_model(tmp_path / "model.keras"),
    ):
        np.testing.assert_allclose(_numpy(other.reconstruct(x))[0], expected, atol=1e-5)
