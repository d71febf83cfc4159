"""ComBat: empirical Bayes estimates of the offsets and scales of instruments."""

from __future__ import annotations

import operator
from typing import Final, Self

import numpy as np

from symae_keras.classical._base import check_finite
from symae_keras.classical._paired import PairedReference, check_whole
from symae_keras.data.groups import Array, GroupedData
from symae_keras.errors import InputError

_TOLERANCE: Final = 1e-10
_MOST_STEPS: Final = 1000


class ComBat(PairedReference):
    """Correction of instrument offsets and scales by parametric empirical Bayes.

    The index of an instance in its group, axis 1, is that of its instrument. The paper
    calls an instrument a batch. No pairs are needed: each group is used for the
    instruments that measured it. For instrument `i` and pixel `p`,

        x = alpha[p] + sigma[p] (gamma[i, p] + delta[i, p] noise)

    Estimates of `gamma` and `delta` are shrunk towards their distributions over the
    pixels, normal and inverse gamma, so that few spectra are sufficient. `correct`
    removes both, and `transfer` replaces them by those of the target. The states of the
    groups are treated as noise: if instruments measure different populations, the
    difference between the populations is also removed.

    Args:
        source: Index of the source instrument.
        target: Index of the target instrument.

    Attributes:
        instance_shape_: Shape of one instance.
        n_instruments_: Number of instruments (instances per training group).
        alpha_: Mean of the instruments, `(pixels,)`.
        sigma_: Pooled standard deviation, `(pixels,)`; 1 for constant pixels.
        gamma_: Offsets in units of `sigma_`, `(instruments, pixels)`; NaN for an
            instrument with fewer than two spectra.
        delta_: Scales, `(instruments, pixels)`.
        coef_: The factors of `transfer`, `(pixels,)`.
        intercept_: The offsets of `transfer`, `(pixels,)`.

    Reference:
        - [Johnson, Li & Rabinovic, Adjusting batch effects in microarray expression
          data using empirical Bayes methods,
          2007](https://doi.org/10.1093/biostatistics/kxj037)

    Example:
    >>> import numpy as np
    >>> from symae_keras.data import GroupedData
    >>> x = np.random.default_rng(0).normal(size=(200, 2, 16))
    >>> x[:, 1] = 3.0 * x[:, 1] + 5.0
    >>> model = ComBat(source=1, target=0).fit(GroupedData(x))
    >>> virtual = model.transfer(x[:, 1])
    >>> bool(abs(virtual.mean()) < 0.1), bool(abs(virtual.std() - 1.0) < 0.1)
    (True, True)
    """

    alpha_: Array
    sigma_: Array
    gamma_: Array
    delta_: Array

    def fit(self, groups: GroupedData) -> Self:
        """Estimate offsets and scales from all present instances.

        Args:
            groups: Training groups; the index of an instance is that of its instrument.

        Returns:
            The object itself.

        Raises:
            InputError: The source or the target has fewer than two spectra, instances
                have fewer than two pixels, a spectrum is not finite, or pixels are
                masked.
        """
        self._check_instruments(groups)
        present = groups.present
        counts = present.sum(axis=0)
        for index in (self.source, self.target):
            if counts[index] < 2:
                raise InputError(
                    "ComBat needs at least two spectra from the source and from the "
                    f"target; received {counts[index]} from instrument {index}."
                )
        check_whole(self, groups)
        check_finite(groups.x[present])
        flat = groups.x.reshape(*groups.x.shape[:2], -1)
        if flat.shape[2] < 2:
            raise InputError(
                "ComBat estimates distributions over pixels and needs at least two "
                "pixels; received instances of one pixel."
            )
        used = np.flatnonzero(counts > 1)
        batches = [flat[present[:, i], i].astype("float64") for i in used]
        self.gamma_, self.delta_ = np.full(
            (2, groups.n_instances, flat.shape[2]), np.nan
        )
        self._estimate(batches, used)
        ratio = self.delta_[self.target] / self.delta_[self.source]
        means = self.alpha_ + self.sigma_ * self.gamma_
        self.coef_ = ratio
        self.intercept_ = means[self.target] - ratio * means[self.source]
        self.instance_shape_ = groups.instance_shape
        self.n_instruments_ = groups.n_instances
        return self

    def _estimate(self, batches: list[Array], used: Array) -> None:
        sizes = np.array([len(each) for each in batches])
        means = np.stack([each.mean(axis=0) for each in batches])
        self.alpha_ = sizes @ means / sizes.sum()
        squares = sum(
            ((each - mean) ** 2).sum(axis=0)
            for each, mean in zip(batches, means, strict=True)
        )
        sigma = np.sqrt(squares / sizes.sum())
        # Constant pixels have a small variance because of rounding errors.
        varying = sigma > 1e-14 * np.abs(means).max(axis=0)
        self.sigma_ = np.where(varying, sigma, 1.0)
        for index, batch in zip(used, batches, strict=True):
            z = (batch - self.alpha_) / self.sigma_
            gamma, delta = z.mean(axis=0), np.ones(z.shape[1])
            if varying.sum() > 1:
                gamma[varying], delta[varying] = _posterior(z[:, varying])
            self.gamma_[index], self.delta_[index] = gamma, delta

    def correct(self, x: Array, instrument: int) -> Array:
        """Remove the offset and the scale of an instrument, as in the paper.

        Args:
            x: `(spectra, *instance_shape)`, measured on the instrument.
            instrument: Index of the instrument.

        Returns:
            float64 array of the shape of `x`.

        Raises:
            InputError: The instrument was not fitted.
        """
        flat = self._flat(x)
        index = operator.index(instrument)
        if not 0 <= index < self.n_instruments_ or np.isnan(self.gamma_[index, 0]):
            raise InputError(
                f"instrument must be one of the {self.n_instruments_} that were "
                "fitted, counted from 0, with at least two spectra; received "
                f"{instrument}."
            )
        z = (flat - self.alpha_) / self.sigma_
        clean = (z - self.gamma_[index]) / self.delta_[index]
        return np.asarray((clean * self.sigma_ + self.alpha_).reshape(np.shape(x)))


def _posterior(z: Array) -> tuple[Array, Array]:
    """Estimate offsets and scales of standardized spectra of an instrument.

    The spectra have the shape `(spectra, pixels)`. Each parameter is set to its
    posterior mean given the other, until both converge.
    """
    n_spectra = len(z)
    mean, variance = z.mean(axis=0), z.var(axis=0, ddof=1)
    prior_mean, prior_variance = mean.mean(), mean.var(ddof=1)
    center, spread = variance.mean(), variance.var(ddof=1)
    if not spread > 0.0 or not prior_variance > 0.0:
        return mean, np.sqrt(variance)  # all pixels agree, so no shrinkage is needed
    shape = 2.0 + center**2 / spread
    scale = center * (shape - 1.0)
    gamma, squared = mean, variance
    for _ in range(_MOST_STEPS):
        weight = n_spectra * prior_variance
        new = (weight * mean + squared * prior_mean) / (weight + squared)
        squares = (n_spectra - 1) * variance + n_spectra * (mean - new) ** 2
        newer = (0.5 * squares + scale) / (0.5 * n_spectra + shape - 1.0)
        change = max(np.abs(new - gamma).max(), np.abs(newer - squared).max())
        gamma, squared = new, newer
        if change <= _TOLERANCE:
            break
    return gamma, np.sqrt(squared)
