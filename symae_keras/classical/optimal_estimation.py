"""Optimal estimation: inversion of an instrument with a prior for spectra."""

from __future__ import annotations

from typing import Final, Self

import numpy as np

from symae_keras.classical._base import check_finite
from symae_keras.classical._paired import PairedReference, check_whole
from symae_keras.classical._ridge import regress
from symae_keras.data.groups import Array, GroupedData
from symae_keras.errors import InputError

#: Weight of the diagonal in the covariance of residuals; the rest is the sample
#: covariance. Errors with 0.2 to 0.8 were equal within 10 %, and 1 doubled them.
_DIAGONAL: Final = 0.5
#: Spectra with fewer pixels have no separate baseline.
_PIXELS_OF_BASELINE: Final = 12
#: Regularisation relative to the largest variance, so that the inverse exists.
_JITTER: Final = 1e-10


class OptimalEstimation(PairedReference):
    """Estimate of the target spectrum with a Gaussian prior for target spectra.

    The index of an instance in its group, axis 1, is that of its instrument. A model of
    the source instrument predicts its spectrum `s` from the target spectrum `t`. It is
    fitted to the pairs by ridge regression of the difference, and `R` is the covariance
    of the residuals:

        s = t + B (t - mean) + offset + noise,      noise ~ N(0, R),     A = I + B

    The mean `m` and the covariance `C` of target spectra are estimated from all spectra
    of the target instrument, with or without a partner. The transferred spectrum is the
    mean of the posterior distribution of `t`:

        transfer(s) = m + C A' (A C A' + R)^-1 (s - offset - A m)

    So unpaired spectra of the target instrument, which laboratories often have, improve
    the result with few pairs: they contain the differences that occur between spectra.
    `R` is estimated from cross-validation residuals, with half of the weight on the
    diagonal. The noise of the baseline, a quadratic in the pixel index, is independent
    of the rest.

    Args:
        source: Index of the source instrument.
        target: Index of the target instrument.

    Attributes:
        instance_shape_: Shape of one instance.
        n_instruments_: Number of instruments (instances per training group).
        n_targets_: Number of target spectra for the estimates of `m` and `C`.
        coef_: The map, `(pixels, pixels)`.
        intercept_: The offset of the map, `(pixels,)`.

    Reference:
        - [Rodgers, Inverse Methods for Atmospheric Sounding: Theory and Practice,
          2000](https://doi.org/10.1142/3171)

    Example:
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> target = rng.normal(size=(200, 3)) @ rng.normal(size=(3, 20))
    >>> source = 0.8 * target + 1.0 + 0.1 * rng.normal(size=target.shape)
    >>> mask = np.ones((200, 2), bool)
    >>> mask[10:, 1] = False  # 10 pairs, and 190 spectra of the target instrument
    >>> groups = GroupedData(np.stack([target, source], axis=1), mask=mask)
    >>> model = OptimalEstimation(source=1, target=0).fit(groups)
    >>> error = model.transfer(source[10:]) - target[10:]
    >>> bool((error**2).mean() < 0.1 * ((source - target)[10:] ** 2).mean())
    True
    """

    n_targets_: int
    _targets: Array

    def fit(self, groups: GroupedData, targets: Array | None = None) -> Self:
        """Fit the map to pairs and to spectra of the target instrument.

        Args:
            groups: Training groups; the index of an instance is that of its instrument.
                Groups that only the target instrument has measured are used for `m` and
                `C`.
            targets: More spectra of the target instrument,
                `(spectra, *instance_shape)`, for example decoded by a trained model.
                Defaults to `None`.

        Returns:
            The object itself.

        Raises:
            InputError: The instrument does not exist, fewer than two groups were
                measured on both instruments, spectra are not finite or are masked, or
                `targets` have another shape.
        """
        self._check_instruments(groups)
        present = groups.present[:, self.target]
        own = groups[present].take_instances([self.target])
        check_whole(self, own)
        spectra = own.x[:, 0].astype("float64")
        if targets is not None:
            targets = np.asarray(targets, "float64")
            if targets.ndim == 0 or targets.shape[1:] != groups.instance_shape:
                raise InputError(
                    f"targets must have the shape (spectra, *{groups.instance_shape}); "
                    f"received {targets.shape}."
                )
            spectra = np.concatenate([spectra, targets])
        check_finite(spectra)
        self._targets = spectra.reshape(len(spectra), -1)
        self.n_targets_ = len(spectra)
        super().fit(groups)
        del self._targets
        return self

    def _regress(self, source: Array, target: Array) -> tuple[Array, Array]:
        mean = self._targets.mean(axis=0)
        deviations = self._targets - mean
        covariance = deviations.T @ deviations / len(deviations)
        coef, offset, residuals = _instrument(source, target)
        seen = coef @ covariance
        total = seen @ coef.T + _noise(residuals)
        pixels = len(total)
        total[np.diag_indices(pixels)] += _JITTER * max(total.diagonal().max(), 1e-300)
        gain = np.linalg.solve(total, seen).T
        return gain, mean - gain @ (coef @ mean + offset)


def _instrument(source: Array, target: Array) -> tuple[Array, Array, Array]:
    """Return the map from target to source, its offset, and held-out residuals."""
    difference = source - target
    model = regress(target, difference, None)
    coef = np.atleast_2d(model.coef_)
    centred = target - target.mean(axis=0)
    vectors, values, _ = np.linalg.svd(centred, full_matrices=False)
    shrunk = values**2 / (values**2 + model.alpha_)
    leverage = 1.0 / len(target) + vectors**2 @ shrunk
    missed = difference - target @ coef.T - model.intercept_
    left_out = missed / np.maximum(1.0 - leverage, 1e-6)[:, None]
    return np.eye(target.shape[1]) + coef, np.atleast_1d(model.intercept_), left_out


def _noise(residuals: Array) -> Array:
    """Return the covariance of residuals, with a separate one for the baseline."""
    pixels = residuals.shape[1]
    noise = np.zeros((pixels, pixels))
    rest = residuals
    if pixels >= _PIXELS_OF_BASELINE:
        powers = np.linalg.qr(np.vander(np.linspace(-1.0, 1.0, pixels), 3))[0]
        baseline = (residuals @ powers) @ powers.T
        noise += baseline.T @ baseline / len(residuals)
        rest = residuals - baseline
    covariance = rest.T @ rest / len(residuals)
    noise += (1.0 - _DIAGONAL) * covariance
    noise[np.diag_indices(pixels)] += _DIAGONAL * covariance.diagonal()
    return noise
