"""Generalized least squares weighting between two instruments."""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from symae_keras.classical._paired import PairedReference, folds
from symae_keras.data.groups import Array
from symae_keras.errors import InputError

#: Values of alpha to choose from, relative to the largest variance of a difference.
_WEIGHTS: Final = np.logspace(-8, 4, 49)


class GeneralizedLeastSquaresWeighting(PairedReference):
    """Generalized least squares weighting (GLSW), which shrinks differences.

    The index of an instance in its group, axis 1, is that of its instrument. With the
    covariance `D` of the differences `t - s` between the spectra of a pair,

        G = (D / alpha + I)^(-1/2)
        correct(x) = x G        transfer(x) = mean(t) + (x - mean(s)) G

    Directions in which the instruments differ more are shrunk more, while
    `ExternalParameterOrthogonalization` completely removes the first directions. A
    calibration is fitted to the output of `correct`.

    Args:
        source: Index of the source instrument.
        target: Index of the target instrument.
        alpha: Variance, in the squared units of the data, above which a difference is
            shrunk. `None` (default) chooses one of 49 values, from 1e-8 to 1e4 times
            the largest eigenvalue of `D`, by leave-one-out over the pairs, or with 50
            folds if there are more pairs: the value with the smallest error of
            `transfer`.

    Attributes:
        instance_shape_: Shape of one instance.
        n_instruments_: Number of instruments (instances per training group).
        alpha_: The variance used.
        coef_: The symmetric matrix `G`, `(pixels, pixels)`.
        intercept_: The offset of `transfer`, `(pixels,)`.

    Reference:
        - [Martens, Høy, Wise, Bro & Brockhoff, Pre-whitening of data by
          covariance-weighted pre-processing, 2003](https://doi.org/10.1002/cem.780)

    Example:
    >>> import numpy as np
    >>> from symae_keras.data import GroupedData
    >>> rng = np.random.default_rng(0)
    >>> source, change = rng.normal(size=(50, 2)), rng.normal(size=(50, 1))
    >>> groups = GroupedData(np.stack([source, source + change * [9, 0]], axis=1))
    >>> model = GeneralizedLeastSquaresWeighting(0, 1, alpha=1.0).fit(groups)
    >>> bool(model.coef_[0, 0] < 0.2), bool(model.coef_[1, 1] > 0.999)
    (True, True)
    """

    alpha_: float

    def __init__(self, source: int, target: int, alpha: float | None = None) -> None:
        super().__init__(source, target)
        if alpha is not None and not 0.0 < alpha < math.inf:
            raise InputError(
                "alpha must be a positive number, or None to choose it by "
                f"leave-one-out; received {alpha}."
            )
        self.alpha = alpha

    def correct(self, x: Array) -> Array:
        """Shrink the differences between the instruments in spectra.

        Args:
            x: `(spectra, *instance_shape)`, measured on either instrument.

        Returns:
            float64 array of the shape of `x`.
        """
        return np.asarray((self._flat(x) @ self.coef_).reshape(np.shape(x)))

    def _regress(self, source: Array, target: Array) -> tuple[Array, Array]:
        variances, vectors = _variances(source, target)
        self.alpha_ = self.alpha or self._best(source, target, variances[0])
        # Directions without differences do not change.
        shrunk = (1.0 + variances / self.alpha_) ** -0.5 - 1.0
        coef = np.eye(source.shape[1]) + vectors.T * shrunk @ vectors
        return coef, target.mean(axis=0) - source.mean(axis=0) @ coef

    def _best(self, source: Array, target: Array, largest: float) -> float:
        """Return the variance with the smallest cross-validation error."""
        alphas = _WEIGHTS * (largest if largest > 0.0 else 1.0)
        changes = np.zeros(len(alphas))
        for kept, out in folds(len(source)):
            variances, vectors = _variances(source[kept], target[kept])
            apart = source[out] - source[kept].mean(axis=0)
            scores = apart @ vectors.T
            lacking = (target[out] - target[kept].mean(axis=0) - apart) @ vectors.T
            # Vectors are orthonormal, so their changes of the squared error add up.
            shrunk = (1.0 + variances / alphas[:, None]) ** -0.5 - 1.0
            changes += shrunk**2 @ (scores**2).sum(axis=0)
            changes -= 2.0 * shrunk @ (scores * lacking).sum(axis=0)
        return float(alphas[changes.argmin()])


def _variances(source: Array, target: Array) -> tuple[Array, Array]:
    """Return the decreasing eigenvalues and eigenvectors of the differences."""
    difference = target - source
    difference -= difference.mean(axis=0)
    _, values, vectors = np.linalg.svd(difference, full_matrices=False)
    return values**2 / max(len(difference) - 1, 1), vectors
