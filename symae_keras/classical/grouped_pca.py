"""Principal components between and within groups."""

from __future__ import annotations

from typing import Self

from symae_keras._utils.arrays import Codes
from symae_keras._utils.validation import is_integer
from symae_keras.classical.mean_swap import MeanCodes
from symae_keras.data.groups import Array, GroupedData
from symae_keras.errors import InputError


class GroupedPCA(MeanCodes):
    """Principal components of group means and of the deviations from them.

    With the components `V` of the means over the training groups, `W` of the deviations
    of their instances, and the mean `m` of the group means:

        C = V (mean_t x[t] - m)     N[t] = W (x[t] - mean_t x[t])
        D(C, N[t]) = m + V' C + W' N[t]

    It is the linear counterpart of `SymAE` with equal code sizes. The mean nuisance of
    a group remains in its coherent code, as in `MeanSwap`, which is the limit for large
    codes.

    Args:
        coherent_dim: Size of the coherent code. Defaults to 8.
        nuisance_dim: Size of the nuisance code. Defaults to 8.

    Attributes:
        instance_shape_: Shape of one instance.
        mean_: Mean of the group means, `(pixels,)`.
        coherent_components_: Orthonormal rows, `(coherent_dim, pixels)`.
        nuisance_components_: Orthonormal rows, `(nuisance_dim, pixels)`.

    Reference:
        - [Pearson, On lines and planes of closest fit to systems of points in space,
          1901](https://doi.org/10.1080/14786440109462720)

    Example:
    >>> import numpy as np
    >>> x = np.random.default_rng(0).normal(size=(32, 4, 64))
    >>> model = GroupedPCA(coherent_dim=3, nuisance_dim=2).fit(GroupedData(x))
    >>> codes = model.encode(x)
    >>> codes.coherent.shape, codes.nuisance.shape
    ((32, 3), (32, 4, 2))
    >>> model.redatum(coherent_from=x[:5], nuisance_from=x[5:10]).shape
    (5, 4, 64)
    """

    mean_: Array
    coherent_components_: Array
    nuisance_components_: Array

    def __init__(self, coherent_dim: int = 8, nuisance_dim: int = 8) -> None:
        for name, size in (
            ("coherent_dim", coherent_dim),
            ("nuisance_dim", nuisance_dim),
        ):
            if not is_integer(size, 1):
                raise InputError(f"{name} must be a positive integer; received {size}.")
        self.coherent_dim = int(coherent_dim)
        self.nuisance_dim = int(nuisance_dim)

    def fit(self, groups: GroupedData) -> Self:
        """Compute both sets of components.

        Args:
            groups: Training groups; groups without present instances are ignored.

        Returns:
            The object itself.

        Raises:
            InputError: A code is larger than the maximum rank of the groups, or a
                present instance is not finite.
        """
        from sklearn.decomposition import PCA

        present = groups.present
        means, deviations = self._fit_means(groups)
        means, deviations = means[present.any(axis=1)], deviations[present]
        for name, size, rows in (
            ("coherent_dim", self.coherent_dim, len(means) - 1),
            ("nuisance_dim", self.nuisance_dim, len(deviations) - len(means)),
        ):
            rank = max(min(rows, means.shape[1]), 0)
            if size > rank:
                raise InputError(
                    f"{name} is {size}, but {len(means)} groups of {len(deviations)} "
                    f"instances with {means.shape[1]} pixels have a rank of at most "
                    f"{rank}; reduce it or add more data."
                )
        # The decomposition of large data uses random projections, so the seed is fixed.
        between = PCA(self.coherent_dim, random_state=0).fit(means)
        within = PCA(self.nuisance_dim, random_state=0).fit(deviations)
        self.mean_ = between.mean_
        self.coherent_components_ = between.components_
        self.nuisance_components_ = within.components_
        return self

    def _code_sizes(self) -> tuple[int, int]:
        return self.coherent_dim, self.nuisance_dim

    def _code(self, means: Array, deviations: Array) -> Codes:
        return Codes(
            (means - self.mean_) @ self.coherent_components_.T,
            deviations @ self.nuisance_components_.T,
        )

    def _decode(self, coherent: Array, nuisance: Array) -> Array:
        states: Array = self.mean_ + coherent @ self.coherent_components_
        deviations: Array = nuisance @ self.nuisance_components_
        return states[:, None] + deviations
