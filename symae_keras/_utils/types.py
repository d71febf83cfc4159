"""Types that models and classical references share, and model type checks."""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

#: A tensor of the Keras backend in use, or anything that converts to one.
Tensor: TypeAlias = Any
#: A shape; `None` stands for an axis whose length is not known yet.
Shape: TypeAlias = tuple[int | None, ...]


class Codes(NamedTuple):
    """The two codes of a batch of groups."""

    coherent: Tensor
    """`(batch, coherent_dim)`: what the instances of a group share."""
    nuisance: Tensor
    """`(batch, instances, nuisance_dim)`: what is particular to each instance."""


def swaps_codes(model: Any) -> bool:
    """Return whether a model takes groups and has `redatum`."""
    return hasattr(model, "redatum")
