"""Checks of arguments; error messages name the argument and its value.

Each check tests the type before it compares, so that `None`, `True`, `2.5`, `"3"` and
NaN cause the same message.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

_Choice = TypeVar("_Choice")


def invalid(name: str, expected: str, value: Any) -> ValueError:
    """Return the error for an argument with an unexpected value."""
    return ValueError(
        f"Invalid value received for argument `{name}`. "
        f"Expected {expected}. Received: {name}={value}"
    )


def is_integer(value: Any, least: int) -> bool:
    """Return whether a value is an integer, or a float equal to one, and >= `least`."""
    return is_number(value) and value >= least and value == int(value)


def is_number(value: Any) -> bool:
    """Return whether a value is a finite real number; booleans are not numbers."""
    if not isinstance(value, numbers.Real) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer that is too large for a float
        return False


def boolean(name: str, value: Any) -> bool:
    """Return a boolean, or raise."""
    if not isinstance(value, bool):
        raise invalid(name, "True or False", repr(value))
    return value


def integer(name: str, value: Any, least: int | None = None) -> int:
    """Return an integer, which must be at least `least` if that is given, or raise."""
    if not is_integer(value, -(2**63) if least is None else least):
        suffix = "" if least is None else f" >= {least}"
        raise invalid(name, f"an integer{suffix}", repr(value))
    return int(value)


def positive(name: str, value: Any, expected: str = "a positive integer") -> int:
    """Return a size as an integer, or raise."""
    if not is_integer(value, 1):
        raise invalid(name, expected, repr(value))
    return int(value)


def positive_or_none(name: str, value: Any) -> int | None:
    """Return a size as an integer, or `None`, or raise."""
    if value is None:
        return None
    return positive(name, value, "a positive integer or None")


def _items(value: Any) -> tuple[Any, ...]:
    """Return the items of an ordered collection, and nothing for other objects."""
    # Text and dicts are iterable, too, and the order of a set is arbitrary.
    if isinstance(value, (str, bytes, dict, set, frozenset)):
        return ()
    try:
        return tuple(value)
    except TypeError:
        return ()


def sizes(
    name: str, value: Any, example: str, or_empty: bool = False
) -> tuple[int, ...]:
    """Return sizes as integers, or raise; the message shows the valid `example`."""
    if or_empty and isinstance(value, (list, tuple)) and not value:
        return ()
    values = _items(value)
    if not values or not all(is_integer(n, 1) for n in values):
        raise invalid(name, f"positive integers such as {example}", repr(value))
    return tuple(int(n) for n in values)


def positive_numbers(name: str, value: Any) -> tuple[float, ...]:
    """Return at least one number, all positive and finite, or raise."""
    values = _items(value)
    if not values or not all(is_number(each) and each > 0.0 for each in values):
        raise invalid(name, "positive finite numbers", repr(value))
    return tuple(float(each) for each in values)


def interval(name: str, value: Any) -> tuple[float, float]:
    """Return a pair `(lowest, highest)` of finite numbers, or raise."""
    values = _items(value)
    if len(values) != 2 or not all(map(is_number, values)) or values[0] >= values[1]:
        raise invalid(name, "a pair (lowest, highest) or None", repr(value))
    return float(values[0]), float(values[1])


def one_each(
    name: str, value: Any, count: int, of: str, least: int = 1
) -> tuple[int, ...]:
    """Return `count` integers, given as one for all or as a sequence, or raise."""
    several = isinstance(value, Sequence) and not isinstance(value, (str, bytes))
    values = tuple(value) if several else (value,) * count
    if len(values) != count or not all(is_integer(n, least) for n in values):
        expected = f"an integer >= {least}, or a sequence of {count}, one {of}"
        raise invalid(name, expected, repr(value))
    return tuple(int(n) for n in values)


def number(
    name: str,
    value: Any,
    expected: str = "a finite number",
    fits: Callable[[float], bool] = lambda value: True,
) -> float:
    """Return a finite number that fits a condition, or raise."""
    if not (is_number(value) and fits(value)):
        raise invalid(name, expected, repr(value))
    return float(value)


def positive_finite(name: str, value: Any) -> float:
    """Return a positive finite number, or raise."""
    return number(name, value, "a positive finite number", lambda x: x > 0.0)


def not_negative(name: str, value: Any) -> float:
    """Return a finite number >= 0, or raise."""
    return number(name, value, "a finite number >= 0", lambda x: x >= 0.0)


def share(name: str, value: Any) -> float:
    """Return a fraction from 0 to 1, or raise."""
    return number(name, value, f"0 <= {name} <= 1", lambda x: 0.0 <= x <= 1.0)


def choice(name: str, value: Any, choices: tuple[_Choice, ...]) -> _Choice:
    """Return the choice that equals a value, or raise."""
    simple = value is None or isinstance(value, (str, numbers.Real))
    if not simple or isinstance(value, bool) or value not in choices:
        raise invalid(name, f"one of {choices}", repr(value))
    return choices[choices.index(value)]
