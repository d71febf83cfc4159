"""Type aliases used across the package."""

from __future__ import annotations

from typing import Any, TypeAlias

#: A tensor of the Keras backend in use, or anything that converts to one.
Tensor: TypeAlias = Any
#: A shape; `None` stands for an axis whose length is not known yet.
Shape: TypeAlias = tuple[int | None, ...]
