"""Shift of instances by the mean difference between two instruments."""

from __future__ import annotations

import numpy as np

from symae_keras.classical._paired import PairedReference
from symae_keras.data.groups import Array


class MeanShift(PairedReference):
    """Addition of the mean difference between two instruments.

    The index of an instance in its group, axis 1, is that of its instrument. With the
    spectra `s` on the source and `t` on the target,

        transfer(x) = x + mean(t - s)

    Every method of calibration transfer should be better than this baseline.

    Args:
        source: Index of the source instrument.
        target: Index of the target instrument.

    Attributes:
        instance_shape_: Shape of one instance.
        n_instruments_: Number of instruments (instances per training group).
        coef_: Ones, `(pixels,)`.
        intercept_: The mean difference, `(pixels,)`.

    Example:
    >>> import numpy as np
    >>> from symae_keras.data import GroupedData
    >>> groups = GroupedData(np.array([[[1.0], [4.0]], [[2.0], [7.0]]]))
    >>> MeanShift(source=0, target=1).fit(groups).transfer([[10.0]])
    array([[14.]])
    """

    def _regress(self, source: Array, target: Array) -> tuple[Array, Array]:
        return np.ones(source.shape[1]), (target - source).mean(axis=0)
