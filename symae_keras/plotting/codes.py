"""Codes as points, coloured by a true parameter."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from symae_keras.data.groups import Array
from symae_keras.errors import InputError
from symae_keras.plotting.style import (
    EDGE,
    PAGE,
    PALETTE,
    check_shape,
    finish,
    new_figure,
    open_frame,
    series_style,
    to_array,
)

_MAX_CLASSES: Final = 24


def plot_codes(
    codes: Any, colour: Any, colour_label: str, code_name: str = "coherent code"
) -> Figure:
    """Scatter codes in the plane, coloured by a true parameter.

    Codes of more than two components are projected on their first two principal
    components; the axes tell the share of the variance that each one explains. Codes of
    two components are drawn as they are, codes of one against the parameter.

    Args:
        codes: Codes `(n, dim)`, such as `model.encode(x).coherent`.
        colour: The parameter, `(n,)`: numbers (floating point) get a colour bar,
            labels (integers, booleans, text) a legend.
        colour_label: Name of the parameter, with its unit.
        code_name: Name of the code. Defaults to `"coherent code"`.

    Returns:
        A figure; the axes of the points come first.

    Raises:
        InputError: The arrays do not fit each other, or there are too many labels.

    Example:
    >>> rng = np.random.default_rng(0)
    >>> codes = rng.normal(size=(100, 8))
    >>> figure = plot_codes(codes, codes[:, 0], "temperature (K)")
    >>> figure.axes[0].get_xlabel()[:27]
    'coherent code, principal co'
    """
    codes = to_array("codes", codes, (2,))
    colour = to_array("colour", colour, (1,))
    check_shape("colour", colour, (len(codes),), "codes")
    figure = new_figure(0.75 * PAGE, 4.0)
    ax = figure.add_subplot()
    open_frame(ax)
    if codes.shape[1] == 1:
        ax.set(xlabel=code_name, ylabel=colour_label)
        _plot_line(ax, codes[:, 0], colour)
        return finish(figure)
    points, names = _plane(codes)
    ax.set(xlabel=f"{code_name}, {names[0]}", ylabel=f"{code_name}, {names[1]}")
    if _are_labels(colour):
        _scatter_labels(ax, points, colour, colour_label)
    else:
        shown = ax.scatter(
            points[:, 0], points[:, 1], c=colour, cmap="viridis", s=14, linewidths=0
        )
        figure.colorbar(shown, ax=ax, label=colour_label)
    return finish(figure)


def _are_labels(colour: Array) -> bool:
    return colour.dtype.kind != "f"


def _plot_line(ax: Axes, codes: Array, colour: Array) -> None:
    """A code of one component against the parameter, one row a label."""
    heights = colour
    if _are_labels(colour):
        names, which = np.unique(colour, return_inverse=True)
        heights = which.reshape(-1)
        ax.set_yticks(np.arange(len(names)), labels=[str(name) for name in names])
    ax.scatter(codes, heights, color=PALETTE[0], s=14, alpha=0.6, linewidths=0)


def _plane(codes: Array) -> tuple[Array, list[str]]:
    """Points in the plane and the names of its two directions."""
    if codes.shape[1] == 2:
        return codes, ["component 1", "component 2"]
    centred = np.asarray(codes, "float64")
    centred = centred - centred.mean(axis=0)
    left, scale, _ = np.linalg.svd(centred, full_matrices=False)
    total = np.sum(scale**2)
    if len(scale) < 2 or not total > 0.0:
        raise InputError(
            "Principal components need at least two different codes; received "
            f"codes of shape {codes.shape}."
        )
    shares = 100.0 * scale[:2] ** 2 / total
    names = [
        f"principal component {n} ({share:.0f} %)"
        for n, share in enumerate(shares, start=1)
    ]
    return left[:, :2] * scale[:2], names


def _scatter_labels(ax: Axes, points: Array, labels: Array, title: str) -> None:
    classes = np.unique(labels)
    if len(classes) > _MAX_CLASSES:
        raise InputError(
            f"colour holds {len(classes)} different labels, more than the "
            f"{_MAX_CLASSES} that a legend can tell apart: give numbers as floats."
        )
    for n, name in enumerate(classes):
        colour, marker = series_style(n)
        ax.scatter(
            points[labels == name, 0],
            points[labels == name, 1],
            s=18,
            color=colour,
            marker=marker,
            edgecolors=EDGE,
            linewidths=0.3,
            label=str(name),
        )
    ax.legend(
        title=title,
        loc="center left",
        bbox_to_anchor=(1.0, 0.5),
        ncols=1 + (len(classes) > 12),
        handlelength=1.0,
        columnspacing=1.0,
        frameon=False,
    )
