"""What figures of images share."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.image import AxesImage

from symae_keras.data.groups import Array
from symae_keras.errors import InputError


class Display:
    """Shows images of one figure on one intensity scale.

    Grey images, `(..., height, width)` with or without a last axis of length 1, get the
    grey map; colour images, with a last axis of length 3, are scaled to [0, 1].
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
        """`first - second` as grey images; the mean over colours."""
        difference = np.asarray(first, "float64") - second
        if self.colour or self.squeeze:
            difference = difference.mean(axis=-1)
        return difference


def bare_frame(ax: Axes) -> None:
    """No ticks; the frame stays."""
    ax.set_xticks([])
    ax.set_yticks([])


def drawable(instances: Array) -> Array:
    """The first channel, unless there are the three of a colour image."""
    if instances.ndim < 3 or instances.shape[1:][2:] == (3,):
        return instances
    return instances[..., 0]
