"""Scatter plot of one quantity against another, with a name for each model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from symae_keras.data.groups import Array
from symae_keras.errors import InputError
from symae_keras.plotting.style import (
    EDGE,
    PAGE,
    check_shape,
    finish,
    log_ticks,
    new_figure,
    open_frame,
    series_style,
    to_array,
)

#: Minimum distance along x or along y, in points, between the centre of a two-digit
#: number and a marker or another number.
_FROM_MARKER: Final = np.array([10.0, 8.5])
_FROM_NUMBER: Final = np.array([12.5, 10.0])
_RINGS: Final = 5
_POINTS_AN_INCH: Final = 72.0


def plot_trade_off(
    x: Any,
    y: Any,
    labels: Sequence[str],
    x_label: str,
    y_label: str,
    groups: Sequence[str] | None = None,
    log: bool = False,
) -> Figure:
    """Scatter one quantity against another, with a name for each point.

    Points are numbered, and the legend lists the name of each number, so that close
    points remain readable.

    Args:
        x: Values on the x axis, `(n,)`, such as reconstruction errors.
        y: Values on the y axis, `(n,)`, such as leakages.
        labels: Name of each point.
        x_label: Name of x, with its unit.
        y_label: Name of y, with its unit.
        groups: Family of each point, shown by colour and marker. Defaults to `None`: a
            single family.
        log: Whether both axes are logarithmic; all values must then be positive.
            Defaults to False.

    Returns:
        A figure with one axes; its texts are the numbers, in the order of `x`.

    Raises:
        InputError: The arguments differ in length, or values are not finite, or not
            positive on logarithmic axes.

    Example:
    >>> figure = plot_trade_off(
    ...     [0.01, 0.02], [0.1, 0.6], ["SymAE", "VAE"], "reconstruction", "leakage (R2)"
    ... )
    >>> [text.get_text() for text in figure.axes[0].texts]
    ['1', '2']
    """
    x, y = to_array("x", x, (1,)), to_array("y", y, (1,))
    check_shape("y", y, x.shape, "x")
    if not np.isfinite([x, y]).all():
        raise InputError("x and y must be finite; received NaN or infinity.")
    if log and not (np.min([x, y]) > 0.0):
        raise InputError(
            "x and y must be positive on logarithmic axes; received values down to "
            f"{np.min([x, y])}."
        )
    families = [""] * len(x) if groups is None else [str(each) for each in groups]
    for name, length in (("labels", len(labels)), ("groups", len(families))):
        if length != len(x):
            raise InputError(
                f"{name} must have {len(x)} entries, one per point; received {length}."
            )
    distinct = list(dict.fromkeys(families))
    entries = len(x) + len(distinct)
    figure = new_figure(PAGE, max(4.0, 0.19 * entries + 0.4))
    ax = figure.add_subplot()
    open_frame(ax)
    ax.margins(0.12)
    if log:
        ax.set(xscale="log", yscale="log")
        log_ticks(ax.xaxis)
        log_ticks(ax.yaxis)
    ax.set(xlabel=x_label, ylabel=y_label)
    handles = []
    for n, family in enumerate(distinct):
        colour, marker = series_style(n)
        members = [i for i, each in enumerate(families) if each == family]
        ax.scatter(
            x[members],
            y[members],
            color=colour,
            marker=marker,
            s=30,
            edgecolors=EDGE,
            linewidths=0.4,
            zorder=3,
        )
        if groups is not None:
            handles.append(
                Line2D([], [], color=colour, marker=marker, linestyle="", label=family)
            )
        # Names are preceded by their number instead of a symbol.
        handles += [
            Line2D([], [], linestyle="", label=f"{i + 1}  {labels[i]}") for i in members
        ]
    figure.legend(
        handles=handles, loc="outside right upper", handlelength=0.8, frameon=False
    )
    finish(figure)
    _number_points(figure, ax, np.stack([x, y], axis=1))
    return finish(figure)


def _number_points(figure: Figure, ax: Axes, points: Array) -> None:
    """Place each point's number in free space, with a line to it if it is far away."""
    figure.draw_without_rendering()  # fixes the layout and so the distances
    scale = _POINTS_AN_INCH / figure.dpi
    places = ax.transData.transform(points) * scale
    for number, offset in enumerate(_free_offsets(places), start=1):
        far = (np.abs(offset) > 1.5 * _FROM_MARKER).any()
        note = ax.annotate(
            str(number),
            points[number - 1],
            xytext=tuple(offset),
            textcoords="offset points",
            ha="center",
            va="center",
            arrowprops={"arrowstyle": "-", "color": "0.5", "lw": 0.6} if far else None,
        )
        note.set_in_layout(False)


def _free_offsets(places: Array) -> list[Array]:
    """Return an offset per point that avoids all markers and earlier numbers."""
    steps = [(1, 0), (0, 1), (-1, 0), (0, -1), (1, 1), (1, -1), (-1, 1), (-1, -1)]
    rings = np.arange(1, _RINGS + 1)[:, None, None]
    # Rounding must not place a number too close to its own marker.
    candidates = (rings * 1.001 * _FROM_MARKER * np.array(steps)).reshape(-1, 2)
    numbers: list[Array] = []
    offsets = []
    for place in places:
        spots = (place + candidates)[:, None]
        room = (np.abs(spots - places) / _FROM_MARKER).max(axis=2).min(axis=1)
        if numbers:
            gaps = np.abs(spots - np.array(numbers)) / _FROM_NUMBER
            room = np.minimum(room, gaps.max(axis=2).min(axis=1))
        free = np.flatnonzero(room >= 1.0)
        best = candidates[free[0] if len(free) else room.argmax()]
        numbers.append(place + best)
        offsets.append(best)
    return offsets
