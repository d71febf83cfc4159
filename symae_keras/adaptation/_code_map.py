"""What a trained model says about a new instrument: codes, and spectra decoded."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from symae_keras._utils.arrays import in_batches
from symae_keras.classical._ridge import regress
from symae_keras.data.groups import Array


@dataclasses.dataclass(frozen=True)
class CodeMap:
    """Virtual spectra from codes that are corrected for the new instrument.

    A spectrum of the source is shifted by the mean difference, so that the model can
    encode it. Its coherent code is corrected by ridge regression on the codes of the
    pairs, and decoded with the mean nuisance code of the target's spectra.
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
        """Learn the correction of codes from flattened pairs `(pairs, pixels)`."""
        shift = (target - source).mean(axis=0)
        given, _ = codes(model, source + shift, shape)
        wanted, nuisances = codes(model, target, shape)
        ridge = regress(given, wanted - given, None)
        coef = np.eye(given.shape[1]) + np.atleast_2d(ridge.coef_)
        nuisance = nuisances.mean(axis=0)
        intercept = np.atleast_1d(ridge.intercept_)
        return cls(model, shape, shift, coef, intercept, nuisance)

    def transfer(self, x: Array) -> Array:
        """Return `(spectra, pixels)`."""
        coherent, _ = codes(self.model, x + self.shift, self.shape)
        corrected = coherent @ self.coef.T + self.intercept
        nuisance = np.broadcast_to(self.nuisance, (len(x), self.nuisance.size))
        return decoded(self.model, corrected, nuisance)

    def arrays(self) -> dict[str, Array]:
        """Return the arrays that `CodeMap` is made of, beside the model."""
        names = ("shift", "coef", "intercept", "nuisance")
        return {name: getattr(self, name) for name in names}


def codes(model: Any, x: Array, shape: tuple[int, ...]) -> tuple[Array, Array]:
    """Return both codes of flattened spectra, each a group of one instance, float64."""
    groups = x.reshape(len(x), 1, *shape).astype("float32")
    coherent, nuisance = in_batches(model.encode, groups)
    return coherent.astype("float64"), nuisance[:, 0].astype("float64")


def decoded(model: Any, coherent: Array, nuisance: Array) -> Array:
    """Return the flattened spectra of codes, `(spectra, pixels)` in float64."""
    one = nuisance[:, None].astype("float32")
    x = in_batches(model.decode, coherent.astype("float32"), one)
    return np.asarray(x, "float64").reshape(len(x), -1)


def decoded_spectra(model: Any, x: Array, shape: tuple[int, ...], n: int) -> Array:
    """Return spectra of the target instrument as a model imagines more of them.

    Codes are drawn from normal distributions with the mean and covariance of those of
    known spectra; a model has few numbers per code, so that few spectra suffice. What
    reconstructions miss of known spectra is added at random.

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
    """Draw rows from the normal distribution that fits some rows."""
    from sklearn.covariance import ledoit_wolf

    mean, scale = values.mean(axis=0), values.std(axis=0)
    scale = np.where(scale > 0.0, scale, 1.0)
    # Codes have scales of their own, which shrinkage must not mix.
    covariance = np.atleast_2d(ledoit_wolf((values - mean) / scale)[0])
    drawn = rng.multivariate_normal(np.zeros(len(mean)), covariance, n)
    return np.asarray(mean + scale * drawn)
