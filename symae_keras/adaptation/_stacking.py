"""Weights of methods by pairs left out: stacked regressions.

Breiman, "Stacked regressions", Machine Learning 24 (1996), doi 10.1007/BF00117832:
weights of at least zero that minimise the error left out of the weighted sum.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping
from typing import Final

import numpy as np

from symae_keras.adaptation._baseline import parts
from symae_keras.adaptation._candidates import Fit, Pairs
from symae_keras.data.groups import Array
from symae_keras.errors import InputError

_log = logging.getLogger("symae_keras")

#: Each pair is left out in turn up to so many pairs; more pairs form so many folds.
_MOST_LEFT_OUT: Final = 12
_FOLDS: Final = 10
#: Of more pairs than this, a fit without a fifth differs little from one to all.
_MANY_PAIRS: Final = 60
#: Penalty on weights, relative to the least error, up to so many pairs. It spreads them
#: over methods that are equally good, and falls as one over the number of more pairs.
_SPREAD: Final = 0.2
_SPREAD_UP_TO: Final = 20
#: With few pairs errors left out are uncertain. A penalty on all weights but that of
#: the mean shift keeps the mean near it: this over the cube of the number of pairs.
_CAUTION: Final = 1500.0
#: With so many spectra of the target, the mean is kept near a method that learns from
#: all of them, by this over the number of pairs.
_CAUTION_OF_MANY: Final = 30.0
_MANY_TARGETS: Final = 30
_OF_TARGETS: Final = ("ModelOptimalEstimation", "OptimalEstimation")
#: Weights below this are left out.
_LEAST_WEIGHT: Final = 0.02
#: The method that all scores are relative to.
REFERENCE: Final = "MeanShift"
#: Methods for baselines: those that regress on whole spectra. A baseline that does not
#: fit the rest, as that of a window of pixels, changes what a calibration predicts even
#: where it has the smaller error.
OF_BASELINES: Final = (
    *(REFERENCE, "OptimalEstimation", "DirectStandardization", "SlopeBiasAndRidge"),
    "ModelOptimalEstimation",
)


@dataclasses.dataclass(frozen=True)
class Errors:
    """Mean squared errors of the spectra left out, `(pairs,)` each."""

    raw: Array
    free: Array

    @classmethod
    def of(cls, residuals: Array, shape: tuple[int, ...]) -> Errors:
        """Return the errors of residuals `(pairs, pixels)`."""
        return cls(
            *(_squared(each) for each in (residuals, parts(residuals, shape)[1]))
        )

    def scores(self, reference: Errors) -> Array:
        """Return the mean of both errors of each pair, relative to a reference."""
        relative = [
            own / other.mean()
            for own, other in ((self.raw, reference.raw), (self.free, reference.free))
            if other.mean() > 0.0
        ]
        return np.mean(relative, axis=0) if relative else np.zeros(len(self.raw))


def _squared(residuals: Array) -> Array:
    return np.asarray((residuals**2).mean(axis=1))


def folds(n_pairs: int) -> list[Array]:
    """Return indices of the pairs that are left out together."""
    if n_pairs <= _MOST_LEFT_OUT:
        return [np.array([each]) for each in range(n_pairs)]
    # Pairs may come in an order, such as that of their concentration.
    order = np.random.default_rng(0).permutation(n_pairs)
    n_folds = _FOLDS if n_pairs <= _MANY_PAIRS else _FOLDS // 2
    return [np.sort(part) for part in np.array_split(order, n_folds)]


def residuals_left_out(
    fits: Mapping[str, Fit], pairs: Pairs, good: Array
) -> dict[str, Array]:
    """Return prediction minus truth of each method, `(pairs, pixels)`, 0 if not good.

    Methods that cannot be fitted to so few pairs are left out.
    """
    found: dict[str, Array] = {}
    n_pairs = len(pairs.source)
    for name, fit in fits.items():
        residuals = np.zeros_like(pairs.target)
        try:
            for out in folds(n_pairs):
                kept = np.setdiff1d(np.arange(n_pairs), out)
                guess = fit(pairs.take(kept)).transfer(pairs.source[out])
                residuals[out] = np.where(good[out], guess - pairs.target[out], 0.0)
        except (InputError, np.linalg.LinAlgError) as error:
            _log.info("%s is left out: %s", name, error)
            continue
        if np.isfinite(residuals).all():
            found[name] = residuals
    return found


@dataclasses.dataclass(frozen=True)
class Products:
    """Products of the residuals of two methods, summed over pixels.

    Args:
        names: The methods.
        of_pairs: `(pairs, methods, methods)`.
        n_targets: Number of spectra of the target, pairs included.
    """

    names: tuple[str, ...]
    of_pairs: Array
    n_targets: int

    @classmethod
    def of(cls, residuals: Mapping[str, Array], n_targets: int) -> Products:
        """Return the products of residuals `(pairs, pixels)` of methods."""
        each = np.stack(list(residuals.values()), axis=1)
        return cls(tuple(residuals), each @ each.swapaxes(1, 2), n_targets)

    def weights(self, index: Array | None = None) -> dict[str, float]:
        """Return the weights of methods, which add up to one, from some of the pairs.

        Args:
            index: The pairs. Defaults to `None`, all of them.
        """
        from scipy.optimize import nnls

        of_pairs = self.of_pairs if index is None else self.of_pairs[index]
        total = of_pairs.sum(axis=0)
        least, size = float(np.diag(total).min()), float(np.trace(total))
        if size <= 0.0:  # nothing is left to gain
            return {REFERENCE: 1.0}
        n_pairs = len(of_pairs)
        spread = _SPREAD * min(1.0, _SPREAD_UP_TO / n_pairs)
        trusted: tuple[str, ...] = (REFERENCE,)
        caution = _CAUTION / n_pairs**3
        if self.n_targets >= _MANY_TARGETS and set(_OF_TARGETS) & set(self.names):
            trusted, caution = _OF_TARGETS, _CAUTION_OF_MANY / n_pairs
        penalties = [
            spread + (0.0 if name in trusted else caution) for name in self.names
        ]
        # The second term lets Cholesky's factor exist where methods are the same.
        total = total + np.diag(least * np.array(penalties) + 1e-12 * size)
        # One heavy row asks for a sum of one.
        heavy = np.full((1, len(total)), 1e3 * np.sqrt(size))
        matrix = np.concatenate([np.linalg.cholesky(total).T, heavy])
        found = nnls(matrix, np.append(np.zeros(len(total)), heavy[0, 0]))[0]
        found = np.where(found < _LEAST_WEIGHT * found.sum(), 0.0, found)
        found /= found.sum()
        both = zip(self.names, found.tolist(), strict=True)
        return {name: weight for name, weight in both if weight > 0.0}


def stack_left_out(residuals: Mapping[str, Array], products: Products) -> Array:
    """Return residuals of the weighted sum, with weights from the other pairs.

    So the error of the sum does not contain the choice of its own weights.

    Args:
        residuals: `(pairs, pixels)` of each method.
        products: Those of these residuals.
    """
    n_pairs = len(products.of_pairs)
    found = np.zeros_like(residuals[REFERENCE])
    for out in folds(n_pairs):
        weights = products.weights(np.setdiff1d(np.arange(n_pairs), out))
        found[out] = sum(weights[name] * residuals[name][out] for name in weights)
    return found
