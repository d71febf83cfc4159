"""Slope and bias of each pixel between two instruments."""

from __future__ import annotations

import numpy as np

from symae_keras.classical._paired import PairedReference
from symae_keras.data.groups import Array


class SlopeBias(PairedReference):
    """Slope and bias of each pixel by least squares.

    The index of an instance in its group, axis 1, is that of its instrument. With the
    spectra `s` on the source and `t` on the target, for each pixel `p`,

        slope[p], bias[p] = argmin sum (t[p] - slope[p] s[p] - bias[p])^2

    A pixel without variance on the source instrument has the slope 1. There are no
    parameters to choose. The method corrects gains and offsets, but neither shifts nor
    widths.

    Args:
        source: Index of the source instrument.
        target: Index of the target instrument.

    Attributes:
        instance_shape_: Shape of one instance.
        n_instruments_: Number of instruments (instances per training group).
        coef_: The slopes, `(pixels,)`.
        intercept_: The biases, `(pixels,)`.

    Reference:
        - [Bouveresse, Hartmann, Massart, Last & Prebble, Standardization of
          near-infrared spectrometric instruments,
          1996](https://doi.org/10.1021/ac9510595)

    Example:
    >>> import numpy as np
    >>> from symae_keras.data import GroupedData
    >>> source = np.random.default_rng(0).normal(size=(10, 5))
    >>> groups = GroupedData(np.stack([source, 2.0 * source + 1.0], axis=1))
    >>> model = SlopeBias(source=0, target=1).fit(groups)
    >>> model.coef_.round(6).tolist(), model.intercept_.round(6).tolist()
    ([2.0, 2.0, 2.0, 2.0, 2.0], [1.0, 1.0, 1.0, 1.0, 1.0])
    """

    def _regress(self, source: Array, target: Array) -> tuple[Array, Array]:
        mean, other = source.mean(axis=0), target.mean(axis=0)
        deviations = source - mean
        variance = (deviations**2).sum(axis=0)
        # Constant pixels have a small variance because of rounding errors.
        constant = variance <= len(source) * (1e-14 * np.abs(source).max(axis=0)) ** 2
        covariance = (deviations * (target - other)).sum(axis=0)
        slope = np.where(constant, 1.0, covariance / np.where(constant, 1.0, variance))
        return slope, other - slope * mean
