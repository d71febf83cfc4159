"""Exceptions for errors in the input, not in the program."""

from __future__ import annotations

__all__ = ["InputError", "NonFiniteError"]


class InputError(ValueError):
    """Error for unusable input, in one sentence: what came, what was expected, advice.

    The command line prints the sentence and exits with code 2. In Python, it is an
    ordinary `ValueError`.
    """


class NonFiniteError(InputError, ArithmeticError):
    """Error for NaN or infinity in training, in one sentence: when, where, advice.

    It is also an `InputError`, because data or settings have to change.
    """


def __dir__() -> list[str]:
    return sorted(__all__)
