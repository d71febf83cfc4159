"""Checks of arguments, whose errors name the argument and what came."""

from __future__ import annotations

import math
import numbers
from collections.abc import Sequence
from typing import Any


def invalid(name: str, expected: str, value: Any) -> ValueError:
    """The error for an argument that is not what was expected."""
    return ValueError(
        f"Invalid value received for argument `{name}`. "
        f"Expected {expected}. Received: {name}={value}"
    )


def is_integer(value: Any, least: int) -> bool:
    """Whether a value is an integer, or a float that equals one, and large enough."""
    return is_number(value) and value >= least and value == int(value)


def is_number(value: Any) -> bool:
    """Whether a value is a finite real number; True and False are not numbers."""
    real = isinstance(value, numbers.Real) and not isinstance(value, bool)
    return real and math.isfinite(value)


def positive(name: str, value: int) -> int:
    """Return a size as an integer, or raise."""
    if not is_integer(value, 1):
        raise invalid(name, "a positive integer", value)
    return int(value)


def sizes(name: str, value: Sequence[int], example: str) -> tuple[int, ...]:
    """Return at least one size as integers, or raise.

    Args:
        name: Name of the argument.
        value: Value of the argument.
        example: A valid value, for the error.
    """
    # Text and dicts can be iterated over, too.
    values = () if isinstance(value, (str, bytes, dict)) else value
    try:
        values = tuple(values)
    except TypeError:
        values = ()
    if not values or not all(is_integer(n, 1) for n in values):
        raise invalid(name, f"positive integers such as {example}", repr(value))
    return tuple(int(n) for n in values)


def one_each(
    name: str, value: int | Sequence[int], count: int, of: str, least: int = 1
) -> tuple[int, ...]:
    """Return one size for each, given as one for all or as one for each, or raise."""
    values = tuple(value) if isinstance(value, Sequence) else (value,) * count
    if len(values) != count or not all(is_integer(n, least) for n in values):
        raise invalid(name, f"an integer >= {least}, or {count}, one {of}", value)
    return tuple(int(n) for n in values)


def positive_finite(name: str, value: float) -> float:
    """Return a scale, or raise."""
    if not (is_number(value) and value > 0.0):
        raise invalid(name, "a positive finite number", value)
    return float(value)


def not_negative(name: str, value: float) -> float:
    """Return a weight or a strength, or raise."""
    if not (is_number(value) and value >= 0.0):
        raise invalid(name, "a finite number >= 0", value)
    return float(value)


def share(name: str, value: float) -> float:
    """Return a part of the whole, or raise."""
    if not (is_number(value) and 0.0 <= value <= 1.0):
        raise invalid(name, f"0 <= {name} <= 1", value)
    return float(value)
