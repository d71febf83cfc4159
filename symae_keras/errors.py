"""The exceptions that mean: the input, not the program, is at fault."""

from __future__ import annotations

__all__ = ["InputError", "NonFiniteError"]


class InputError(ValueError):
    """Unusable input, told in one sentence: what came, what was expected, what to do.

    The command line prints the sentence and exits with code 2; in Python it is an
    ordinary `ValueError`.
    """


class NonFiniteError(InputError, ArithmeticError):
    """Training came to NaN or infinity, told in one sentence: when, where, what to do.

    It is an `InputError` too, since data or settings have to change.
    """


def __dir__() -> list[str]:
    return sorted(__all__)
