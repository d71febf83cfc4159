"""Copies of user-defined networks, and the arguments of constructors."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import keras

from symae_keras.layers.normalization import Standardization


def copy_of(
    encoder: keras.Layer, instance_shape: Sequence[int] | None = None
) -> keras.Layer:
    """Copy an encoder with its architecture, its weights and its frozen state.

    If the encoder has no weights yet, the copy gets its own weights. If such an encoder
    is frozen, its weights would stay random. In that case it is built first, on
    instances of the given shape.

    Raises:
        ValueError: The copy is not the same network.
    """
    frozen = not all(each.trainable for each in encoder._flatten_layers())
    if frozen and instance_shape is not None and not encoder.built:
        encoder(keras.KerasTensor((None, *instance_shape)))
    try:
        copy = type(encoder).from_config(encoder.get_config())
        if encoder.built and encoder.weights:
            _copy_weights(encoder, copy)
        layers = list(
            zip(encoder._flatten_layers(), copy._flatten_layers(), strict=True)
        )
        variables = zip(encoder.variables, copy.variables, strict=True)
        # Parents come first: values that they set on their children are set again.
        for original, copied in (*layers, *variables):
            if copied.trainable != original.trainable:
                copied.trainable = original.trainable
        for original, copied in layers:
            # The constants are weights, which exist only after the layer is built.
            if isinstance(original, Standardization) and not copied.built:
                copied.take_constants(original)
    # A class of the user may raise any exception.
    except Exception as error:
        reason = " ".join(str(error).split("\n\n")[0].split())
        raise ValueError(
            f"`encoder` is used more than once, but {encoder!r} cannot be copied. "
            "`get_config` and `from_config` of its class must rebuild the same network "
            "(a keras.Sequential or functional model without lambda layers does this). "
            f"{type(error).__name__}: {reason}"
        ) from error
    return copy


def _copy_weights(encoder: keras.Layer, copy: Any) -> None:
    if not copy.built:
        copy.build_from_config(encoder.get_build_config())
    shapes, copied = ([tuple(v.shape) for v in e.weights] for e in (encoder, copy))
    if shapes != copied:
        raise ValueError(
            f"its weights have the shapes {shapes}, those of the copy {copied}"
        )
    copy.set_weights(encoder.get_weights())


_IN_ORDER = (
    inspect.Parameter.POSITIONAL_ONLY,
    inspect.Parameter.POSITIONAL_OR_KEYWORD,
)
_REST = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def named_arguments(
    cls: type, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the arguments of a constructor by name, including its defaults.

    Positional arguments beyond those that the constructor names (its `*args`) get the
    names of the parameters in the constructor of the next parent class.

    Raises:
        ValueError: An argument has no name, so it cannot be passed again by name.
    """
    classes = [each for each in cls.__mro__[:-1] if "__init__" in vars(each)]
    own, *inherited = ([*_parameters(vars(each)["__init__"])] for each in classes)
    named = {p.name: p.default for p in own if p.default is not p.empty}
    only = [p.name for p in own if p.kind is inspect.Parameter.POSITIONAL_ONLY]
    seen: set[str] = set()
    left = list(args)
    for parameters in (own, *inherited):
        for each in parameters:
            if left and each.kind in _IN_ORDER and each.name not in seen:
                named[each.name] = left.pop(0)
            seen.add(each.name)
    if left or only:
        raise ValueError(
            f"The config of {cls.__name__} cannot hold positional arguments without a "
            f"name ({only or left}). Give these parameters names that are valid "
            "keywords, or override `get_config` and `from_config`."
        )
    return {**named, **kwargs}


def _parameters(constructor: Callable[..., None]) -> Iterator[inspect.Parameter]:
    """Yield the named parameters of a constructor, without `self`."""
    for parameter in list(inspect.signature(constructor).parameters.values())[1:]:
        if parameter.kind not in _REST:
            yield parameter
