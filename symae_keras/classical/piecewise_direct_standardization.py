"""Direct standardization with windows of pixels."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np

from symae_keras._utils.validation import is_integer
from symae_keras.classical._paired import PairedReference
from symae_keras.classical._ridge import check_ridge, regress_windows
from symae_keras.data.groups import Array
from symae_keras.errors import InputError

#: Windows to choose from by leave-one-out.
_WINDOWS: Final = (1, 3, 5, 11, 21, 41)
#: Number of pixels for the choice of the window.
_MOST_PIXELS: Final = 100
#: Pixels whose windows are in memory at once.
_PIXELS_AT_ONCE: Final = 256


class PiecewiseDirectStandardization(PairedReference):
    """Ridge regression of each pixel on a window of pixels of another instrument.

    The index of an instance in its group, axis 1, is that of its instrument. The pixel
    `p` of the target instrument is regressed on the pixels `p - window // 2` to
    `p + window // 2` of the source instrument; at the edges, the window is cut. With
    few pairs, it corrects shifts, widths and gains that vary along the spectrum.

    Args:
        source: Index of the source instrument.
        target: Index of the target instrument.
        window: Number of pixels in a window, odd. `None` (default) chooses 1, 3, 5, 11,
            21 or 41 by leave-one-out over the pairs, on at most 100 evenly spaced
            pixels.
        ridge: Penalty of every regression, in the squared units of the data. `None`
            (default) chooses for each pixel one of 49 by leave-one-out over the pairs,
            from 1e-12 to 1 times the largest eigenvalue of the scatter of the window,
            four per decade.

    Attributes:
        instance_shape_: Shape of one instance, `(pixels,)`.
        n_instruments_: Number of instruments (instances per training group).
        coef_: The map, `(pixels, pixels)`, zero outside the windows.
        intercept_: The offset of the map, `(pixels,)`.
        ridge_: The penalty used for each pixel, `(pixels,)`.
        window_: The window used.

    Reference:
        - [Wang, Veltkamp & Kowalski, Multivariate instrument standardization,
          1991](https://doi.org/10.1021/ac00023a016)

    Example:
    >>> from symae_keras.data import GroupedData
    >>> first = np.random.default_rng(0).normal(size=(50, 32))
    >>> groups = GroupedData(np.stack([first, np.roll(first, 1, axis=1)], axis=1))
    >>> model = PiecewiseDirectStandardization(0, 1, window=3).fit(groups[:40])
    >>> virtual = model.redatum(groups.x[40:])
    >>> virtual.shape
    (10, 1, 32)
    >>> bool(np.allclose(virtual[:, 0, 1:], groups.x[40:, 1, 1:], atol=1e-5))
    True
    """

    ridge_: Array
    window_: int

    def __init__(
        self,
        source: int,
        target: int,
        window: int | None = None,
        ridge: float | None = None,
    ) -> None:
        super().__init__(source, target)
        if window is not None and (not is_integer(window, 1) or window % 2 == 0):
            raise InputError(
                "window must be an odd number of pixels >= 1, or None to choose it by "
                f"leave-one-out; received {window}."
            )
        check_ridge(ridge)
        self.window = None if window is None else int(window)
        self.ridge = ridge

    def _check_shape(self, shape: tuple[int, ...]) -> None:
        if len(shape) != 1:
            raise InputError(
                f"Windows need instances of the shape (pixels,); received {shape}. "
                "DirectStandardization supports any shape."
            )

    def _regress(self, source: Array, target: Array) -> tuple[Array, Array]:
        self.window_ = self.window or self._best_window(source, target)
        pixels = source.shape[1]
        coef, intercept = np.zeros((pixels, pixels)), np.empty(pixels)
        self.ridge_ = np.empty(pixels)
        for some, seen in _alike(np.arange(pixels), self.window_, pixels):
            windows = np.moveaxis(source[:, seen], 1, 0)
            found = regress_windows(windows, target[:, some], self.ridge)
            coef[some[:, None], seen], intercept[some], self.ridge_[some] = found[:3]
        return coef, intercept

    def _best_window(self, source: Array, target: Array) -> int:
        """Return the window with the smallest leave-one-out error."""
        pixels = source.shape[1]
        windows = [each for each in _WINDOWS if each < 2 * pixels]
        tried = np.unique(np.linspace(0, pixels - 1, _MOST_PIXELS).astype(int))

        def error(window: int) -> float:
            total = 0.0
            for some, seen in _alike(tried, window, pixels):
                windows = np.moveaxis(source[:, seen], 1, 0)
                left_out = regress_windows(windows, target[:, some], self.ridge)[3]
                total += float(left_out.sum())
            return total

        return min(windows, key=error)


def _alike(tried: Array, window: int, pixels: int) -> Iterator[tuple[Array, Array]]:
    """Sort pixels by the size of their windows, which are cut at the edges.

    Yields:
        Pixels, and their windows, one per row.
    """
    first = np.maximum(tried - window // 2, 0)
    sizes = np.minimum(tried + window // 2 + 1, pixels) - first
    for size in np.unique(sizes):
        places = np.flatnonzero(sizes == size)
        for start in range(0, len(places), _PIXELS_AT_ONCE):
            part = places[start : start + _PIXELS_AT_ONCE]
            yield tried[part], first[part, None] + np.arange(size)
