"""Replicates before and after redatuming: a single group, and the spread of several."""

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
    TRUTH,
    VIRTUAL,
    Display,
    check_shape,
    finish,
    new_figure,
    open_frame,
    refuse_axis,
    series_style,
    to_array,
    to_axis,
)

#: Maximum number of images side by side.
_COLUMNS: Final = 4
_TITLES: Final = ("as measured", "reconstructed", "virtual, one nuisance")
_COLOURS: Final = (COHERENT, NUISANCE, VIRTUAL)


def plot_replicates(
    instances: Any,
    reconstructions: Any,
    virtual: Any,
    truth: Any = None,
    axis: Any = None,
    axis_label: str = "pixel",
    value_label: str = "value",
) -> Figure:
    """Plot the instances of one group, their reconstructions, and virtual instances.

    Virtual instances under one common nuisance should differ less than the instances
    themselves. Spectra are overlaid in three panels with common axes; images are in
    three rows.

    Args:
        instances: The instances of the group: spectra `(n, pixels)`, or images `(n,
            height, width)`, with or without one or three channels last. NaN pixels are
            drawn as gaps.
        reconstructions: Array of the same shape.
        virtual: Virtual instances of the group, each computed from one instance with
            the same nuisance code; the same shape.
        truth: The exact virtual instance, `(pixels,)`, if known; not for images.
            Defaults to `None`.
        axis: Physical value of each pixel of a spectrum, `(pixels,)`. Defaults to
            `None`: pixel indices.
        axis_label: Name of the axis, with its unit. Defaults to `"pixel"`.
        value_label: Name of the values, with their unit. Defaults to `"value"`.

    Returns:
        A figure; its axes from top to bottom, row by row, then the colour bar of grey
        images.

    Raises:
        InputError: The arrays do not fit each other.

    Example:
    >>> x = np.sin(np.linspace(0.0, 6.0, 64)) + np.zeros((3, 1))
    >>> len(plot_replicates(x, 0.9 * x, x).axes)
    3
    """
    x = to_array("instances", instances, (2, 3, 4))
    arrays = [x]
    others = (("reconstructions", reconstructions), ("virtual", virtual))
    for name, each in others:
        array = to_array(name, each, (x.ndim,))
        check_shape(name, array, x.shape, "the instances")
        arrays.append(array)
    if x.ndim > 2:
        refuse_axis(axis, x)
        if truth is not None:
            raise InputError("truth is only drawn for spectra, arrays (n, pixels).")
        return _plot_images(arrays, value_label)
    pixels = to_axis(axis, x.shape[1])
    figure = new_figure(PAGE / 2, 4.2)
    panels = figure.subplots(3, sharex=True, sharey=True)
    for ax, rows, title, colour in zip(panels, arrays, _TITLES, _COLOURS, strict=True):
        ax.plot(pixels, rows.T, color=colour, linewidth=0.7, alpha=0.7)
        ax.set_title(title, loc="left", color=colour)
        open_frame(ax)
        ax.locator_params(nbins=5)
    if truth is not None:
        exact = to_array("truth", truth, (1,))
        check_shape("truth", exact, x.shape[1:], "the instances")
        panels[2].plot(pixels, exact, color=TRUTH, linewidth=1.0, ls="--")
        panels[2].set_title("truth dashed", loc="right")
    panels[0].margins(x=0.0)
    return finish(figure, axis_label, value_label)


def _plot_images(arrays: list[Array], value_label: str) -> Figure:
    shape = arrays[0].shape
    columns = min(shape[0], _COLUMNS)
    display = Display(arrays, channel_axis=len(shape) == 4)
    cell = PAGE / 2 / _COLUMNS
    height = 3 * (cell * shape[1] / shape[2] + 0.25)
    figure = new_figure(PAGE / 2, height + 0.8 * (not display.colour), "compressed")
    panels = figure.subplots(3, columns, squeeze=False)
    for axes, images, title in zip(panels, arrays, _TITLES, strict=True):
        for ax, image in zip(axes, images, strict=False):
            shown = display.show(ax, image)
        axes[0].set_title(title, loc="left")
    if not display.colour:
        figure.colorbar(shown, ax=panels, location="bottom", label=value_label)
    return finish(figure)


def plot_replicate_spread(
    before: Any, group_before: Any, after: Any, group_after: Any
) -> Figure:
    """Plot the spread of replicates before and after redatuming, in one plane.

    The plane is spanned by the first two principal components of the group means of the
    virtual instances, so that it shows differences between states. Both panels have the
    same scale, and each is centred at its own mean. Each group has its own colour and
    marker.

    Args:
        before: Instances as measured, `(n_before, ...)`.
        group_before: The group of each instance, integers `(n_before,)`.
        after: Virtual instances under one common nuisance, `(n_after, ...)`.
        group_after: The group of each virtual instance, integers `(n_after,)`.

    Returns:
        A figure with two axes.

    Raises:
        InputError: The arrays do not fit each other, or there are fewer than two
            groups.

    Example:
    >>> rng = np.random.default_rng(0)
    >>> group = np.repeat(np.arange(3), 4)
    >>> state = rng.normal(size=(3, 20))[group]
    >>> figure = plot_replicate_spread(
    ...     state + rng.normal(size=(12, 20)), group, state, group
    ... )
    >>> [ax.get_title("left") for ax in figure.axes]
    ['as measured', 'virtual, one nuisance']
    """
    shape = np.shape(before)[1:]
    rows, groups = [], []
    for name, value, of in (
        ("before", before, group_before),
        ("after", after, group_after),
    ):
        array = np.asarray(value, "float64")
        if array.ndim < 2 or array.shape[1:] != shape or not len(array):
            raise InputError(
                f"{name} must contain instances of shape {shape}; received an array "
                f"of shape {array.shape}."
            )
        group = to_array(f"group_{name}", of, (1,))
        check_shape(f"group_{name}", group, (len(array),), name)
        rows.append(array.reshape(len(array), -1))
        groups.append(group)
    names = np.unique(groups[1])
    if len(names) < 2:
        raise InputError(f"A spread needs at least two groups; received {len(names)}.")
    means = np.stack([rows[1][groups[1] == name].mean(axis=0) for name in names])
    plane = np.linalg.svd(means - means.mean(axis=0), full_matrices=False)[2][:2]
    figure = new_figure(0.7 * PAGE, 2.8)
    panels = figure.subplots(1, 2, sharex=True, sharey=True)
    titles = _TITLES[0], _TITLES[2]
    for ax, array, group, title in zip(panels, rows, groups, titles, strict=True):
        points = (array - array.mean(axis=0)) @ plane.T
        for number, name in enumerate(names):
            colour, marker = series_style(number)
            chosen = points[group == name]
            ax.plot(*_two(chosen), marker, color=colour, markersize=4, alpha=0.8)
        ax.set_title(title, loc="left")
        open_frame(ax)
        ax.locator_params(nbins=4)
    return finish(figure, "component 1", "component 2")


def _two(points: Array) -> tuple[Array, Array]:
    """Return two coordinates; data with one pixel have only one."""
    return points[:, 0], points[:, 1] if points.shape[1] > 1 else 0.0 * points[:, 0]
