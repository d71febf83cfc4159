"""Direct standardization of complete spectra."""

from __future__ import annotations

from symae_keras.classical._paired import PairedReference
from symae_keras.classical._ridge import check_ridge, regress
from symae_keras.data.groups import Array


class DirectStandardization(PairedReference):
    """Ridge regression of complete spectra of one instrument on those of another.

    The index of an instance in its group, axis 1, is that of its instrument. With the
    spectra `s` on the source and `t` on the target, of the groups that were measured on
    both,

        coef_, intercept_ = argmin sum |t - coef s - intercept|^2 + ridge |coef|^2

    Every target pixel depends on all source pixels, so the method needs more pairs than
    `PiecewiseDirectStandardization`, but can model more differences.

    Args:
        source: Index of the source instrument.
        target: Index of the target instrument.
        ridge: Penalty, in the squared units of the data. `None` (default) chooses one
            of 49 by leave-one-out over the pairs, from 1e-12 to 1 times the largest
            eigenvalue of the scatter of `s`, four per decade.

    Attributes:
        instance_shape_: Shape of one instance.
        n_instruments_: Number of instruments (instances per training group).
        coef_: The map, `(pixels, pixels)`.
        intercept_: The offset of the map, `(pixels,)`.
        ridge_: The penalty used.

    Reference:
        - [Wang, Veltkamp & Kowalski, Multivariate instrument standardization,
          1991](https://doi.org/10.1021/ac00023a016)

    Example:
    >>> import numpy as np
    >>> from symae_keras.data import GroupedData
    >>> first = np.random.default_rng(0).normal(size=(50, 8))
    >>> groups = GroupedData(np.stack([first, 2.0 * first[:, ::-1] + 1.0], axis=1))
    >>> model = DirectStandardization(source=0, target=1).fit(groups[:40])
    >>> virtual = model.redatum(groups.x[40:])
    >>> virtual.shape
    (10, 1, 8)
    >>> bool(np.allclose(virtual[:, 0], groups.x[40:, 1], atol=1e-5))
    True
    """

    ridge_: float

    def __init__(self, source: int, target: int, ridge: float | None = None) -> None:
        super().__init__(source, target)
        check_ridge(ridge)
        self.ridge = ridge

    def _regress(self, source: Array, target: Array) -> tuple[Array, Array]:
        model = regress(source, target, self.ridge)
        self.ridge_ = float(model.alpha_)
        return model.coef_, model.intercept_
