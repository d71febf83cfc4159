"""Types of arrays and codes, and batched application of functions to arrays."""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

#: A tensor of the Keras backend in use, or anything that converts to one.
Tensor: TypeAlias = Any
#: A shape; `None` is an axis whose length is not known yet.
Shape: TypeAlias = tuple[int | None, ...]

_GROUPS_AT_ONCE = 64
#: For `in_batches` over single instances.
INSTANCES_AT_ONCE = 1024


class Codes(NamedTuple):
    """The two codes of a batch of groups."""

    coherent: Tensor
    """`(batch, coherent_dim)`: the part that the instances of a group share."""
    nuisance: Tensor
    """`(batch, instances, nuisance_dim)`: the part specific to each instance."""


def swaps_codes(model: Any) -> bool:
    """Return whether a model takes groups and has `redatum`."""
    return hasattr(model, "redatum")


def in_batches(function: Any, *arrays: Any, rows: int = _GROUPS_AT_ONCE) -> Any:
    """Apply a function to arrays a few groups at a time, to limit the memory.

    Args:
        function: Function of the arrays that returns a tensor, or a tuple of tensors as
            `SymAE.encode` does, with one row per group.
        arrays: Arrays with one row per group, or `None`, which is passed on.
        rows: Rows per call. Defaults to 64.

    Returns:
        The results as float32 NumPy arrays.
    """
    import keras
    import numpy as np

    first = next(a for a in arrays if a is not None)
    parts = []
    for start in range(0, len(first), rows):
        part = slice(start, start + rows)
        result = function(*(None if a is None else a[part] for a in arrays))
        parts.append(keras.tree.map_structure(to_numpy, result))
    return keras.tree.map_structure(lambda *each: np.concatenate(each), *parts)


def to_numpy(tensor: Any) -> Any:
    """Return a tensor of any backend and dtype as a float32 NumPy array."""
    import keras
    import numpy as np

    return np.asarray(keras.ops.convert_to_numpy(keras.ops.cast(tensor, "float32")))
