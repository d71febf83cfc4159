"""Images, their true labels and predicted ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from symae_keras.errors import InputError
from symae_keras.plotting.style import (
    EDGE,
    PAGE,
    PALETTE,
    Display,
    bare_frame,
    check_shape,
    finish,
    new_figure,
    to_array,
)

#: Of label 0, which is the background by custom, then those of the others.
_COLOURS: Final = ("0.92", *PALETTE)


def plot_segmentation(
    images: Any,
    labels: Any,
    predicted: Mapping[str, Any],
    classes: Sequence[str] | None = None,
) -> Figure:
    """Plot images in columns: as they are, their labels, and what models predict.

    Args:
        images: Array `(n, height, width)` or `(n, height, width, channels)` with one or
            three channels.
        labels: True labels, integers `(n, height, width)` from 0 to 8.
        predicted: Predicted labels by method, each of the shape of `labels`.
        classes: Names of the labels, in their order, or `None` (default) for numbers.

    Returns:
        A figure with one row of axes for the images, the truth and each method.

    Raises:
        InputError: Shapes do not fit, or there are more than nine classes.

    Example:
    >>> import numpy as np
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
            f"classes must name the labels up to {highest}; received {len(names)}."
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
