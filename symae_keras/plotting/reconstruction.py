"""Instances, what a model makes of them, and what is left."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from symae_keras.data.groups import Array
from symae_keras.plotting.images import Display, bare_frame
from symae_keras.plotting.style import (
    PAGE,
    TRUTH,
    VIRTUAL,
    check_shape,
    finish,
    new_figure,
    open_frame,
    to_array,
    to_axis,
)


def plot_reconstruction(
    instances: Any,
    reconstructions: Any,
    axis: Any = None,
    axis_label: str = "pixel",
    value_label: str = "value",
) -> Figure:
    """Plot instances with their reconstructions and residuals, one example a column.

    Args:
        instances: One an example: spectra `(n, pixels)`, or images
            `(n, height, width)`, with or without one or three channels last. Pixels
            that are NaN are gaps.
        reconstructions: What the model makes of them; the same shape.
        axis: Physical value of each pixel of a spectrum, `(pixels,)`. `None` (default)
            counts pixels.
        axis_label: What the axis is, with its unit. Defaults to `"pixel"`.
        value_label: What the values are, with their unit. Defaults to `"value"`.

    Returns:
        A figure; its axes row by row, then colour bars of images.

    Raises:
        InputError: The arrays do not fit each other.

    Example:
    >>> x = np.sin(np.linspace(0.0, 6.0, 64)) * np.ones((3, 1))
    >>> len(plot_reconstruction(x, 0.9 * x).axes)
    6
    """
    x = to_array("instances", instances, (2, 3, 4))
    y = to_array("reconstructions", reconstructions, (x.ndim,))
    check_shape("reconstructions", y, x.shape, "the instances")
    if x.ndim > 2:
        return _plot_images(x, y, value_label)
    return _plot_spectra(x, y, to_axis(axis, x.shape[1]), axis_label, value_label)


def _plot_spectra(
    x: Array, y: Array, pixels: Array, axis_label: str, value_label: str
) -> Figure:
    figure = new_figure(PAGE, 2.9)
    rows = figure.subplots(2, len(x), sharex=True, squeeze=False, height_ratios=[2, 1])
    for column, ((top, below), one, other) in enumerate(zip(rows.T, x, y, strict=True)):
        top.plot(pixels, one, color=TRUTH, linewidth=1.8, label="instance")
        top.plot(pixels, other, color=VIRTUAL, linewidth=0.9, label="reconstruction")
        residual = np.asarray(one, "float64") - other
        below.axhline(0.0, color="0.6", linewidth=0.8)
        below.plot(pixels, residual, color=TRUTH, linewidth=0.9)
        rms = np.sqrt(np.nanmean(residual**2))
        below.set_title(f"residual, rms {rms:.2g}", loc="left")
        top.margins(x=0.0)
        for ax in (top, below):
            open_frame(ax)
            ax.locator_params(axis="y", nbins=4)
        if column == 0:
            figure.legend(
                *top.get_legend_handles_labels(),
                loc="outside upper left",
                ncols=2,
                frameon=False,
            )
    figure.supxlabel(axis_label)
    figure.supylabel(value_label)
    return finish(figure)


def _plot_images(x: Array, y: Array, value_label: str) -> Figure:
    display = Display([x, y], channel_axis=x.ndim == 4)
    residual = display.difference(x, y)
    limit = float(np.nanmax(np.abs(residual))) or 1.0
    side = (PAGE - 0.8) / max(len(x), 4)
    figure = new_figure(
        side * len(x) + 0.9, 3 * side * x.shape[1] / x.shape[2] + 0.3, "compressed"
    )
    rows = figure.subplots(3, len(x), squeeze=False)
    for axes, images in zip(rows[:2], (x, y), strict=True):
        for ax, image in zip(axes, images, strict=True):
            shown = display.show(ax, image)
    for ax, image in zip(rows[2], residual, strict=True):
        bare_frame(ax)
        left = ax.imshow(image, cmap="RdBu_r", vmin=-limit, vmax=limit)
    for axes, title in zip(
        rows, ("instance", "reconstruction", "residual"), strict=True
    ):
        axes[0].set_title(title, loc="left")
    if not display.colour:
        figure.colorbar(shown, ax=rows[:2], label=value_label, aspect=20)
    mean = " (mean of colours)" if display.colour else ""
    figure.colorbar(left, ax=rows[2], label=f"residual{mean}", aspect=10)
    return finish(figure)
