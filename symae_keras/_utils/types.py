"""Type aliases, and what kind of model one has."""

from __future__ import annotations

from typing import Any, TypeAlias

#: A tensor of the Keras backend in use, or anything that converts to one.
Tensor: TypeAlias = Any
#: A shape; `None` stands for an axis whose length is not known yet.
Shape: TypeAlias = tuple[int | None, ...]


def swaps_codes(model: Any) -> bool:
    """Whether a model takes groups and swaps their codes; else single instances."""
    return hasattr(model, "redatum")
