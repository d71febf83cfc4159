"""The baseline of baselines."""

from __future__ import annotations

import math
from typing import Self

from symae_keras.classical.mean_codes import MeanCodes
from symae_keras.data.groups import Array, GroupedData
from symae_keras.models.grouped_autoencoder import Codes


class MeanSwap(MeanCodes):
    """Group means for coherent codes, deviations from them for nuisance codes.

        C = mean_t x[t]        N[t] = x[t] - C        D(C, N[t]) = C + N[t]

    Nothing is learnt: the codes have the size of an instance, and redatuming swaps
    group means, `x_j[t] - mean(X_j) + mean(X_i)`. It is exact where state and nuisance
    add up and the nuisances of every group have the same mean. A model that does not
    beat it has learnt nothing about nuisances.

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
        """Take note of the shape of the instances, and of their mean.

        Args:
            groups: Any groups. The mean stands for pixels that no instance of a group
                shows.

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
