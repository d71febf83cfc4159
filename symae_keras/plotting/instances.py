"""Redatuming error against the number of instances in a group."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure

from symae_keras.plotting.curves import plot_curves


def plot_error_over_instances(
    n_instances: Any,
    errors: Mapping[str, Any],
    limit: Any = None,
    labels: Mapping[str, str] | None = None,
) -> Figure:
    """Plot redatuming errors against the number of instances a group.

    Both axes are logarithmic. A line is the median over seeds, its band their range.

    Args:
        n_instances: Numbers of instances, `(n,)`.
        errors: Errors by method, each `(n, n_seeds)` or `(n,)`.
        limit: The least possible error, `(n,)`, such as `exposures_limit` at each
            number. Defaults to `None`.
        labels: What to call a method in the legend. `None` (default) stands for its
            key in `errors`.

    Returns:
        A figure with one axes.

    Raises:
        InputError: The arrays do not fit `n_instances`, or are not positive.

    Example:
    >>> import numpy as np
    >>> n_instances = np.array([4, 16, 64])
    >>> figure = plot_error_over_instances(
    ...     n_instances,
    ...     {"SymAE": 0.5 / n_instances[:, None] * [1.0, 1.1, 1.3]},
    ...     limit=0.4 / n_instances,
    ... )
    >>> [line.get_label() for line in figure.axes[0].lines]
    ['SymAE', 'limit']
    """
    return plot_curves(
        "n_instances",
        n_instances,
        errors,
        x_label="instances in a group",
        y_label="redatuming error (MSE / variance of truth)",
        limit=limit,
        labels=labels,
    )
