"""Extended multiplicative scatter correction, with replicates."""

from __future__ import annotations

from typing import Final

import numpy as np

from symae_keras._utils.validation import is_integer
from symae_keras.classical._paired import folds
from symae_keras.classical._scatter import ScatterCodes, mean_over_instances
from symae_keras.data.groups import Array, GroupedData
from symae_keras.errors import InputError

#: Maximum number of components.
_MOST_COMPONENTS: Final = 30
#: Smallest gain; instances with a smaller gain are not scaled.
_LEAST_GAIN: Final = 1e-6
#: Smallest share of the differences between groups that components may leave.
_LEAST_LEFT: Final = 1e-6


class ExtendedScatterCorrection(ScatterCodes):
    """Extended multiplicative scatter correction (EMSC) in its replicate form.

    An instance is a gain times the mean instance `m` of the training groups, plus a
    polynomial in the pixel and components `p_k` of the differences between replicates:

        x = b m + sum_d c_d pixel^d + sum_k g_k p_k + residual
        corrected = m + residual / b

    The coefficients are the least-squares estimates over good pixels; they are the
    nuisance code. The coherent code is the mean of the corrected instances of a group.
    The components are the first right singular vectors of the deviations of instances
    from the mean of their group, after a correction without components.

    Args:
        degree: Degree of the polynomial; 0 is a constant. Defaults to 2.
        n_components: Number of components. `None` (default) chooses up to 30 by leaving
            out each group, or each of 50 folds if there are more groups. The chosen
            number has the smallest ratio of the variances within and between the groups
            left out.

    Attributes:
        instance_shape_: Shape of one instance.
        reference_: The mean instance `m`, `(pixels,)`.
        n_components_: Number of components used.
        components_: Orthonormal rows `p_k`, `(n_components_, pixels)`.

    Reference:
        - [Martens & Stark, Extended multiplicative signal correction and spectral
          interference subtraction, 1991](https://doi.org/10.1016/0731-7085(91)80188-F)
        - [Kohler, Böcker, Warringer, Blomberg, Omholt, Stark & Martens, Reducing
          inter-replicate variation in Fourier transform infrared spectroscopy by
          extended multiplicative signal correction,
          2009](https://doi.org/10.1366/000370209787598906)

    Example:
    >>> import numpy as np
    >>> from symae_keras.data import GroupedData
    >>> rng = np.random.default_rng(0)
    >>> state, gain = rng.random((20, 1, 64)), rng.uniform(0.5, 2.0, (20, 4, 1))
    >>> groups = GroupedData(gain * state + rng.normal(size=(20, 4, 1)))
    >>> model = ExtendedScatterCorrection(degree=0, n_components=0).fit(groups)
    >>> corrected = model.correct(groups.x[0])
    >>> bool(np.allclose(corrected, corrected[0]))
    True
    """

    components_: Array
    n_components_: int

    def __init__(self, degree: int = 2, n_components: int | None = None) -> None:
        if not is_integer(degree, 0):
            raise InputError(f"degree must be an integer >= 0; received {degree}.")
        if n_components is not None and not is_integer(n_components, 0):
            raise InputError(
                "n_components must be an integer >= 0, or None to choose it by "
                f"cross-validation over groups; received {n_components}."
            )
        self.degree = int(degree)
        self.n_components = None if n_components is None else int(n_components)

    def _check_shape(self, shape: tuple[int, ...]) -> None:
        if self.degree > 0 and len(shape) != 1:
            raise InputError(
                "A polynomial needs instances of the shape (pixels,); received "
                f"{shape}. Use degree=0 for other shapes."
            )

    def _n_parameters(self) -> int:
        return 2 + self.degree + len(self.components_)

    def _learn(self, groups: GroupedData) -> None:
        pixels = self.reference_.size
        self.components_ = np.zeros((0, pixels))
        self.n_components_ = 0
        if self.n_components == 0:
            return
        _, corrected, good = self._corrected(groups)
        means = mean_over_instances(corrected, good, self.reference_)
        deviations = np.where(good, corrected - means[:, None], 0.0)
        counts = groups.counts
        several = counts > 1
        rank = min(int((counts[several] - 1).sum()), pixels - 2 - self.degree)
        if several.sum() < 2 or rank < max(1, self.n_components or 0):
            raise InputError(
                "Components of replicates need at least two groups of two or more "
                "instances, and no more components than their instances and pixels "
                f"allow; received {several.sum()} such groups, which have at most "
                f"{max(rank, 0)} components. Use n_components=0 for no components."
            )
        if self.n_components is None:
            most = min(rank, _MOST_COMPONENTS)
            apart = means - self.reference_
            self.n_components_ = _best(deviations[several], apart[several], most)
        else:
            self.n_components_ = self.n_components
        self.components_ = _components(deviations, self.n_components_)

    def _estimate(self, x: Array, good: Array) -> tuple[Array, Array]:
        powers = np.vander(np.linspace(-1.0, 1.0, x.shape[1]), self.degree + 1, True)
        basis = np.vstack([self.reference_, powers.T, self.components_])
        if good.all():
            coefficients = np.linalg.lstsq(basis.T, x.T, rcond=None)[0].T
        else:
            inverse = np.linalg.pinv(basis * good[:, None])
            coefficients = np.einsum("rp,rpk->rk", x, inverse)
        gain = coefficients[:, :1]  # a view of the nuisance code
        gain[np.abs(gain) < _LEAST_GAIN] = 1.0
        residual = np.where(good, x - coefficients @ basis, 0.0)
        return coefficients, self.reference_ + residual / gain

    def _show(self, corrected: Array, parameters: Array) -> Array:
        powers = np.vander(
            np.linspace(-1.0, 1.0, corrected.shape[1]), self.degree + 1, True
        )
        others = np.vstack([powers.T, self.components_])
        return np.asarray(parameters[:, :1] * corrected + parameters[:, 1:] @ others)


def _components(deviations: Array, n_components: int) -> Array:
    flat = deviations.reshape(-1, deviations.shape[-1])
    if len(flat) > flat.shape[1]:
        vectors = np.linalg.eigh(flat.T @ flat)[1].T[::-1]
    else:
        vectors = np.linalg.svd(flat, full_matrices=False)[2]
    return np.asarray(vectors[:n_components])


def _best(deviations: Array, apart: Array, most: int) -> int:
    """Return the number of components with the smallest variance ratio left out.

    Numbers that remove nearly all differences between groups are left out, because only
    rounding errors remain.
    """
    within, between = np.zeros(most + 1), np.zeros(most + 1)
    for kept, out in folds(len(apart)):
        components = _components(deviations[kept], most)
        rows = deviations[out].reshape(-1, deviations.shape[-1])
        for total, each in ((within, rows), (between, apart[out])):
            total[0] += (each**2).sum()
            removed = ((each @ components.T) ** 2).sum(axis=0)
            total[1 : len(components) + 1] -= removed
    within, between = np.cumsum(within), np.cumsum(between)
    left = between > _LEAST_LEFT * between[0]
    ratios = np.where(left, within, np.inf) / np.where(left, between, 1.0)
    return int(ratios.argmin())
