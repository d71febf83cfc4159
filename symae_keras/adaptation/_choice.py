"""Choice among methods by pairs left out, for baselines and for the rest."""

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
#: With fewer pairs than this, errors left out are too noisy to pick the least one.
_FEW: Final = 15
#: So many spectra of the target tell which spectra occur, also where pairs are few.
_MANY_TARGETS: Final = 30
#: The method that all scores are relative to.
REFERENCE: Final = "MeanShift"
#: Methods for baselines: those that regress on whole spectra. A baseline that does not
#: fit the rest, as that of a window of pixels, changes what a calibration predicts even
#: where it has the smaller error.
OF_BASELINES: Final = (
    *(REFERENCE, "OptimalEstimation", "DirectStandardization", "SlopeBiasAndRidge"),
    "ModelOptimalEstimation",
)
#: What is preferred within one standard error, if it has enough to learn from.
_PREFERRED: Final = ("ModelOptimalEstimation", "OptimalEstimation")


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


def best_method(residuals: Mapping[str, Array], n_targets: int) -> str:
    """Return the first method within one standard error of the least error left out.

    The order is that of preference. Where pairs are few, simple methods come first,
    because errors left out are too uncertain to pick the least one. Means of several
    methods had less error on the pairs left out, and more on new samples.

    Args:
        residuals: Residuals left out, the simplest method first.
        n_targets: Number of spectra of the target, pairs included.
    """
    each = {name: _squared(values) for name, values in residuals.items()}
    reference = each[REFERENCE]
    if not reference.any():  # nothing is left to gain
        return REFERENCE
    n_pairs = len(reference)
    best = min(each, key=lambda name: float(each[name].mean()))
    order = list(each)
    if n_pairs >= _FEW or n_targets >= _MANY_TARGETS:
        order = [*(name for name in _PREFERRED if name in each), *order]
    if n_pairs >= _FEW:
        order = [name for name in order if name in (*_PREFERRED, best)]
    return _first(order, each, best)


def _first(order: list[str], each: Mapping[str, Array], best: str) -> str:
    """Return the first method within one standard error of the least error.

    A method with a larger error than the mean shift is not, however uncertain it is.
    """
    for name in order:
        if each[name].mean() > each[REFERENCE].mean():
            continue
        difference = each[name] - each[best]
        allowed = difference.std(ddof=1) / np.sqrt(len(difference))
        if difference.mean() <= allowed:
            return name
    return best
