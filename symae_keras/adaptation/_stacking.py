"""Weights of methods by cross-validation over pairs (stacked regressions).

Breiman, "Stacked regressions", Machine Learning 24 (1996), doi 10.1007/BF00117832:
non-negative weights that minimise the cross-validation error of the weighted sum.
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

#: Maximum number of pairs for leave-one-out, and number of folds for more pairs.
_MOST_LEFT_OUT: Final = 12
_FOLDS: Final = 10
#: With more pairs than this, a fit to 80 % differs little from a fit to all pairs.
_MANY_PAIRS: Final = 60
#: Penalty on weights, relative to the smallest error, up to this number of pairs. It
#: distributes weights over equally good methods. For more pairs, it is inversely
#: proportional to their number.
_SPREAD: Final = 0.2
_SPREAD_UP_TO: Final = 20
#: With at least this many spectra of the target, methods that use all of them are
#: trusted with few pairs, otherwise the mean shift is.
_MANY_TARGETS: Final = 30
_OF_TARGETS: Final = ("ModelOptimalEstimation", "OptimalEstimation")
#: Weights below this are set to zero.
_LEAST_WEIGHT: Final = 0.02
#: Reference method of all scores.
REFERENCE: Final = "MeanShift"
#: Methods for baselines: those that regress on complete spectra. A baseline that does
#: not match the rest, such as that of a window of pixels, changes the predictions of a
#: calibration even if its error is smaller.
OF_BASELINES: Final = (
    *(REFERENCE, "OptimalEstimation", "DirectStandardization", "SlopeBiasAndRidge"),
    "ModelOptimalEstimation",
)


@dataclasses.dataclass(frozen=True)
class Errors:
    """Mean squared errors of held-out spectra, `(pairs,)` each."""

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
    """Return the indices of the pairs in each fold."""
    if n_pairs <= _MOST_LEFT_OUT:
        return [np.array([each]) for each in range(n_pairs)]
    # Pairs may be sorted, for example by concentration.
    order = np.random.default_rng(0).permutation(n_pairs)
    n_folds = _FOLDS if n_pairs <= _MANY_PAIRS else _FOLDS // 2
    return [np.sort(part) for part in np.array_split(order, n_folds)]


def residuals_left_out(
    fits: Mapping[str, Fit], pairs: Pairs, good: Array
) -> dict[str, Array]:
    """Return held-out residuals of each method, `(pairs, pixels)`, 0 at bad pixels.

    Methods that cannot be fitted to the available pairs are left out.
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
        n_targets: Number of spectra of the target, including pairs.
    """

    names: tuple[str, ...]
    of_pairs: Array
    n_targets: int

    @classmethod
    def of(cls, residuals: Mapping[str, Array], n_targets: int) -> Products:
        """Compute the products of residuals `(pairs, pixels)` of methods."""
        each = np.stack(list(residuals.values()), axis=1)
        return cls(tuple(residuals), each @ each.swapaxes(1, 2), n_targets)

    def weights(self, index: Array | None = None) -> dict[str, float]:
        """Compute the weights of methods, which add up to one, from some of the pairs.

        Args:
            index: The pairs. Defaults to `None`, all of them.
        """
        from scipy.optimize import nnls

        of_pairs = self.of_pairs if index is None else self.of_pairs[index]
        total = of_pairs.sum(axis=0)
        least, size = float(np.diag(total).min()), float(np.trace(total))
        if size <= 0.0:  # no improvement is possible
            return {REFERENCE: 1.0}
        n_pairs = len(of_pairs)
        spread = _SPREAD * min(1.0, _SPREAD_UP_TO / n_pairs)
        many = self.n_targets >= _MANY_TARGETS
        many = many and not set(_OF_TARGETS).isdisjoint(self.names)
        trusted = _OF_TARGETS if many else (REFERENCE,)
        caution = _caution(n_pairs, many)
        penalties = [
            spread + (0.0 if name in trusted else caution) for name in self.names
        ]
        # The second term makes the Cholesky factor exist if methods are identical.
        total = total + np.diag(least * np.array(penalties) + 1e-12 * size)
        # A row with a large weight enforces a sum of one.
        heavy = np.full((1, len(total)), 1e3 * np.sqrt(size))
        matrix = np.concatenate([np.linalg.cholesky(total).T, heavy])
        found = nnls(matrix, np.append(np.zeros(len(total)), heavy[0, 0]))[0]
        found = np.where(found < _LEAST_WEIGHT * found.sum(), 0.0, found)
        found /= found.sum()
        both = zip(self.names, found.tolist(), strict=True)
        return {name: weight for name, weight in both if weight > 0.0}


def _caution(n_pairs: int, many_targets: bool) -> float:
    """Return the penalty on all weights except those of trusted methods.

    With few pairs, cross-validation errors are uncertain, so that the result is kept
    close to a trusted method. More pairs change this fast: the mean shift is a good
    choice with 5 pairs, and a bad one with 10.
    """
    return (20.0 / n_pairs) ** 3 if many_targets else 12.0 * (5.0 / n_pairs) ** 8


def stack_left_out(residuals: Mapping[str, Array], products: Products) -> Array:
    """Return residuals of the weighted sum, with weights from the other pairs.

    So the weights of a pair are independent of the error of this pair.

    Args:
        residuals: `(pairs, pixels)` of each method.
        products: Products of these residuals.
    """
    n_pairs = len(products.of_pairs)
    found = np.zeros_like(residuals[REFERENCE])
    for out in folds(n_pairs):
        weights = products.weights(np.setdiff1d(np.arange(n_pairs), out))
        found[out] = sum(weights[name] * residuals[name][out] for name in weights)
    return found
