"""Virtual instances."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from matplotlib.figure import Figure

from symae_keras._utils.batching import in_batches
from symae_keras.data.groups import Array, GroupedData
from symae_keras.errors import InputError
from symae_keras.plotting.style import (
    COHERENT,
    NUISANCE,
    PAGE,
    TRUTH,
    VIRTUAL,
    Display,
    bare_frame,
    check_shape,
    drawable,
    finish,
    new_figure,
    open_frame,
    to_array,
    to_axis,
)

_COLUMNS: Final = 3
_RESIDUAL: Final = "truth \N{MINUS SIGN} virtual"


def plot_redatuming(
    coherent_source: Any,
    nuisance_source: Any,
    virtual: Any,
    truth: Any = None,
    axis: Any = None,
    axis_label: str = "pixel",
    value_label: str = "flux",
) -> Figure:
    """Compare virtual instances with their two sources and, where known, the truth.

    Spectra: a column of panels an example, three examples side by side, with the
    residual and its root mean square below. Images: a row an example, all on one
    intensity scale, with the residual on a diverging one.

    Args:
        coherent_source: Instances whose state is shown, one an example: spectra
            `(n, pixels)` or images `(n, height, width)`, with or without one or three
            channels last.
        nuisance_source: Instances whose nuisance is shown; the same shape.
        virtual: Virtual instances of the model; the same shape.
        truth: Exact or measured instances; the same shape. Defaults to `None`, which
            leaves out truth and residual.
        axis: Physical value of each pixel of a spectrum, `(pixels,)`. `None` (default)
            counts pixels.
        axis_label: What the axis is, with its unit. Defaults to `"pixel"`.
        value_label: What the values are, with their unit. Defaults to `"flux"`.

    Returns:
        A figure; one axes a panel, example by example, then colour bars.

    Raises:
        InputError: The arrays do not fit each other, or `axis` came with images.

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
    if first.ndim == 2:
        pixels = to_axis(axis, first.shape[1])
        return _plot_spectra(arrays, pixels, axis_label, value_label)
    if axis is not None:
        raise InputError(
            "axis belongs to spectra, arrays (n, pixels); received images of shape "
            f"{first.shape}."
        )
    return _plot_images(arrays, value_label)


def _plot_spectra(
    arrays: dict[str, Array], pixels: Array, axis_label: str, value_label: str
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
        _plot_example(panels, example, pixels)
    figure.supxlabel(axis_label)
    figure.supylabel(value_label)
    return finish(figure)


def _plot_example(panels: list[Any], example: dict[str, Array], pixels: Array) -> None:
    """Draw one example into its column of panels."""
    sources = (("coherent source", COHERENT), ("nuisance source", NUISANCE))
    for ax, (title, colour) in zip(panels, sources, strict=False):
        ax.plot(pixels, example[title], color=colour, linewidth=0.9)
        ax.set_title(title, loc="left", color=colour)
    ax = panels[2]
    if "truth" in example:
        ax.plot(pixels, example["truth"], color=TRUTH, linewidth=1.8, label="truth")
    ax.plot(pixels, example["virtual"], color=VIRTUAL, linewidth=0.9, label="virtual")
    if "truth" in example:
        residual = np.asarray(example["truth"], "float64") - example["virtual"]
        panels[3].axhline(0.0, color="0.6", linewidth=0.8)
        panels[3].plot(pixels, residual, color=TRUTH, linewidth=0.9)
        known = residual[np.isfinite(residual)]
        limit = 1.1 * np.abs(known).max(initial=0.0) or 1.0
        panels[3].set_ylim(-limit, limit)
        panels[3].locator_params(axis="y", nbins=4)
        rms = np.sqrt(np.sum(known**2) / max(len(known), 1))
        panels[3].set_title(f"{_RESIDUAL}, rms {rms:.2g}", loc="left")
        # Where a title would be: inside, it would hide a part of the curves.
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


def _plot_images(arrays: dict[str, Array], value_label: str) -> Figure:
    shape = arrays["virtual"].shape
    display = Display(list(arrays.values()), channel_axis=len(shape) == 4)
    titles = list(arrays)
    n_columns = len(titles) + ("truth" in arrays)
    cell = PAGE / 5
    # Colour images need no bar of their own, but a line more under their residual's.
    below = 0.9 if not display.colour else 1.1 if "truth" in arrays else 0.3
    height = cell * shape[0] * shape[1] / shape[2] + below
    figure = new_figure(cell * n_columns, height, "compressed")
    panels = figure.subplots(shape[0], n_columns, squeeze=False)
    for row, axes in enumerate(panels):
        for ax, title in zip(axes, titles, strict=False):
            shown = display.show(ax, arrays[title][row])
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
        limit = float(np.nanmax(np.abs(residual))) or 1.0
        for ax, image in zip(panels[:, -1], residual, strict=True):
            bare_frame(ax)
            shown = ax.imshow(image, cmap="RdBu_r", vmin=-limit, vmax=limit)
        panels[0, -1].set_title("residual")
        bar = figure.colorbar(
            shown,
            ax=list(panels[:, -1]),
            location="bottom",
            label=_RESIDUAL + ("\n(mean of colours)" if display.colour else ""),
            shrink=0.9,
            aspect=12,
        )
        ends = f"\N{MINUS SIGN}{limit:.2g}", f"{limit:.2g}"
        bar.set_ticks([-limit, 0.0, limit], labels=[ends[0], "0", ends[1]])
    return finish(figure)


def plot_model_redatuming(model: Any, groups: GroupedData, examples: int = 3) -> Figure:
    """Show the states of the first groups under the nuisances of the next ones.

    Args:
        model: Anything with `redatum`, such as `SymAE`.
        groups: Two groups or more, simulated or measured.
        examples: How many states to show, as far as there are so many.

    Returns:
        A figure, see `plot_redatuming`.
    """
    state = np.arange(min(examples, len(groups) - 1))
    group, mask = state + 1, groups.model_mask
    first = groups.present.argmax(axis=1)
    # Whole groups, of which one instance is drawn: a conditional nuisance encoder reads
    # an instance with the others of its group.
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
    x = groups.x
    if groups.masks == 2:
        x = np.where(groups.good_pixels, x, np.nan)  # gaps in the lines
    images = len(groups.instance_shape) == 3
    return plot_redatuming(
        drawable(x[state, first[state]]),
        drawable(x[group, first[group]]),
        drawable(virtual),
        truth,
        axis=None if images else groups.axis,
        axis_label=groups.axis_label,
        value_label="intensity" if images else "value",
    )
