"""Ridge regression with a penalty that leave-one-out chooses."""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np

from symae_keras.data.groups import Array
from symae_keras.errors import InputError

#: Penalties that leave-one-out chooses from, as parts of the largest eigenvalue of the
#: scatter of the source spectra: four per decade.
RIDGES: Final = np.logspace(-12, 0, 49)


def check_ridge(ridge: float | None) -> None:
    """Refuse penalties that are not positive."""
    if ridge is not None and not 0.0 < ridge < math.inf:
        raise InputError(
            "ridge must be a positive number, or None to choose it by "
            f"leave-one-out; received {ridge}."
        )


def regress(source: Array, target: Array, ridge: float | None) -> Any:
    """Return a fitted `RidgeCV`, with the penalty given or the best one left out.

    Its attribute `best_score_` is minus the mean squared error left out.
    """
    from sklearn.linear_model import RidgeCV

    if ridge is not None:
        return RidgeCV([ridge]).fit(source, target)
    deviations = source - source.mean(axis=0)
    largest = np.linalg.norm(deviations, 2) ** 2
    # Without any variance, every penalty gives the mean of the target.
    return RidgeCV(RIDGES * (largest if largest > 0.0 else 1.0)).fit(source, target)
