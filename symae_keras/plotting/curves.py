"""Errors over a size that one chooses, on logarithmic axes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from symae_keras.data.groups import Array
from symae_keras.errors import InputError
from symae_keras.plotting.style import (
    PAGE,
    check_shape,
    finish,
    new_figure,
    open_frame,
    series_style,
    to_array,
)


def plot_curves(
    x_name: str,
    x: Any,
    errors: Mapping[str, Any],
    x_label: str,
    y_label: str,
    limit: Any = None,
    labels: Mapping[str, str] | None = None,
) -> Figure:
    """Draw the median of each method over seeds as a line, their range as a band.

    Args:
        x_name: What error messages call `x`.
        x: Sizes, `(n,)`, positive.
        errors: Errors by method, each `(n, n_seeds)` or `(n,)`, positive.
        x_label: What x is, with its unit.
        y_label: What the errors are, with their unit.
        limit: The least possible error, `(n,)`, or `None`.
        labels: What to call a method in the legend, where it is not its key.

    Returns:
        A figure with one axes.

    Raises:
        InputError: The arrays do not fit `x`, or are not positive.
    """
    count = _positive(x_name, to_array(x_name, x, (1,)))
    if not errors:
        raise InputError("errors holds no method: give one array a method.")
    order = np.argsort(count)
    figure = new_figure(0.75 * PAGE, 3.6)
    ax = figure.add_subplot()
    open_frame(ax)
    ax.set(xscale="log", yscale="log")
    for n, (name, values) in enumerate(errors.items()):
        argument = f"errors[{name!r}]"
        array = _positive(argument, to_array(argument, values, (1, 2)))
        array = array.reshape(len(array), -1)
        check_shape(argument, array, (len(count), array.shape[1]), x_name)
        array = array[order]
        colour, marker = series_style(n)
        ax.plot(
            count[order],
            np.median(array, axis=1),
            color=colour,
            marker=marker,
            markersize=5,
            label=(labels or {}).get(name, name),
        )
        if array.shape[1] > 1:
            ax.fill_between(
                count[order],
                array.min(axis=1),
                array.max(axis=1),
                color=colour,
                alpha=0.2,
                linewidth=0,
            )
    if limit is not None:
        least = _positive("limit", to_array("limit", limit, (1,)))
        check_shape("limit", least, count.shape, x_name)
        ax.plot(count[order], least[order], color="black", ls="--", label="limit")
    ax.set_xlabel(x_label)
    ax.set_ylabel(y_label)
    ax.set_xticks(_apart(count[order]))
    ax.set_xticks([], minor=True)
    ax.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    ax.yaxis.set_minor_formatter(NullFormatter())
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_formatter(StrMethodFormatter("{x:g}"))
    ax.legend(frameon=False)
    return finish(figure)


def _apart(values: Array) -> list[float]:
    """Those of the ascending values whose ticks do not touch on a logarithmic axis."""
    chosen = [float(values[0])]
    for value in values[1:]:
        if np.log(value / chosen[-1]) > 0.06 * np.log(values[-1] / values[0]):
            chosen.append(float(value))
    return chosen


def _positive(name: str, array: Array) -> Array:
    if not (np.isfinite(array) & (array > 0)).all():
        raise InputError(
            f"{name} must be positive, since the axes are logarithmic; received values "
            f"from {np.min(array)} to {np.max(array)}."
        )
    return array
