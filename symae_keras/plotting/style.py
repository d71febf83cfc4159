"""Common style of figures."""

from __future__ import annotations

from typing import Any, Final, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.mathtext import MathTextParser
from matplotlib.text import Text
from matplotlib.ticker import LogLocator, NullFormatter

from symae_keras.data.groups import Array, GroupedData
from symae_keras.errors import InputError

#: Okabe and Ito's palette for colour-blind readers; yellow is last because it is faint
#: on white.
PALETTE: Final = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#E69F00",
    "#56B4E9",
    "#000000",
    "#F0E442",
)
MARKERS: Final = "os^DvPX*"
COHERENT, NUISANCE, VIRTUAL = PALETTE[:3]
TRUTH: Final = "#000000"
#: Edge colour of markers, which makes yellow markers visible.
EDGE: Final = "0.3"

#: Width of the text on a printed page, in inches; figure sizes are those on paper.
PAGE: Final = 7.2
#: Maximum number of characters of a name in a title.
_LONGEST_NAME: Final = 14
FONT_SIZE: Final = 9.0


def new_figure(
    width: float,
    height: float,
    layout: Literal["constrained", "compressed"] = "constrained",
) -> Figure:
    """Return an empty figure, sized in inches, whose layout keeps text inside."""
    return Figure(figsize=(width, height), dpi=150, layout=layout)


def finish(
    figure: Figure, x_label: str | None = None, y_label: str | None = None
) -> Figure:
    """Label all axes, and set all text to one legible size.

    Text other than mathtext is shown literally.
    """
    if x_label is not None:
        figure.supxlabel(x_label)
    if y_label is not None:
        figure.supylabel(y_label)
    for ax in figure.axes:
        ax.tick_params(which="both", labelsize=FONT_SIZE)
    for text in figure.findobj(Text):
        assert isinstance(text, Text)  # guaranteed by findobj
        text.set_fontsize(FONT_SIZE)
        if not all(map(_can_be_drawn, text.get_text().split("\n"))):
            text.set_parse_math(False)
    return figure


def _can_be_drawn(line: str) -> bool:
    """Return whether the text between dollar signs is valid mathtext."""
    if line.count("$") < 2:
        return True
    try:
        MathTextParser("path").parse(line)
    except ValueError:
        return False
    return True


def open_frame(ax: Axes) -> None:
    """Remove the two spines without ticks."""
    ax.spines[["top", "right"]].set_visible(False)


def log_ticks(axis: Axis) -> None:
    """Label 1, 2 and 5 of each decade; more labels would overlap."""
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter(NullFormatter())


def series_style(index: int) -> tuple[str, str]:
    """Return the colour and marker of a series; unique for the first 64."""
    return PALETTE[index % 8], MARKERS[(index + index // 8) % 8]


def to_array(name: str, value: Any, ndim: tuple[int, ...]) -> Array:
    """Return a NumPy array of an allowed rank, from an array or a backend's tensor."""
    if not isinstance(value, (np.ndarray, list, tuple)):
        from keras import ops  # tensors may be on a device or require gradients

        value = ops.convert_to_numpy(value)
    array = np.asarray(value)
    if array.dtype.name == "bfloat16":  # not fully supported by NumPy and Matplotlib
        array = array.astype("float32")
    if array.ndim not in ndim:
        ranks = " or ".join(str(n) for n in ndim)
        raise InputError(
            f"{name} must have {ranks} axes; received an array of shape {array.shape}."
        )
    if array.size == 0:
        raise InputError(f"{name} is empty: its shape is {array.shape}.")
    return array


def check_shape(name: str, array: Array, expected: tuple[int, ...], of: str) -> None:
    """Raise an error if an array does not fit another one."""
    if array.shape != expected:
        raise InputError(
            f"{name} must have the shape {expected}, like {of}; received {array.shape}."
        )


def to_axis(axis: Any, n_pixels: int) -> Array:
    """Return the values of the pixels, by default their indices."""
    if axis is None:
        return np.arange(n_pixels)
    axis = to_array("axis", axis, (1,))
    check_shape("axis", axis, (n_pixels,), "the pixels of the spectra")
    return np.asarray(axis)


def refuse_axis(axis: Any, images: Array) -> None:
    """Raise an error if the axis of spectra was given for images."""
    if axis is not None:
        raise InputError(
            "axis is only for spectra, arrays (n, pixels); received images of shape "
            f"{images.shape}."
        )


def plot_residual(ax: Axes, pixels: Array, residual: Array, name: str) -> None:
    """Draw the residual of a spectrum, with its name and root mean square as title."""
    ax.axhline(0.0, color="0.6", linewidth=0.8)
    ax.plot(pixels, residual, color=TRUTH, linewidth=0.9)
    known = residual[np.isfinite(residual)]
    rms = np.sqrt(np.sum(known**2) / max(len(known), 1))
    ax.set_title(f"{name}, rms {rms:.2g}", loc="left")


def show_signed(axes: Any, images: Any) -> Any:
    """Draw images on one scale that is white at 0; return the last one."""
    limit = float(np.nanmax(np.abs(images))) or 1.0
    for ax, image in zip(axes, images, strict=True):
        bare_frame(ax)
        shown = ax.imshow(image, cmap="RdBu_r", vmin=-limit, vmax=limit)
    return shown


def signed_bar(figure: Figure, shown: AxesImage, axes: Any, **options: Any) -> None:
    """Add a colour bar below axes, with ticks at 0 and at both ends."""
    bar = figure.colorbar(shown, ax=list(axes), location="bottom", **options)
    limit = float(shown.get_clim()[1])
    ends = f"\N{MINUS SIGN}{limit:.2g}", f"{limit:.2g}"
    bar.set_ticks([-limit, 0.0, limit], labels=[ends[0], "0", ends[1]])


class Display:
    """Common intensity scale for the images of one figure.

    Grey images, `(..., height, width)` with or without a last axis of length 1, use the
    grey colour map; colour images, with a last axis of length 3, are scaled to [0, 1].
    """

    def __init__(self, arrays: list[Array], channel_axis: bool) -> None:
        channels = arrays[0].shape[-1] if channel_axis else 1
        if channels not in (1, 3):
            raise InputError(
                "Images must have one channel or three (red, green, blue); received "
                f"{channels}: select the channels to show."
            )
        self.squeeze = channel_axis and channels == 1
        self.colour = channels == 3
        self.low = float(min(np.nanmin(a) for a in arrays))
        self.high = float(max(np.nanmax(a) for a in arrays))

    def show(self, ax: Axes, image: Array) -> AxesImage:
        """Draw one image without ticks."""
        bare_frame(ax)
        if self.colour:
            span = self.high - self.low or 1.0
            return ax.imshow(np.clip((image - self.low) / span, 0.0, 1.0))
        image = image[..., 0] if self.squeeze else image
        return ax.imshow(image, cmap="gray", vmin=self.low, vmax=self.high)

    def difference(self, first: Array, second: Array) -> Array:
        """Return `first - second` as grey images, the mean over colours."""
        difference = np.asarray(first, "float64") - second
        if self.colour or self.squeeze:
            difference = difference.mean(axis=-1)
        return difference


def bare_frame(ax: Axes) -> None:
    """Remove the ticks but keep the frame."""
    ax.set_xticks([])
    ax.set_yticks([])


def drawable(instances: Array) -> Array:
    """Return the first channel, or all three channels of a colour image."""
    if instances.ndim < 3 or instances.shape[1:][2:] == (3,):
        return instances
    return instances[..., 0]


def shortened(name: str) -> str:
    """Return a name that fits into a title."""
    if len(name) > _LONGEST_NAME:
        return f"{name[: _LONGEST_NAME - 1]}\N{HORIZONTAL ELLIPSIS}"
    return name


def group_title(groups: GroupedData, number: int, first_number: int = 0) -> str:
    """Return the group id, or its number if groups have no ids."""
    if groups.ids is None:
        return f"group {first_number + number}"
    return str(groups.ids[number])


def axis_and_labels(groups: GroupedData) -> dict[str, Any]:
    """Return arguments for a figure of instances: axis of spectra, and labels."""
    images = len(groups.instance_shape) == 3
    return {
        "axis": None if images else groups.axis,
        "axis_label": groups.axis_label,
        "value_label": "intensity" if images else "value",
    }
