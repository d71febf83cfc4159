"""Every state under every nuisance."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from matplotlib.figure import Figure

from symae_keras.data.groups import Array
from symae_keras.errors import InputError
from symae_keras.plotting.style import (
    COHERENT,
    NUISANCE,
    PAGE,
    VIRTUAL,
    Display,
    check_shape,
    finish,
    new_figure,
    open_frame,
    to_array,
    to_axis,
)

#: Least width of a cell, in inches, over which its name fits.
_ROOM_FOR_NAMES: Final = 0.9


def plot_redatuming_grid(
    states: Any,
    nuisances: Any,
    virtual: Any,
    axis: Any = None,
    axis_label: str = "pixel",
    value_label: str = "flux",
) -> Figure:
    """Show every state under every nuisance in a grid.

    The first column holds the coherent sources, the first row the nuisance sources,
    and the cell between them the virtual instance of that state under that nuisance.

    Args:
        states: An instance of each state: images `(n_states, height, width)`, with or
            without one or three channels last, or spectra `(n_states, pixels)`.
        nuisances: An instance under each nuisance, `(n_nuisances, *instance_shape)`.
        virtual: Virtual instances, `(n_states, n_nuisances, *instance_shape)`.
        axis: Physical value of each pixel of a spectrum, `(pixels,)`. `None` (default)
            counts pixels.
        axis_label: What the axis is, with its unit. Defaults to `"pixel"`.
        value_label: What the values are, with their unit. Defaults to `"flux"`.

    Returns:
        A figure; the axes row by row without the empty corner, then any colour bar.

    Raises:
        InputError: The arrays do not fit each other, or `axis` came with images.

    Example:
    >>> from symae_keras.data import simulate_shapes
    >>> groups = simulate_shapes(n_states=5, n_instances=1, seed=0)
    >>> figure = plot_redatuming_grid(
    ...     states=groups.x[:2, 0],
    ...     nuisances=groups.x[2:, 0],
    ...     virtual=groups.virtual([[0], [1]], [[2, 3, 4]], 0),  # a perfect model
    ...     value_label="intensity",
    ... )
    >>> len(figure.axes)  # 3 * 4 cells without a corner, and a colour bar
    12
    """
    states = to_array("states", states, (2, 3, 4))
    nuisances = to_array("nuisances", nuisances, (states.ndim,))
    instance_shape = states.shape[1:]
    check_shape("nuisances", nuisances, (len(nuisances), *instance_shape), "the states")
    virtual = to_array("virtual", virtual, (states.ndim + 1,))
    expected = (len(states), len(nuisances), *instance_shape)
    check_shape("virtual", virtual, expected, "states and nuisances")
    if states.ndim == 2:
        pixels = to_axis(axis, states.shape[1])
        labels = axis_label, value_label
        return finish(_plot_spectra(states, nuisances, virtual, pixels, labels))
    if axis is not None:
        raise InputError(
            "axis belongs to spectra, arrays (n, pixels); received images of shape "
            f"{states.shape}."
        )
    return finish(_plot_images(states, nuisances, virtual, value_label))


def _plot_images(
    states: Array, nuisances: Array, virtual: Array, value_label: str
) -> Figure:
    display = Display([states, nuisances, virtual], channel_axis=states.ndim == 4)
    rows, columns = len(states) + 1, len(nuisances) + 1
    cell = min(PAGE / columns, PAGE / 5)
    height = cell * rows * states.shape[1] / states.shape[2]
    figure = new_figure(
        cell * columns, height + (0.3 if display.colour else 0.8), "compressed"
    )
    panels = _panels(figure, rows, columns, share=False)
    for i, row in enumerate(panels):
        for j, ax in enumerate(row):
            if ax is not None:
                shown = display.show(ax, _cell(states, nuisances, virtual, i, j))
    _head(panels, in_full=cell >= _ROOM_FOR_NAMES)
    for ax, colour in (
        *((ax, NUISANCE) for ax in panels[0][1:]),
        *((row[0], COHERENT) for row in panels[1:]),
    ):
        ax.spines[:].set(color=colour, linewidth=2.0)
    if not display.colour:
        axes = [ax for row in panels for ax in row if ax is not None]
        figure.colorbar(
            shown,
            ax=axes,
            location="bottom",
            label=value_label,
            shrink=0.7,
            aspect=40,
        )
    return figure


def _plot_spectra(
    states: Array,
    nuisances: Array,
    virtual: Array,
    pixels: Array,
    labels: tuple[str, str],
) -> Figure:
    rows, columns = len(states) + 1, len(nuisances) + 1
    figure = new_figure(PAGE, 1.1 * rows + 0.6)
    panels = _panels(figure, rows, columns, share=True)
    for i, row in enumerate(panels):
        for j, ax in enumerate(row):
            if ax is None:
                continue
            colour = NUISANCE if i == 0 else COHERENT if j == 0 else VIRTUAL
            spectrum = _cell(states, nuisances, virtual, i, j)
            ax.plot(pixels, spectrum, color=colour, linewidth=0.8)
            open_frame(ax)
            # The corner has no axes to label the first row: the scale is the same.
            ax.tick_params(labelbottom=i == rows - 1, labelleft=j == 0)
    panels[0][1].margins(x=0.0)
    panels[0][1].locator_params(nbins=3)
    _head(panels, in_full=PAGE / columns >= _ROOM_FOR_NAMES)
    figure.supxlabel(labels[0])
    figure.supylabel(labels[1])
    return figure


def _panels(figure: Figure, rows: int, columns: int, share: bool) -> list[list[Any]]:
    """Axes of all cells but the corner, row by row."""
    grid = figure.add_gridspec(rows, columns)
    panels: list[list[Any]] = []
    first = None
    for i in range(rows):
        panels.append([])
        for j in range(columns):
            ax = None
            if (i, j) != (0, 0):
                ax = figure.add_subplot(grid[i, j], sharex=first, sharey=first)
                first = ax if share and first is None else first
            panels[-1].append(ax)
    return panels


def _cell(states: Array, nuisances: Array, virtual: Array, i: int, j: int) -> Array:
    if i == 0:
        chosen = nuisances[j - 1]
    elif j == 0:
        chosen = states[i - 1]
    else:
        chosen = virtual[i - 1, j - 1]
    return np.asarray(chosen)


def _head(panels: list[list[Any]], in_full: bool) -> None:
    """Name or number the sources."""
    for number, ax in enumerate(panels[0][1:], start=1):
        ax.set_title(f"nuisance {number}" if in_full else number, color=NUISANCE)
    for number, row in enumerate(panels[1:], start=1):
        row[0].set_ylabel(f"state {number}" if in_full else number, color=COHERENT)
