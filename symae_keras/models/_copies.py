"""Copies of networks that a user gives, and the arguments that a model was given."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import keras

from symae_keras.layers.normalization import Standardization


def copy_of(
    encoder: keras.Layer, instance_shape: Sequence[int] | None = None
) -> keras.Layer:
    """Copy an encoder with its architecture, weights, and what is frozen of them.

    An encoder without weights yet has none to copy, and its copy gets weights of its
    own. Only if it is frozen, which would keep them random, it is built first.

    Args:
        encoder: A layer or model from one instance to features.
        instance_shape: Shape of one instance, on which a frozen encoder is built.
            `None` leaves it as it is.

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
        # Parents come first: what they set for their children is set again.
        for original, copied in (*layers, *variables):
            if copied.trainable != original.trainable:
                copied.trainable = original.trainable
        for original, copied in layers:
            # Its constants are weights, which are made when it is built.
            if isinstance(original, Standardization) and not copied.built:
                copied.take_constants(original)
    # What a class of the user raises may be anything.
    except Exception as error:
        reason = " ".join(str(error).split("\n\n")[0].split())
        raise ValueError(
            f"`encoder` is used more than once, and {encoder!r} cannot be copied: "
            "`get_config` and `from_config` of its class must rebuild the same network "
            "(a keras.Sequential or functional model of layers without lambdas has "
            f"both). {type(error).__name__}: {reason}"
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


class Given:
    """The arguments of a call of a constructor, by the names that rebuild the object.

    Positional arguments beyond those that the constructor names, its `*args`, have the
    names that the constructor of the next parent class gives them.

    Args:
        cls: The class.
        args: Positional arguments.
        kwargs: Keyword arguments.
    """

    def __init__(
        self, cls: type, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> None:
        self._cls, self._args, self._kwargs = cls, tuple(args), dict(kwargs)

    def named(self) -> dict[str, Any]:
        """Return all arguments by name, defaults of the own constructor included.

        Raises:
            ValueError: An argument has no name by which it could be given again.
        """
        constructors = _constructors(self._cls)
        own = list(_parameters(next(constructors)))
        named = {p.name: p.default for p in own if p.default is not p.empty}
        only = [p.name for p in own if p.kind is inspect.Parameter.POSITIONAL_ONLY]
        seen: set[str] = set()
        left = list(self._args)
        for parameters in (own, *map(_parameters, constructors)):
            for each in parameters:
                if left and each.kind in _IN_ORDER and each.name not in seen:
                    named[each.name] = left.pop(0)
                seen.add(each.name)
        if left or only:
            raise ValueError(
                f"The config of {self._cls.__name__} cannot hold positional arguments "
                f"without a name ({only or left}). Give them names that can be used as "
                "keywords, or override `get_config` and `from_config`."
            )
        return {**named, **self._kwargs}


def _constructors(cls: type) -> Iterator[Callable[..., None]]:
    """Yield the constructors of a class and of its parents, its own first."""
    for each in cls.__mro__[:-1]:
        if "__init__" in vars(each):
            yield vars(each)["__init__"]


def _parameters(constructor: Callable[..., None]) -> Iterator[inspect.Parameter]:
    """Yield the parameters that a constructor names, without `self`."""
    for parameter in list(inspect.signature(constructor).parameters.values())[1:]:
        if parameter.kind not in _REST:
            yield parameter
