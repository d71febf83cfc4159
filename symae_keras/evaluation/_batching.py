"""Models on many groups, and labels as columns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from symae_keras._utils.types import swaps_codes
from symae_keras.data.groups import Array, Parameters
from symae_keras.errors import InputError

_GROUPS_AT_ONCE = 64
#: For `in_batches` over single instances.
INSTANCES_AT_ONCE = 1024


def in_batches(
    function: Any, *arrays: Array | None, rows: int = _GROUPS_AT_ONCE
) -> Any:
    """Apply a function of whole arrays a few groups at a time, to bound memory.

    Args:
        function: Function of the arrays that returns a tensor, or a tuple of them such
            as `SymAE.encode` does, with one row a group.
        arrays: Arrays with one row a group; `None` is handed on.
        rows: How many at a time; `INSTANCES_AT_ONCE` where a row is no group.

    Returns:
        What the function returns, in float32 NumPy arrays.
    """
    import keras

    first = next(a for a in arrays if a is not None)
    parts = []
    for start in range(0, len(first), rows):
        part = slice(start, start + rows)
        result = function(*(None if a is None else a[part] for a in arrays))
        parts.append(keras.tree.map_structure(to_numpy, result))
    return keras.tree.map_structure(lambda *each: np.concatenate(each), *parts)


def reconstruct_groups(model: Any) -> Callable[[Array, Array | None], Any]:
    """`model.reconstruct` as a function of groups and their mask.

    Args:
        model: Anything with `reconstruct`, of groups or of single instances.
    """
    if swaps_codes(model):
        return lambda x, mask: model.reconstruct(x, mask)

    def reconstruct(x: Array, mask: Array | None) -> Array:
        rows = x.reshape(-1, *x.shape[2:])
        # An instance that is absent is reconstructed by itself, and harms no other.
        if mask is not None:
            mask = mask.reshape(rows.shape) if mask.ndim == x.ndim else None
        return to_numpy(model.reconstruct(rows, mask)).reshape(x.shape)

    return reconstruct


def to_numpy(tensor: Any) -> Array:
    """A float32 NumPy copy of a tensor of any backend and dtype."""
    import keras

    return np.asarray(keras.ops.convert_to_numpy(keras.ops.cast(tensor, "float32")))


def label_columns(labels: Parameters, rows: int) -> dict[str, Array]:
    """Every component of every label under a name of its own."""
    columns: dict[str, Array] = {}
    for name, values in labels.items():
        values = np.asarray(values)
        if values.ndim not in (1, 2) or len(values) != rows:
            raise InputError(
                f"labels[{name!r}] must have one row for each of the {rows} codes, and "
                f"one or two axes; received shape {values.shape}."
            )
        if values.ndim == 1:
            columns[name] = values
        else:
            columns |= {f"{name}[{i}]": each for i, each in enumerate(values.T)}
    return columns
