"""Spectral space transformation between two instruments."""

from __future__ import annotations

import numpy as np

from symae_keras.classical._paired import (
    PairedReference,
    components_or_none,
    folds,
    most_components,
)
from symae_keras.data.groups import Array


class SpectralSpaceTransformation(PairedReference):
    """Spectral space transformation (SST) in a common space of both instruments.

    The index of an instance in its group, axis 1, is that of its instrument. The first
    right singular vectors of the pairs `[t, s]`, one pair per row, are cut into the
    loadings `P_t` and `P_s` of the target and of the source, `(components, pixels)`.
    The scores of a source spectrum are computed by least squares. The instrument
    difference that they predict is added to the spectrum:

        [T, S] = U diag(d) [P_t, P_s]      transfer(x) = x + x pinv(P_s) (P_t - P_s)

    Unlike direct standardization, it does not change components outside the common
    space.

    Args:
        source: Index of the source instrument.
        target: Index of the target instrument.
        n_components: Number of singular vectors. `None` (default) chooses up to 60 by
            leave-one-out over the pairs, or with 50 folds if there are more pairs.

    Attributes:
        instance_shape_: Shape of one instance.
        n_instruments_: Number of instruments (instances per training group).
        n_components_: Number of singular vectors used.
        coef_: The map, `(pixels, pixels)`.
        intercept_: Zeros, `(pixels,)`.

    Reference:
        - [Du, Chen, Zhong, Wang, Yu, Nordon, Littlejohn & Holden, Maintaining the
          predictive abilities of multivariate calibration models by spectral space
          transformation, 2011](https://doi.org/10.1016/j.aca.2011.02.014)

    Example:
    >>> import numpy as np
    >>> from symae_keras.data import GroupedData
    >>> rng = np.random.default_rng(0)
    >>> scores, loadings = rng.normal(size=(30, 3)), rng.normal(size=(2, 3, 16))
    >>> groups = GroupedData(np.stack([scores @ each for each in loadings], axis=1))
    >>> model = SpectralSpaceTransformation(0, 1, n_components=3).fit(groups[:20])
    >>> bool(np.allclose(model.transfer(groups.x[20:, 0]), groups.x[20:, 1]))
    True
    """

    n_components_: int

    def __init__(
        self, source: int, target: int, n_components: int | None = None
    ) -> None:
        super().__init__(source, target)
        self.n_components = components_or_none(n_components)

    def _regress(self, source: Array, target: Array) -> tuple[Array, Array]:
        rank = min(source.shape)
        most_components(self.n_components, rank)
        self.n_components_ = self.n_components or self._best(source, target)
        of_source, change = _loadings(source, target, self.n_components_)
        pixels = source.shape[1]
        coef = np.eye(pixels) + (np.linalg.pinv(of_source) @ change).T
        return coef, np.zeros(pixels)

    def _best(self, source: Array, target: Array) -> int:
        """Return the number of components with the smallest cross-validation error."""
        n_pairs, pixels = source.shape
        most = most_components(None, min(n_pairs - 1, pixels))
        errors = np.zeros(most)
        for kept, out in folds(n_pairs):
            of_source, change = _loadings(source[kept], target[kept], most)
            lacking = target[out] - source[out]
            for n in range(len(of_source)):
                parts = of_source[: n + 1]
                scores = np.linalg.lstsq(parts.T, source[out].T, rcond=None)[0]
                errors[n] += ((scores.T @ change[: n + 1] - lacking) ** 2).sum()
        return int(errors.argmin()) + 1


def _loadings(source: Array, target: Array, n_components: int) -> tuple[Array, Array]:
    """Return the loadings of the source, and the difference of the target's."""
    vectors = np.linalg.svd(np.hstack([target, source]), full_matrices=False)[2]
    of_target, of_source = np.split(vectors[:n_components], 2, axis=1)
    return of_source, of_target - of_source
