"""Outputs of models: reconstructions, their residuals, and segmentations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from matplotlib.colors import ListedColormap, LogNorm
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from symae_keras._utils.arrays import in_batches
from symae_keras.data.groups import Array, GroupedData
from symae_keras.errors import InputError
from symae_keras.plotting.style import (
    EDGE,
    PAGE,
    PALETTE,
    TRUTH,
    VIRTUAL,
    Display,
    axis_and_labels,
    bare_frame,
    check_shape,
    drawable,
    finish,
    group_title,
    new_figure,
    open_frame,
    plot_residual,
    shortened,
    show_signed,
    to_array,
    to_axis,
)

#: Colour of label 0, by convention the background, and of the other labels.
_COLOURS: Final = ("0.92", *PALETTE)


def plot_reconstruction(
    instances: Any,
    reconstructions: Any,
    axis: Any = None,
    axis_label: str = "pixel",
    value_label: str = "value",
    names: Sequence[str] | None = None,
) -> Figure:
    """Plot instances with their reconstructions and residuals, one example per column.

    Args:
        instances: One per example: spectra `(n, pixels)`, or images `(n, height,
            width)`, with or without one or three channels last. NaN pixels are drawn as
            gaps.
        reconstructions: Reconstructions by the model; the same shape.
        axis: Physical value of each pixel of a spectrum, `(pixels,)`. Defaults to
            `None`: pixel indices.
        axis_label: Name of the axis, with its unit. Defaults to `"pixel"`.
        value_label: Name of the values, with their unit. Defaults to `"value"`.
        names: Name of each example, such as the id of its group. Defaults to `None`: no
            names.

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
    if names is not None and len(names) != len(x):
        raise InputError(
            f"names must have {len(x)} entries, one per example; received {len(names)}."
        )
    titles = [""] * len(x) if names is None else list(map(shortened, names))
    if x.ndim > 2:
        return _plot_images(x, y, value_label, titles)
    pixels = to_axis(axis, x.shape[1])
    return _plot_spectra(x, y, pixels, axis_label, value_label, titles)


def _plot_spectra(
    x: Array,
    y: Array,
    pixels: Array,
    axis_label: str,
    value_label: str,
    titles: list[str],
) -> Figure:
    figure = new_figure(PAGE, 2.9)
    rows = figure.subplots(2, len(x), sharex=True, squeeze=False, height_ratios=[2, 1])
    for column, ((top, below), one, other) in enumerate(zip(rows.T, x, y, strict=True)):
        top.plot(pixels, one, color=TRUTH, linewidth=1.8, label="instance")
        top.plot(pixels, other, color=VIRTUAL, linewidth=0.9, label="reconstruction")
        residual = np.asarray(one, "float64") - other
        plot_residual(below, pixels, residual, "residual")
        top.margins(x=0.0)
        for ax in (top, below):
            open_frame(ax)
            ax.locator_params(axis="y", nbins=4)
        if titles[column]:
            top.set_title(titles[column], loc="left")
        if column == 0:
            figure.legend(
                *top.get_legend_handles_labels(),
                loc="outside upper left",
                ncols=2,
                frameon=False,
            )
    return finish(figure, axis_label, value_label)


def _plot_images(x: Array, y: Array, value_label: str, titles: list[str]) -> Figure:
    display = Display([x, y], channel_axis=x.ndim == 4)
    side = (PAGE - 0.8) / max(len(x), 4)
    figure = new_figure(
        side * len(x) + 0.9, 3 * side * x.shape[1] / x.shape[2] + 0.3, "compressed"
    )
    rows = figure.subplots(3, len(x), squeeze=False)
    for axes, images in zip(rows[:2], (x, y), strict=True):
        for ax, image in zip(axes, images, strict=True):
            shown = display.show(ax, image)
    left = show_signed(rows[2], display.difference(x, y))
    for axes, title in zip(
        rows, ("instance", "reconstruction", "residual"), strict=True
    ):
        axes[0].set_title(title, loc="left")
    for ax, name in zip(rows[2], titles, strict=True):
        ax.set_xlabel(name)
    if not display.colour:
        figure.colorbar(shown, ax=rows[:2], label=value_label, aspect=20)
    mean = " (mean of colours)" if display.colour else ""
    figure.colorbar(left, ax=rows[2], label=f"residual{mean}", aspect=10)
    return finish(figure)


def plot_model_reconstruction(
    model: Any, groups: GroupedData, examples: int = 3
) -> Figure:
    """Show one instance of each of the first groups and its reconstruction.

    Args:
        model: A model with `reconstruct(x, mask)`, such as `Autoencoder`.
        groups: Simulated or measured groups.
        examples: Maximum number of groups.

    Returns:
        A figure, see `plot_reconstruction`.
    """
    shown = groups[:examples]
    x, mask = shown.first_instances()
    reconstruction = in_batches(model.reconstruct, x, mask)
    if mask is not None:
        x = np.where(mask, x, np.nan)  # gaps in the lines
    return plot_reconstruction(
        drawable(x),
        drawable(reconstruction),
        names=[group_title(shown, number) for number in range(len(shown))],
        **axis_and_labels(groups),
    )


def plot_residuals(
    truth: Any,
    reconstructions: Mapping[str, Any],
    notes: Mapping[str, str] | None = None,
    value_label: str = "intensity",
) -> Figure:
    """Plot reconstructions of an image by several methods, residuals and their spectra.

    The first row shows the truth and the reconstructions of the first image, the second
    row their residuals. The third row shows the power spectrum of the residuals of all
    images, from minus to plus half a cycle per pixel, with 0 in the middle. A pattern
    that repeats every two pixels is a bright point in the middle of an edge or in a
    corner.

    Args:
        truth: Grey images `(n, height, width)`, or `(n, height, width, 1)`.
        reconstructions: Images by method, each of the shape of `truth`.
        notes: Text below the name of each method, such as its error. Defaults to
            `None`.
        value_label: Name of the values, with their unit. Defaults to `"intensity"`.

    Returns:
        A figure; the axes row by row, without the two below the truth, then three
        colour bars.

    Raises:
        InputError: The images do not fit each other, or are not grey.

    Example:
    >>> rng = np.random.default_rng(0)
    >>> truth = rng.normal(size=(5, 8, 8))
    >>> made = {"one": 0.9 * truth, "another": truth + rng.normal(size=(8, 8))}
    >>> len(plot_residuals(truth, made).axes)  # 3 + 2 + 2, and colour bars
    10
    """
    images = to_array("truth", truth, (3, 4))
    if images.ndim == 4 and images.shape[-1] != 1:
        raise InputError(
            f"truth must be grey images; received {images.shape[-1]} channels."
        )
    if not reconstructions:
        raise InputError("reconstructions is empty: give one array per method.")
    made = {}
    for name, each in reconstructions.items():
        argument = f"reconstructions[{name!r}]"
        made[name] = to_array(argument, each, (images.ndim,))
        check_shape(argument, made[name], images.shape, "the truth")
    display = Display([images, *made.values()], channel_axis=images.ndim == 4)
    residuals = {name: display.difference(y, images) for name, y in made.items()}
    spectra = {name: _power(each) for name, each in residuals.items()}

    columns = 1 + len(made)
    side = (PAGE - 0.8) / columns
    height = 3 * side * images.shape[1] / images.shape[2]
    figure = new_figure(PAGE, height + 0.6, "compressed")
    grid = figure.add_gridspec(3, columns)
    rows = [
        [figure.add_subplot(grid[i, j]) for j in range(int(i > 0), columns)]
        for i in range(3)
    ]
    rows[0][0].set_title("truth")
    shown = [display.show(rows[0][0], images[0])]
    for ax, (name, each) in zip(rows[0][1:], made.items(), strict=True):
        display.show(ax, each[0])
        note = (notes or {}).get(name)
        ax.set_title(name if note is None else f"{name}\n{note}")
    shown.append(show_signed(rows[1], [each[0] for each in residuals.values()]))
    norm = LogNorm(*_limits(list(spectra.values())))
    for ax, each in zip(rows[2], spectra.values(), strict=True):
        bare_frame(ax)
        drawn = ax.imshow(each, cmap="viridis", norm=norm)
    shown.append(drawn)
    labels = (value_label, "residual", "power")
    for row, image, label in zip(rows, shown, labels, strict=True):
        figure.colorbar(image, ax=row, label=label, aspect=10)
    return finish(figure)


def _power(residuals: Any) -> Any:
    """Return the mean power at each frequency, with frequency 0 in the middle."""
    spectra = np.abs(np.fft.fft2(residuals, axes=(1, 2))) ** 2
    return np.fft.fftshift(spectra.mean(axis=0) / residuals[0].size)


def _limits(spectra: list[Any]) -> tuple[float, float]:
    """Return limits of a logarithmic scale that includes all but the lowest powers."""
    values = np.concatenate([each.ravel() for each in spectra])
    positive = values[values > 0.0]
    if not len(positive):
        return 0.1, 1.0
    high = float(positive.max())
    return max(float(np.percentile(positive, 1)), 1e-6 * high), high


def plot_segmentation(
    images: Any,
    labels: Any,
    predicted: Mapping[str, Any],
    classes: Sequence[str] | None = None,
) -> Figure:
    """Plot images in columns, with their true and predicted labels.

    Args:
        images: Array `(n, height, width)` or `(n, height, width, channels)` with one or
            three channels.
        labels: True labels, integers `(n, height, width)` from 0 to 8.
        predicted: Predicted labels by method, each of the shape of `labels`.
        classes: Names of the labels, in order; `None` (default) shows numbers.

    Returns:
        A figure with one row of axes for the images, the truth and each method.

    Raises:
        InputError: Shapes do not fit, or there are more than nine classes.

    Example:
    >>> labels = np.tile(np.arange(3), (2, 8, 4))
    >>> figure = plot_segmentation(labels * 0.5, labels, {"U-Net": labels[..., ::-1]})
    >>> len(figure.axes), [each.get_text() for each in figure.legends[0].get_texts()]
    (6, ['0', '1', '2'])
    """
    shown = to_array("images", images, (3, 4))
    truth = to_array("labels", labels, (3,))
    check_shape("labels", truth, shown.shape[:3], "the images")
    rows = {"truth": truth}
    for name, each in predicted.items():
        argument = f"predicted[{name!r}]"
        rows[name] = to_array(argument, each, (3,))
        check_shape(argument, rows[name], truth.shape, "the labels")
    highest = int(max(each.max() for each in rows.values()))
    lowest = int(min(each.min() for each in rows.values()))
    if lowest < 0 or highest >= len(_COLOURS):
        raise InputError(
            f"Labels must be from 0 to {len(_COLOURS) - 1}, which have colours; "
            f"received labels from {lowest} to {highest}."
        )
    names = [str(n) for n in range(highest + 1)] if classes is None else [*classes]
    if len(names) <= highest:
        raise InputError(
            f"classes must have names for labels 0 to {highest}; received {len(names)}."
        )
    colours = ListedColormap(_COLOURS[: len(names)])
    n, side = len(shown), PAGE / (len(shown) + 0.3)
    height = side * shown.shape[1] / shown.shape[2]
    figure = new_figure(PAGE, height * (1 + len(rows)) + 0.45, layout="compressed")
    axes = figure.subplots(1 + len(rows), n, squeeze=False)
    display = Display([shown], channel_axis=shown.ndim == 4)
    for ax, image in zip(axes[0], shown, strict=True):
        display.show(ax, image)
    for row, each in zip(axes[1:], rows.values(), strict=True):
        for ax, map_of_labels in zip(row, each, strict=True):
            bare_frame(ax)
            ax.imshow(
                map_of_labels,
                cmap=colours,
                vmin=-0.5,
                vmax=len(names) - 0.5,
                interpolation="nearest",
            )
    for row, name in zip(axes, ["image", *rows], strict=True):
        row[0].set_ylabel(name)
    patches = [
        Patch(facecolor=colour, edgecolor=EDGE, label=name)
        for colour, name in zip(_COLOURS, names, strict=False)
    ]
    figure.legend(
        handles=patches, loc="outside lower center", ncols=len(names), frameon=False
    )
    return finish(figure)
