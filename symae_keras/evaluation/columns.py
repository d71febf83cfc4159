"""Labels of several components, taken apart."""

from __future__ import annotations

import numpy as np

from symae_keras.data.groups import Array, Parameters
from symae_keras.errors import InputError


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
