"""Methods of models compiled for inputs of any length, and run in slices."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Final

import keras
from keras import ops

from symae_keras._utils.arrays import Tensor

#: Calls without compilation, before a function is compiled. Rounding differs between
#: both, so there are none: all calls of a model return the same numbers. Tests
#: increase it, because compilation takes as long as about ten calls.
CALLS_BEFORE = 0
#: Numbers of instances that one call takes; more only need more memory.
_NUMBERS_AT_ONCE: Final = 1 << 20


class CompiledMethods:
    """Methods of one model, each compiled once for each kind of input.

    TensorFlow compiles a graph for any lengths of the leading axes. JAX compiles for
    fixed lengths; the number of rows is padded to a power of two, so that few are
    needed. PyTorch runs operations one by one: compiling there takes a C++ compiler and
    many times longer. Methods also run as they are while they are traced or
    differentiated by JAX, and with `model.run_eagerly = True`.

    Args:
        model: The model. Its methods must not add losses or use random numbers.
        instance_shape: Shape of one instance, which limits the size of slices.
    """

    def __init__(self, model: keras.Model, instance_shape: Sequence[int]) -> None:
        self._model = model
        self._rows = max(1, _NUMBERS_AT_ONCE // math.prod(instance_shape))
        self._calls: dict[Any, int] = {}
        self._functions: dict[Any, tuple[Callable[..., Any], list[Any]]] = {}

    def __call__(self, name: str, free: Sequence[int], *tensors: Tensor | None) -> Any:
        """Call a method.

        Args:
            name: Name of the method. It returns a tensor or a structure of tensors,
                with one row for each row of its arguments.
            free: Number of leading axes that may have any length, for each argument.
            *tensors: Arguments; tensors of the backend, or `None`.
        """
        shapes = [None if each is None else tuple(each.shape) for each in tensors]
        method = getattr(self._model, name)
        if self._model.run_eagerly or not _have_values(tensors):
            return method(*tensors)
        pairs = [(s, n) for s, n in zip(shapes, free, strict=True) if s is not None]
        instances = max(1, *(math.prod(shape[1:n]) for shape, n in pairs))
        at_once = max(1, self._rows // instances)
        n_rows = pairs[0][0][0]
        if n_rows == 0:
            return method(*tensors)
        if n_rows <= at_once or any(shape[0] != n_rows for shape, _ in pairs):
            return self._once(name, free, tensors)
        parts = [
            self._once(name, free, [_slice(t, start, at_once) for t in tensors])
            for start in range(0, n_rows, at_once)
        ]
        return keras.tree.map_structure(lambda *each: ops.concatenate(each), *parts)

    def _once(self, name: str, free: Sequence[int], tensors: Sequence[Any]) -> Any:
        backend = keras.backend.backend()
        method = getattr(self._model, name)
        make = {"tensorflow": _in_tensorflow, "jax": _in_jax}.get(backend)
        if make is None:
            return method(*tensors)
        if backend == "jax":
            n_rows, tensors = _padded(tensors)
            free = [0] * len(tensors)
        # Layers that are replaced or quantized, or that get LoRA, have new variables.
        # Old ones are kept, so that no new one gets the identity of an old one.
        variables = self._model.variables
        key = (
            name,
            tuple(_kind(t, n) for t, n in zip(tensors, free, strict=True)),
            tuple(map(id, variables)),
        )
        function, _ = self._functions.get(key, (None, None))
        if function is None:
            calls = self._calls[key] = self._calls.get(key, 0) + 1
            if calls <= CALLS_BEFORE:
                result = method(*tensors)
            else:
                function = make(self._model, name, free, tensors)
                self._functions[key] = function, variables
        if function is not None:
            result = function(*tensors)
        if backend == "jax":
            result = keras.tree.map_structure(lambda each: each[:n_rows], result)
        return result


def _have_values(tensors: Sequence[Any]) -> bool:
    """Return whether tensors are arrays of numbers, outside any function of theirs."""
    if any(isinstance(each, keras.KerasTensor) for each in tensors):
        return False
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        return bool(tf.executing_eagerly() and not tf.config.functions_run_eagerly())
    if backend == "jax":
        import jax

        return not any(isinstance(each, jax.core.Tracer) for each in tensors)
    return True


def _slice(tensor: Any, start: int, length: int) -> Any:
    return None if tensor is None else tensor[start : start + length]


def _kind(tensor: Any, free: int) -> Any:
    if tensor is None:
        return None
    dtype = keras.backend.standardize_dtype(tensor.dtype)
    return dtype, len(tensor.shape), tuple(tensor.shape)[free:]


def _in_tensorflow(
    model: Any, name: str, free: Sequence[int], tensors: Sequence[Any]
) -> Callable[..., Any]:
    import tensorflow as tf

    given = [each is not None for each in tensors]
    signature = [
        tf.TensorSpec([None] * n + list(each.shape[n:]), each.dtype)
        for each, n in zip(tensors, free, strict=True)
        if each is not None
    ]

    def function(*present: Any) -> Any:
        rest = iter(present)
        return getattr(model, name)(*(next(rest) if there else None for there in given))

    traced = tf.function(function, autograph=False).get_concrete_function(*signature)
    # Activity regularisers of layers add losses, which are symbols after tracing.
    model._clear_losses()
    return lambda *tensors: traced(*(each for each in tensors if each is not None))


def _in_jax(
    model: Any, name: str, free: Sequence[int], tensors: Sequence[Any]
) -> Callable[..., Any]:
    import jax

    variables = model.variables

    def function(values: Sequence[Any], *tensors: Any) -> Any:
        state = list(zip(variables, values, strict=True))
        with keras.StatelessScope(state_mapping=state):
            result = getattr(model, name)(*tensors)
        model._clear_losses()
        return result

    compiled = jax.jit(function)

    def call(*tensors: Any) -> Any:
        values = [each.value for each in variables]
        if any(isinstance(each, jax.core.Tracer) for each in values):
            return getattr(model, name)(*tensors)  # within a gradient by weights
        return compiled(values, *tensors)

    return call


def _padded(tensors: Sequence[Any]) -> tuple[int, list[Any]]:
    """Repeat the last row until the number of rows is a power of two."""
    n_rows = next(each.shape[0] for each in tensors if each is not None)
    more = (1 << max(n_rows - 1, 0).bit_length()) - n_rows
    if more == 0 or any(t is not None and t.shape[0] != n_rows for t in tensors):
        return n_rows, list(tensors)
    return n_rows, [None if t is None else _lengthened(t, more) for t in tensors]


def _lengthened(tensor: Any, more: int) -> Any:
    return ops.concatenate([tensor, ops.repeat(tensor[-1:], more, axis=0)])
