"""Standard normal variate."""

from __future__ import annotations

import numpy as np

from symae_keras.classical._scatter import ScatterCodes
from symae_keras.data.groups import Array


class SNV(ScatterCodes):
    """Standard normal variate: scaling of each instance to mean 0 and variance 1.

    The mean `a` and the standard deviation `b` over the pixels of an instance are its
    nuisance code, and the coherent code is the mean of the corrected instances:

        N[t] = (a[t], b[t])     C = mean_t (x[t] - a[t]) / b[t]     D(C, N) = a + b C

    The standard deviation is that of a sample, divided by the number of pixels minus 1.
    A constant instance is only shifted. The method learns nothing.

    Attributes:
        instance_shape_: Shape of one instance.
        reference_: Mean instance of the training groups, `(pixels,)`.

    Reference:
        - [Barnes, Dhanoa & Lister, Standard normal variate transformation and
          de-trending of near-infrared diffuse reflectance spectra,
          1989](https://doi.org/10.1366/0003702894202201)

    Example:
    >>> import numpy as np
    >>> from symae_keras.data import GroupedData
    >>> x = np.array([[[1.0, 2.0, 3.0], [10.0, 20.0, 30.0]]])
    >>> model = SNV().fit(GroupedData(x))
    >>> model.correct(x[0]).tolist()
    [[-1.0, 0.0, 1.0], [-1.0, 0.0, 1.0]]
    """

    def _n_parameters(self) -> int:
        return 2

    def _estimate(self, x: Array, good: Array) -> tuple[Array, Array]:
        count = good.sum(axis=1, keepdims=True)
        mean = x.sum(axis=1, keepdims=True) / np.maximum(count, 1)
        deviations = np.where(good, x - mean, 0.0)
        squares = (deviations**2).sum(axis=1, keepdims=True)
        spread = np.sqrt(squares / np.maximum(count - 1, 1))
        # Constant instances have a small variance because of rounding errors.
        spread[spread <= 1e-14 * np.abs(mean)] = 1.0
        return np.hstack([mean, spread]), deviations / spread

    def _fill(self) -> Array:
        x = self.reference_[None]
        return np.asarray(self._estimate(x, np.ones_like(x, bool))[1][0])

    def _show(self, corrected: Array, parameters: Array) -> Array:
        mean, spread = parameters[:, :1], parameters[:, 1:]
        return np.asarray(mean + spread * corrected)
