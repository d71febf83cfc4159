"""Codes of a trained model for a new instrument, and decoded spectra."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from symae_keras._utils.arrays import in_batches
from symae_keras.classical._ridge import regress
from symae_keras.data.groups import Array


@dataclasses.dataclass(frozen=True)
class CodeMap:
    """Virtual spectra from codes with a correction for the new instrument.

    A source spectrum is shifted by the mean difference, so that the model can encode
    it. Its coherent code is corrected by ridge regression on the codes of the pairs,
    and decoded with the mean nuisance code of the target spectra.
    """

    model: Any
    shape: tuple[int, ...]
    shift: Array
    coef: Array
    intercept: Array
    nuisance: Array

    @classmethod
    def fit(
        cls, model: Any, source: Array, target: Array, shape: tuple[int, ...]
    ) -> CodeMap:
        """Fit the correction of codes to flattened pairs `(pairs, pixels)`."""
        shift = (target - source).mean(axis=0)
        given, _ = codes(model, source + shift, shape)
        wanted, nuisances = codes(model, target, shape)
        ridge = regress(given, wanted - given, None)
        coef = np.eye(given.shape[1]) + np.atleast_2d(ridge.coef_)
        nuisance = nuisances.mean(axis=0)
        intercept = np.atleast_1d(ridge.intercept_)
        return cls(model, shape, shift, coef, intercept, nuisance)

    def transfer(self, x: Array) -> Array:
        """Return transferred spectra, `(spectra, pixels)`."""
        coherent, _ = codes(self.model, x + self.shift, self.shape)
        corrected = coherent @ self.coef.T + self.intercept
        nuisance = np.broadcast_to(self.nuisance, (len(x), self.nuisance.size))
        return decoded(self.model, corrected, nuisance)

    def arrays(self) -> dict[str, Array]:
        """Return the arrays of `CodeMap`, without the model."""
        names = ("shift", "coef", "intercept", "nuisance")
        return {name: getattr(self, name) for name in names}


def codes(model: Any, x: Array, shape: tuple[int, ...]) -> tuple[Array, Array]:
    """Return the float64 codes of flattened spectra, each as a separate group."""
    groups = x.reshape(len(x), 1, *shape).astype("float32")
    coherent, nuisance = in_batches(model.encode, groups)
    return coherent.astype("float64"), nuisance[:, 0].astype("float64")


def decoded(model: Any, coherent: Array, nuisance: Array) -> Array:
    """Decode codes to flattened spectra, `(spectra, pixels)` in float64."""
    one = nuisance[:, None].astype("float32")
    x = in_batches(model.decode, coherent.astype("float32"), one)
    return np.asarray(x, "float64").reshape(len(x), -1)


def decoded_spectra(model: Any, x: Array, shape: tuple[int, ...], n: int) -> Array:
    """Draw random spectra of the target instrument with a model.

    Codes are drawn from normal distributions with the mean and covariance of the codes
    of known spectra. Codes have few dimensions, so few spectra are sufficient.
    Residuals of the reconstructions of known spectra are added at random.

    Args:
        model: A trained model of groups.
        x: Known spectra of the target instrument, `(spectra, pixels)`.
        shape: Shape of one instance.
        n: Number of spectra to draw.
    """
    rng = np.random.default_rng(0)
    coherent, nuisance = codes(model, x, shape)
    missed = x - decoded(model, coherent, nuisance)
    drawn = [_alike(each, n, rng) for each in (coherent, nuisance)]
    spectra: Array = decoded(model, *drawn) + missed[rng.integers(len(x), size=n)]
    return spectra


def _alike(values: Array, n: int, rng: np.random.Generator) -> Array:
    """Draw rows from a normal distribution fitted to given rows."""
    from sklearn.covariance import ledoit_wolf

    mean, scale = values.mean(axis=0), values.std(axis=0)
    scale = np.where(scale > 0.0, scale, 1.0)
    # Standardise the codes first, because shrinkage must not mix their scales.
    covariance = np.atleast_2d(ledoit_wolf((values - mean) / scale)[0])
    drawn = rng.multivariate_normal(np.zeros(len(mean)), covariance, n)
    return np.asarray(mean + scale * drawn)
