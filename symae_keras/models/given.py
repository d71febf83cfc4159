"""The arguments that a model was made with."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

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
