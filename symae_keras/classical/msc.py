"""Multiplicative scatter correction."""

from __future__ import annotations

from symae_keras.classical.extended_scatter_correction import ExtendedScatterCorrection


class MSC(ExtendedScatterCorrection):
    """Multiplicative scatter correction, with a gain and an offset per instance.

    Each instance is regressed on the mean instance `m` of the training groups. The gain
    `b` and the offset `a` are its nuisance code, and the coherent code is the mean of
    the corrected instances:

        x[t] = a[t] + b[t] m + residual     C = mean_t (x[t] - a[t]) / b[t]

    It is `ExtendedScatterCorrection` without slopes and components, for instances of
    any shape.

    Attributes:
        instance_shape_: Shape of one instance.
        reference_: The mean instance `m`, `(pixels,)`.

    Reference:
        - [Geladi, MacDougall & Martens, Linearization and scatter-correction for
          near-infrared reflectance spectra of meat,
          1985](https://doi.org/10.1366/0003702854248656)

    Example:
    >>> import numpy as np
    >>> from symae_keras.data import GroupedData
    >>> x = np.array([[[1.0, 2.0, 4.0], [3.0, 5.0, 9.0]]])
    >>> model = MSC().fit(GroupedData(x))
    >>> model.correct(x[0]).round(6).tolist()
    [[2.0, 3.5, 6.5], [2.0, 3.5, 6.5]]
    """

    def __init__(self) -> None:
        super().__init__(degree=0, n_components=0)
