"""Reconstruction error against the size of the code."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure

from symae_keras.plotting.curves import plot_curves


def plot_bottleneck_sweep(
    code_dims: Any, errors: Mapping[str, Any], labels: Mapping[str, str] | None = None
) -> Figure:
    """Plot errors of held-out instances against the size of the bottleneck.

    Where the curve of a network bends is the number of things that vary in the data, as
    far as the network tells them; that of principal components bends later where they
    vary nonlinearly. Both axes are logarithmic. A line is the median over seeds, its
    band their range.

    Args:
        code_dims: Sizes of the code, `(n,)`.
        errors: Errors by method, each `(n, n_seeds)` or `(n,)`.
        labels: What to call a method in the legend. `None` (default) stands for its
            key in `errors`.

    Returns:
        A figure with one axes.

    Raises:
        InputError: The arrays do not fit `code_dims`, or are not positive.

    Example:
    >>> figure = plot_bottleneck_sweep(
    ...     [2, 8, 32], {"autoencoder": [0.3, 0.01, 0.01], "PCA": [0.4, 0.1, 0.02]}
    ... )
    >>> [line.get_label() for line in figure.axes[0].lines]
    ['autoencoder', 'PCA']
    """
    return plot_curves(
        "code_dims",
        code_dims,
        errors,
        x_label="numbers in the code",
        y_label="reconstruction error (MSE / variance of the data)",
        labels=labels,
    )
