"""Redatuming error against the number of instances, beside the law of 1 / T."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from symae_keras.data.groups import Array
from symae_keras.errors import InputError
from symae_keras.plotting.instances import plot_error_over_instances
from symae_keras.plotting.style import finish, to_array


def plot_one_over_t(
    n_instances: Any,
    errors: Mapping[str, Any],
    limit: Any = None,
    labels: Mapping[str, str] | None = None,
) -> Figure:
    """Plot redatuming errors against the number of instances T, and the law of 1 / T.

    What a group leaves open of its state is averaged out by more instances, so that the
    error of an optimal estimator falls as 1 / T. A line that bends off the law has
    reached what more instances cannot help: pixel noise, and what the network gets
    wrong. The legend states the slope of each line in logarithms, by least squares; -1
    is the law, which is drawn through the first median of the first method.

    Args:
        n_instances: Numbers of instances, `(n,)`, two or more different ones.
        errors: Errors by method, each `(n, n_seeds)` or `(n,)`, such as
            `error_over_instances` finds for each seed.
        limit: The least possible error, `(n,)`, such as `exposures_limit` at each
            number. Defaults to `None`.
        labels: What to call a method in the legend. `None` (default) stands for its
            key in `errors`.

    Returns:
        A figure with one axes.

    Raises:
        InputError: The arrays do not fit `n_instances`, or are not positive, or there
            are no two numbers of instances.

    Example:
    >>> n_instances = np.array([4, 16, 64])
    >>> figure = plot_one_over_t(n_instances, {"SymAE": 0.02 + 0.3 / n_instances})
    >>> [line.get_label() for line in figure.axes[0].lines]
    ['SymAE, slope -0.49', '1 / T']
    """
    count = to_array("n_instances", n_instances, (1,))
    if len(np.unique(count)) < 2:
        raise InputError(
            "n_instances must hold two or more different numbers, since a slope is "
            f"drawn; received {count.tolist()}."
        )
    figure = plot_error_over_instances(count, errors, limit, labels)
    (ax,) = figure.axes
    # Whatever came out of order or over several seeds is a line of medians by now.
    for line in ax.lines:
        x, y = (np.asarray(each, "float64") for each in line.get_data())
        line.set_label(f"{line.get_label()}, slope {_slope(x, y):.2f}")
    x, y = (np.asarray(each, "float64") for each in ax.lines[0].get_data())
    ax.plot(x, y[0] * x[0] / x, color="0.5", ls=":", label="1 / T")
    ax.legend(frameon=False)
    return finish(figure)


def _slope(x: Array, y: Array) -> float:
    return float(np.polyfit(np.log(x), np.log(y), 1)[0])
