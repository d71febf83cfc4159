"""Checks of arguments, whose errors name the argument and what came."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def invalid(name: str, expected: str, value: Any) -> ValueError:
    """The error for an argument that is not what was expected."""
    return ValueError(
        f"Invalid value received for argument `{name}`. "
        f"Expected {expected}. Received: {name}={value}"
    )


def positive(name: str, value: int) -> int:
    """A size."""
    if int(value) != value or value < 1:
        raise invalid(name, "a positive integer", value)
    return int(value)


def one_each(
    name: str, value: int | Sequence[int], count: int, of: str, least: int = 1
) -> tuple[int, ...]:
    """Sizes, given by one for all or by one for each of so many."""
    values = tuple(value) if isinstance(value, Sequence) else (value,) * count
    if len(values) != count or any(int(n) != n or n < least for n in values):
        raise invalid(name, f"an integer >= {least}, or {count}, one {of}", value)
    return tuple(int(n) for n in values)


def positive_finite(name: str, value: float) -> float:
    """A scale."""
    if not 0.0 < value < float("inf"):
        raise invalid(name, "a positive finite number", value)
    return float(value)


def not_negative(name: str, value: float) -> float:
    """A weight or a strength."""
    if not 0.0 <= value < float("inf"):
        raise invalid(name, "a finite number >= 0", value)
    return float(value)


def share(name: str, value: float) -> float:
    """A part of the whole."""
    if not 0.0 <= value <= 1.0:
        raise invalid(name, f"0 <= {name} <= 1", value)
    return float(value)
