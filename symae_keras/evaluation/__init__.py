"""How well codes and virtual instances do what they are for."""

from symae_keras.evaluation.exposures_limit import exposures_limit
from symae_keras.evaluation.leakage import Leakage, leakage, probe
from symae_keras.evaluation.redatuming import (
    RedatumingError,
    linear_mean_swap,
    redatuming_error,
    relative_error,
)

__all__ = [
    "Leakage",
    "RedatumingError",
    "exposures_limit",
    "leakage",
    "linear_mean_swap",
    "probe",
    "redatuming_error",
    "relative_error",
]
