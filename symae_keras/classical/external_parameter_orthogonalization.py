"""External parameter orthogonalization between two instruments."""

from __future__ import annotations

import numpy as np

from symae_keras.classical._paired import (
    PairedReference,
    components_or_none,
    folds,
    most_components,
)
from symae_keras.data.groups import Array


class ExternalParameterOrthogonalization(PairedReference):
    """External parameter orthogonalization (EPO) of instrument differences.

    The index of an instance in its group, axis 1, is that of its instrument. The rows
    of `V` are the first right singular vectors of the differences `t - s` between the
    spectra of a pair. `correct` removes the space spanned by these vectors from spectra
    of both instruments, and a calibration is fitted to the result. `transfer` replaces
    the removed part by that of the mean target spectrum:

        correct(x) = x - x V' V        transfer(x) = correct(x) + mean(t) V' V

    Args:
        source: Index of the source instrument.
        target: Index of the target instrument.
        n_components: Number of singular vectors. `None` (default) chooses up to 60 by
            leave-one-out over the pairs, or with 50 folds if there are more pairs: the
            number with the smallest error of `transfer`.

    Attributes:
        instance_shape_: Shape of one instance.
        n_instruments_: Number of instruments (instances per training group).
        n_components_: Number of singular vectors used.
        components_: The orthonormal rows of `V`, `(n_components_, pixels)`.
        coef_: The projection, `(pixels, pixels)`.
        intercept_: The offset of `transfer`, `(pixels,)`.

    Reference:
        - [Roger, Chauchard & Bellon-Maurel, EPO-PLS external parameter
          orthogonalisation of PLS, 2003](https://doi.org/10.1016/S0169-7439(03)00051-0)

    Example:
    >>> import numpy as np
    >>> from symae_keras.data import GroupedData
    >>> source = np.random.default_rng(0).normal(size=(20, 2))
    >>> groups = GroupedData(np.stack([source, source + [5.0, 0.0]], axis=1))
    >>> model = ExternalParameterOrthogonalization(0, 1, n_components=1).fit(groups)
    >>> bool(np.allclose(model.correct(groups.x[:, 0]), source * [0.0, 1.0]))
    True
    """

    n_components_: int
    components_: Array

    def __init__(
        self, source: int, target: int, n_components: int | None = None
    ) -> None:
        super().__init__(source, target)
        self.n_components = components_or_none(n_components)

    def correct(self, x: Array) -> Array:
        """Remove the differences between the instruments from spectra.

        Args:
            x: `(spectra, *instance_shape)`, measured on either instrument.

        Returns:
            float64 array of the shape of `x`.
        """
        return np.asarray((self._flat(x) @ self.coef_).reshape(np.shape(x)))

    def _regress(self, source: Array, target: Array) -> tuple[Array, Array]:
        most_components(self.n_components, min(source.shape))
        self.n_components_ = self.n_components or self._best(source, target)
        self.components_ = _components(source, target, self.n_components_)
        removed = self.components_.T @ self.components_
        return np.eye(source.shape[1]) - removed, target.mean(axis=0) @ removed

    def _best(self, source: Array, target: Array) -> int:
        """Return the number of components with the smallest cross-validation error."""
        n_pairs, pixels = source.shape
        most = most_components(None, min(n_pairs - 1, pixels))
        changes = np.zeros(most)
        for kept, out in folds(n_pairs):
            components = _components(source[kept], target[kept], most)
            # Components are orthonormal, so their changes of the squared error add up.
            scores = (source[out] - target[kept].mean(axis=0)) @ components.T
            lacking = (target[out] - source[out]) @ components.T
            change = (scores**2 + 2.0 * scores * lacking).sum(axis=0)
            changes[: len(change)] += change
        return int(np.cumsum(changes).argmin()) + 1


def _components(source: Array, target: Array, n_components: int) -> Array:
    vectors: Array = np.linalg.svd(target - source, full_matrices=False)[2]
    return vectors[:n_components]
