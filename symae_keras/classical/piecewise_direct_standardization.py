"""Piecewise direct standardisation."""

from __future__ import annotations

from typing import Any, Self

import numpy as np

from symae_keras.classical.direct_standardization import RIDGES, Standardization
from symae_keras.data.groups import Array, GroupedData
from symae_keras.errors import InputError


class PiecewiseDirectStandardization(Standardization):
    """Ridge regression of each pixel on a window of another instrument's pixels.

    Instances are instruments here: their place in a group, axis 1, has a meaning. The
    pixel `p` of the target instrument is regressed on the pixels `p - window // 2` to
    `p + window // 2` of the source instrument; at the edges the window is cut. It
    corrects shifts, widths and gains that vary along the spectrum, from few pairs.

    Args:
        source: Index of the instrument that spectra come from.
        target: Index of the instrument to show them on.
        window: Number of pixels in a window, odd. Defaults to 11.
        ridge: Penalty of every regression, in the squared units of the data. `None`
            (default) chooses for each pixel one of 31 from 1e-6 to 1e4, three a decade,
            by leave-one-out over the pairs: bring data to a scale of about 1.

    Attributes:
        instance_shape_: Shape of one instance, `(pixels,)`.
        n_instruments_: Instances of a training group.
        coef_: The map, `(pixels, pixels)`, zero outside the windows.
        intercept_: What it adds, `(pixels,)`.
        ridge_: The penalty used for each pixel, `(pixels,)`.

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

    def __init__(
        self, source: int, target: int, window: int = 11, ridge: float | None = None
    ) -> None:
        super().__init__(source, target, ridge)
        if window != int(window) or window < 1 or window % 2 == 0:
            raise InputError(
                f"window must be an odd number of pixels, 1 or more; got {window}."
            )
        self.window = int(window)

    def fit(self, groups: GroupedData) -> Self:
        """Learn the map from the groups that both instruments have measured.

        Args:
            groups: Training groups; instances are instruments by index.

        Returns:
            The object itself.

        Raises:
            InputError: Instances have more axes than one, there is no such instrument,
                fewer than two groups were measured on both, or a spectrum of theirs is
                not finite.
        """
        if len(groups.instance_shape) != 1:
            raise InputError(
                "Windows need instances of the shape (pixels,); received "
                f"{groups.instance_shape}. DirectStandardization takes any shape."
            )
        return super().fit(groups)

    def _regress(self, source: Array, target: Array) -> tuple[Array, Array, Any]:
        from sklearn.linear_model import Ridge, RidgeCV

        pixels, half = source.shape[1], self.window // 2
        coef, intercept = np.zeros((pixels, pixels)), np.empty(pixels)
        ridge = np.full(pixels, np.nan if self.ridge is None else self.ridge)
        for pixel in range(pixels):
            seen = slice(max(pixel - half, 0), pixel + half + 1)
            if self.ridge is None:
                model = RidgeCV(RIDGES).fit(source[:, seen], target[:, pixel])
                ridge[pixel] = model.alpha_
            else:
                model = Ridge(self.ridge).fit(source[:, seen], target[:, pixel])
            coef[pixel, seen], intercept[pixel] = model.coef_, model.intercept_
        return coef, intercept, ridge
