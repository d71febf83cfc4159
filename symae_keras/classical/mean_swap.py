"""Swap of group means, the linear reference."""

from __future__ import annotations

import math
from typing import Self

import numpy as np

from symae_keras._utils.arrays import Codes
from symae_keras.classical._base import CodedReference, check_finite
from symae_keras.data.groups import Array, GroupedData


class MeanCodes(CodedReference):
    """Base class of references that split a group into its mean and deviations.

    A subclass defines `fit`, which calls `_fit_means`, and `_code_sizes`, `_code` and
    `_decode` for flattened instances.

    Attributes:
        fill_: Mean instance of the training groups, `(pixels,)`. It replaces pixels
            that are bad in all instances of a group.
    """

    fill_: Array

    def _fit_means(self, groups: GroupedData) -> tuple[Array, Array]:
        """Store the shape of training groups, and return their means and deviations."""
        good = np.broadcast_to(groups.good_pixels, groups.x.shape)
        check_finite(np.where(good, groups.x, 0.0))
        total = groups.x.sum(axis=(0, 1), where=good, dtype="float64")
        fill = total / np.maximum(good.sum(axis=(0, 1)), 1)
        self.fill_ = fill.reshape(-1)
        self.instance_shape_ = groups.instance_shape
        return self._means_and_deviations(groups)

    def _means_and_deviations(self, groups: GroupedData) -> tuple[Array, Array]:
        """Return means over present instances, and the deviations of each instance.

        The shapes are `(groups, pixels)` and `(groups, instances, pixels)`. Masked
        deviations are 0.
        """
        rows = (*groups.x.shape[:2], -1)
        x = groups.x.reshape(rows)
        good = groups.good_pixels.reshape(rows)
        total = np.where(good, x, 0.0).sum(axis=1, dtype="float64")
        count = good.sum(axis=1)
        mean = np.where(count > 0, total / np.maximum(count, 1), self.fill_)
        return mean, np.where(good, x - mean[:, None], 0.0)

    def _code(self, means: Array, deviations: Array) -> Codes:
        """Return codes of means `(groups, pixels)` and deviations."""
        raise NotImplementedError

    def _encode(self, groups: GroupedData) -> Codes:
        return self._code(*self._means_and_deviations(groups))


class MeanSwap(MeanCodes):
    """Group means as coherent codes, and deviations from them as nuisance codes.

        C = mean_t x[t]        N[t] = x[t] - C        D(C, N[t]) = C + N[t]

    This method learns nothing: the codes have the size of an instance, and redatuming
    swaps group means, `x_j[t] - mean(X_j) + mean(X_i)`. It is exact if instances are
    the sum of state and nuisance and the nuisances of all groups have the same mean. A
    model that is not better than `MeanSwap` has learned nothing about nuisances.

    Attributes:
        instance_shape_: Shape of one instance.

    Example:
    >>> import numpy as np
    >>> x = np.array([[[1.0], [3.0]], [[10.0], [20.0]]])
    >>> model = MeanSwap().fit(GroupedData(x))
    >>> model.redatum(coherent_from=x[:1], nuisance_from=x[1:]).tolist()
    [[[-3.0], [7.0]]]
    """

    def fit(self, groups: GroupedData) -> Self:
        """Store the shape of the instances and their mean.

        Args:
            groups: Any groups. The mean replaces pixels that are bad in all instances
                of a group.

        Returns:
            The object itself.
        """
        self._fit_means(groups)
        return self

    def _code_sizes(self) -> tuple[int, int]:
        pixels = math.prod(self.instance_shape_)
        return pixels, pixels

    def _code(self, means: Array, deviations: Array) -> Codes:
        return Codes(means, deviations)

    def _decode(self, coherent: Array, nuisance: Array) -> Array:
        return coherent[:, None] + nuisance
