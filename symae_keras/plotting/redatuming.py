"""Virtual instances, with their sources and the truth, and in a grid."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from matplotlib.figure import Figure

from symae_keras._utils.arrays import in_batches
from symae_keras.data.groups import Array, GroupedData
from symae_keras.errors import InputError
from symae_keras.plotting.style import (
    COHERENT,
    NUISANCE,
    PAGE,
    TRUTH,
    VIRTUAL,
    Display,
    axis_and_labels,
    check_shape,
    drawable,
    finish,
    group_title,
    new_figure,
    open_frame,
    plot_residual,
    refuse_axis,
    shortened,
    show_signed,
    signed_bar,
    to_array,
    to_axis,
)

_COLUMNS: Final = 3
#: Minimum width of a cell of the grid, in inches, so that its name fits.
_ROOM_FOR_NAMES: Final = 0.9
_RESIDUAL: Final = "truth \N{MINUS SIGN} virtual"
_SOURCES: Final = (("coherent source", COHERENT), ("nuisance source", NUISANCE))


def plot_redatuming(
    coherent_source: Any,
    nuisance_source: Any,
    virtual: Any,
    truth: Any = None,
    axis: Any = None,
    axis_label: str = "pixel",
    value_label: str = "flux",
    bands: tuple[Any, Any] | None = None,
    names: Sequence[tuple[str, str]] | None = None,
) -> Figure:
    """Compare virtual instances with their two sources and, if known, the truth.

    For spectra, each example is a column of panels, with the residual and its root mean
    square at the bottom; three examples are side by side. The virtual instance is drawn
    over both sources. For images, each example is a row on one intensity scale, with
    the residual on a diverging scale.

    Args:
        coherent_source: Instances that provide the states, one per example: spectra
            `(n, pixels)` or images `(n, height, width)`, with or without one or three
            channels last.
        nuisance_source: Instances that provide the nuisances; the same shape.
        virtual: Virtual instances of the model; the same shape.
        truth: Exact or measured instances; the same shape. Defaults to `None`: truth
            and residual are omitted.
        axis: Physical value of each pixel of a spectrum, `(pixels,)`. Defaults to
            `None`: pixel indices.
        axis_label: Name of the axis, with its unit. Defaults to `"pixel"`.
        value_label: Name of the values, with their unit. Defaults to `"flux"`.
        bands: Lower and upper limits of virtual spectra, such as
            `symae_keras.evaluation.Bands.of` returns; the same shape each. Defaults to
            `None`, no bands.
        names: Names of the coherent and of the nuisance source of each example, such as
            ids of groups. Defaults to `None`: no names.

    Returns:
        A figure with one axes per panel, example by example, then colour bars.

    Raises:
        InputError: The arrays do not fit each other, or `axis` or `bands` were given
            for images.

    Example:
    >>> from symae_keras.data import simulate_exposures
    >>> groups = simulate_exposures(n_states=4, n_instances=2, seed=0)
    >>> truth = groups.virtual(state=[0, 1], group=[2, 3], instance=0)
    >>> figure = plot_redatuming(
    ...     coherent_source=groups.x[:2, 0],
    ...     nuisance_source=groups.x[2:, 0],
    ...     virtual=truth,  # a perfect model
    ...     truth=truth,
    ...     axis=groups.axis,
    ...     axis_label=groups.axis_label,
    ... )
    >>> len(figure.axes)
    8
    """
    first = to_array("coherent_source", coherent_source, (2, 3, 4))
    arrays = {"coherent source": first}
    others = {"nuisance source": nuisance_source, "virtual": virtual, "truth": truth}
    for title, value in others.items():
        if value is None and title == "truth":
            continue
        name = title.replace(" ", "_")
        array = to_array(name, value, (first.ndim,))
        check_shape(name, array, first.shape, "coherent_source")
        arrays[title] = array
    if bands is not None:
        if first.ndim != 2:
            raise InputError(
                "bands are only drawn for spectra, arrays (n, pixels); received images "
                f"of shape {first.shape}."
            )
        for name, value in zip(("lower", "upper"), bands, strict=True):
            arrays[name] = to_array(f"the {name} limits", value, (first.ndim,))
            check_shape(
                f"the {name} limits", arrays[name], first.shape, "coherent_source"
            )
    if names is not None and [len(pair) for pair in names] != [2] * len(first):
        raise InputError(
            "names must have two entries for each of the "
            f"{len(first)} examples, the names of both sources; received {names}."
        )
    if first.ndim == 2:
        pixels = to_axis(axis, first.shape[1])
        return _plot_spectra(arrays, pixels, axis_label, value_label, names)
    refuse_axis(axis, first)
    return _plot_images(arrays, value_label, names)


def _plot_spectra(
    arrays: dict[str, Array],
    pixels: Array,
    axis_label: str,
    value_label: str,
    names: Sequence[tuple[str, str]] | None,
) -> Figure:
    n_examples = len(arrays["virtual"])
    heights = [1.25, 1.25, 1.25] + [0.8] * ("truth" in arrays)
    columns = min(n_examples, _COLUMNS)
    blocks = -(-n_examples // columns)
    figure = new_figure(
        PAGE if columns > 1 else PAGE / 2, blocks * (sum(heights) + 0.25 * len(heights))
    )
    grid = figure.add_gridspec(
        len(heights) * blocks, columns, height_ratios=heights * blocks
    )
    for n in range(n_examples):
        block, column = divmod(n, columns)
        top = block * len(heights)
        panels = [figure.add_subplot(grid[top, column])]
        for below in range(1, len(heights)):
            same_scale = None if below == 3 else panels[0]
            panels.append(
                figure.add_subplot(
                    grid[top + below, column], sharex=panels[0], sharey=same_scale
                )
            )
        example = {title: array[n] for title, array in arrays.items()}
        _plot_example(panels, example, pixels, names[n] if names else ("", ""))
    return finish(figure, axis_label, value_label)


def _plot_example(
    panels: list[Any], example: dict[str, Array], pixels: Array, names: tuple[str, str]
) -> None:
    """Draw one example into its column of panels."""
    ax = panels[2]
    for panel, (title, colour), name in zip(panels, _SOURCES, names, strict=False):
        panel.plot(pixels, example[title], color=colour, linewidth=0.9)
        text = f"{title.split()[0]}: {shortened(name)}" if name else title
        panel.set_title(text, loc="left", color=colour)
        # Both sources again, thin, for comparison with the virtual instance.
        ax.plot(pixels, example[title], color=colour, linewidth=0.6, label=f"_{title}")
    if "lower" in example:
        _shade(ax, pixels, example["lower"], example["upper"])
    if "truth" in example:
        ax.plot(pixels, example["truth"], color=TRUTH, linewidth=1.8, label="truth")
    ax.plot(pixels, example["virtual"], color=VIRTUAL, linewidth=0.9, label="virtual")
    if "truth" in example:
        residual = np.asarray(example["truth"], "float64") - example["virtual"]
        plot_residual(panels[3], pixels, residual, _RESIDUAL)
        if "lower" in example:
            limits = [example[name] - example["virtual"] for name in ("lower", "upper")]
            _shade(panels[3], pixels, *limits)
            residual = np.concatenate([residual, *limits])
        known = residual[np.isfinite(residual)]
        limit = 1.1 * np.abs(known).max(initial=0.0) or 1.0
        panels[3].set_ylim(-limit, limit)
        panels[3].locator_params(axis="y", nbins=4)
        # At the position of a title, because inside it would hide a part of the curves.
        ax.legend(
            loc="lower left",
            bbox_to_anchor=(0.0, 1.0),
            ncols=2,
            handlelength=1.4,
            columnspacing=1.2,
            borderaxespad=0.1,
            borderpad=0.2,
            frameon=False,
        )
    else:
        ax.set_title("virtual", loc="left", color=VIRTUAL)
    panels[0].margins(x=0.0)
    for ax in panels:
        open_frame(ax)
        ax.tick_params(labelbottom=ax is panels[-1])


def _shade(ax: Any, pixels: Array, lower: Array, upper: Array) -> None:
    """Fill the band between two limits, behind all lines."""
    ax.fill_between(pixels, lower, upper, color=VIRTUAL, alpha=0.25, linewidth=0.0)


def _plot_images(
    arrays: dict[str, Array],
    value_label: str,
    names: Sequence[tuple[str, str]] | None,
) -> Figure:
    shape = arrays["virtual"].shape
    display = Display(list(arrays.values()), channel_axis=len(shape) == 4)
    titles = list(arrays)
    n_columns = len(titles) + ("truth" in arrays)
    cell = PAGE / 5
    # Colour images need no colour bar, but another line below their residual.
    below = 0.9 if not display.colour else 1.1 if "truth" in arrays else 0.3
    height = cell * shape[0] * shape[1] / shape[2] + below
    figure = new_figure(cell * n_columns, height, "compressed")
    panels = figure.subplots(shape[0], n_columns, squeeze=False)
    for row, axes in enumerate(panels):
        for ax, title in zip(axes, titles, strict=False):
            shown = display.show(ax, arrays[title][row])
        for ax, (_, colour), name in zip(
            axes, _SOURCES, names[row] if names else (), strict=False
        ):
            ax.set_xlabel(shortened(name), color=colour)
    for ax, title in zip(panels[0], titles, strict=False):
        ax.set_title(title)
    if not display.colour:
        figure.colorbar(
            shown,
            ax=list(panels[:, : len(titles)].flat),
            location="bottom",
            label=value_label,
            shrink=0.5,
            aspect=6.5 * len(titles),
        )
    if "truth" in arrays:
        residual = display.difference(arrays["truth"], arrays["virtual"])
        shown = show_signed(panels[:, -1], residual)
        panels[0, -1].set_title("residual")
        label = _RESIDUAL + ("\n(mean of colours)" if display.colour else "")
        signed_bar(figure, shown, panels[:, -1], label=label, shrink=0.9, aspect=12)
    return finish(figure)


def plot_model_redatuming(
    model: Any,
    groups: GroupedData,
    examples: int = 3,
    bands: Any = None,
    first_number: int = 0,
) -> Figure:
    """Show the states of the first groups under the nuisances of the next ones.

    Args:
        model: A model with `redatum`, such as `SymAE`.
        groups: At least two groups, simulated or measured.
        examples: Maximum number of states.
        bands: `symae_keras.evaluation.Bands` around virtual spectra, calibrated on
            other groups. Defaults to `None`: no bands.
        first_number: Number of the first group, for the titles of groups without ids.
            Defaults to 0.

    Returns:
        A figure, see `plot_redatuming`, with the names of groups.
    """
    state = np.arange(min(examples, len(groups) - 1))
    group, mask = state + 1, groups.model_mask
    first = groups.present.argmax(axis=1)
    # Encode whole groups and draw one instance of each: a conditional nuisance encoder
    # depends on the other instances of the group.
    virtual = in_batches(
        lambda xa, xb, ma, mb: model.redatum(
            coherent_from=xa, nuisance_from=xb, coherent_mask=ma, nuisance_mask=mb
        ),
        groups.x[state],
        groups.x[group],
        None if mask is None else mask[state],
        None if mask is None else mask[group],
    )[np.arange(len(state)), first[group]]
    truth = None
    if groups.render is not None:
        truth = drawable(groups.virtual(state, group, first[group]))
    limits = None
    if bands is not None:
        both = bands.of(groups[state], groups[group])
        chosen = np.arange(len(state)), first[group]
        limits = drawable(both[0][chosen]), drawable(both[1][chosen])
    x = groups.x
    if groups.masks == 2:
        x = np.where(groups.good_pixels, x, np.nan)  # gaps in the lines
    return plot_redatuming(
        drawable(x[state, first[state]]),
        drawable(x[group, first[group]]),
        drawable(virtual),
        truth,
        bands=limits,
        names=[
            (group_title(groups, i, first_number), group_title(groups, j, first_number))
            for i, j in zip(state.tolist(), group.tolist(), strict=True)
        ],
        **axis_and_labels(groups),
    )


def plot_redatuming_grid(
    states: Any,
    nuisances: Any,
    virtual: Any,
    axis: Any = None,
    axis_label: str = "pixel",
    value_label: str = "flux",
) -> Figure:
    """Show every state under every nuisance in a grid.

    The first column shows the coherent sources and the first row the nuisance sources.
    Each cell shows the virtual instance of the state of its row under the nuisance of
    its column.

    Args:
        states: One instance of each state: images `(n_states, height, width)`, with or
            without one or three channels last, or spectra `(n_states, pixels)`.
        nuisances: One instance under each nuisance, `(n_nuisances, *instance_shape)`.
        virtual: Virtual instances, `(n_states, n_nuisances, *instance_shape)`.
        axis: Physical value of each pixel of a spectrum, `(pixels,)`. Defaults to
            `None`: pixel indices.
        axis_label: Name of the axis, with its unit. Defaults to `"pixel"`.
        value_label: Name of the values, with their unit. Defaults to `"flux"`.

    Returns:
        A figure; the axes row by row without the empty corner, then any colour bar.

    Raises:
        InputError: The arrays do not fit each other, or `axis` was given for images.

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
    corner = nuisances[:1]  # is not drawn
    rows = np.concatenate([states[:, None], virtual], axis=1)
    cells = np.concatenate([np.concatenate([corner, nuisances])[None], rows])
    if states.ndim == 2:
        pixels = to_axis(axis, states.shape[1])
        return finish(_plot_grid_of_spectra(cells, pixels), axis_label, value_label)
    refuse_axis(axis, states)
    return finish(_plot_grid_of_images(cells, value_label))


def _plot_grid_of_images(cells: Array, value_label: str) -> Figure:
    display = Display([cells], channel_axis=cells.ndim == 5)
    rows, columns = cells.shape[:2]
    cell = min(PAGE / columns, PAGE / 5)
    height = cell * rows * cells.shape[2] / cells.shape[3]
    figure = new_figure(
        cell * columns, height + (0.3 if display.colour else 0.8), "compressed"
    )
    panels: Any = figure.subplots(rows, columns)
    for place in np.ndindex(rows, columns):
        shown = display.show(panels[place], cells[place])
    _head(panels, in_full=cell >= _ROOM_FOR_NAMES)
    for axes, colour in ((panels[0, 1:], NUISANCE), (panels[1:, 0], COHERENT)):
        for ax in axes:
            ax.spines[:].set(color=colour, linewidth=2.0)
    if not display.colour:
        figure.colorbar(
            shown,
            ax=figure.axes,
            location="bottom",
            label=value_label,
            shrink=0.7,
            aspect=40,
        )
    return figure


def _plot_grid_of_spectra(cells: Array, pixels: Array) -> Figure:
    rows, columns = cells.shape[:2]
    figure = new_figure(PAGE, 1.1 * rows + 0.6)
    panels: Any = figure.subplots(rows, columns, sharex=True, sharey=True)
    for i, j in np.ndindex(rows, columns):
        ax = panels[i, j]
        colour = NUISANCE if i == 0 else COHERENT if j == 0 else VIRTUAL
        ax.plot(pixels, cells[i, j], color=colour, linewidth=0.8)
        open_frame(ax)
        # The first row has no axes in the corner to carry a label; the scale is the
        # same.
        ax.tick_params(labelbottom=i == rows - 1, labelleft=j == 0)
    _head(panels, in_full=PAGE / columns >= _ROOM_FOR_NAMES)
    panels[0, 1].margins(x=0.0)
    panels[0, 1].locator_params(nbins=3)
    return figure


def _head(panels: Any, in_full: bool) -> None:
    """Remove the corner, and name or number the sources."""
    panels[0, 0].remove()
    for number, ax in enumerate(panels[0, 1:], start=1):
        ax.set_title(f"nuisance {number}" if in_full else number, color=NUISANCE)
    for number, ax in enumerate(panels[1:, 0], start=1):
        ax.set_ylabel(f"state {number}" if in_full else number, color=COHERENT)
