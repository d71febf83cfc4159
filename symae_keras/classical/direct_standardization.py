"""Direct standardisation."""

from __future__ import annotations

from typing import Any

from symae_keras.classical.standardization import RIDGES, Standardization
from symae_keras.data.groups import Array


class DirectStandardization(Standardization):
    """Ridge regression of whole spectra of one instrument on those of another.

    Instances are instruments here: their place in a group, axis 1, has a meaning. From
    the groups that were measured on both, `s` on the source and `t` on the target,

        coef_, intercept_ = argmin sum |t - coef s - intercept|^2 + ridge |coef|^2

    It uses every pixel for every other one, so it needs more pairs than
    `PiecewiseDirectStandardization`, and sees more.

    Args:
        source: Index of the instrument that spectra come from.
        target: Index of the instrument to show them on.
        ridge: Penalty, in the squared units of the data. `None` (default) chooses one
            of 31 from 1e-6 to 1e4, three a decade, by leave-one-out over the pairs:
            bring data to a scale of about 1.

    Attributes:
        instance_shape_: Shape of one instance.
        n_instruments_: Instances of a training group.
        coef_: The map, `(pixels, pixels)`.
        intercept_: What it adds, `(pixels,)`.
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

    def _regress(self, source: Array, target: Array) -> tuple[Array, Array, Any]:
        from sklearn.linear_model import Ridge, RidgeCV

        if self.ridge is not None:
            model = Ridge(self.ridge).fit(source, target)
            return model.coef_, model.intercept_, self.ridge
        model = RidgeCV(RIDGES).fit(source, target)
        return model.coef_, model.intercept_, float(model.alpha_)
