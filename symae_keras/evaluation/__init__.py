"""How well codes and virtual instances do what they are for."""

from symae_keras.evaluation.checkerboard import checkerboard
from symae_keras.evaluation.compare import compare
from symae_keras.evaluation.comparison import Comparison, Row
from symae_keras.evaluation.contenders import CONTENDERS, Sizes
from symae_keras.evaluation.exposures_limit import exposures_limit
from symae_keras.evaluation.informative_latents import (
    InformativeLatents,
    informative_latents,
)
from symae_keras.evaluation.label_probes import probe_labels
from symae_keras.evaluation.leakage import Leakage, leakage, probe
from symae_keras.evaluation.mutual_information import (
    MutualInformation,
    mutual_information,
)
from symae_keras.evaluation.redatuming import (
    RedatumingError,
    linear_mean_swap,
    reconstruction_error,
    redatuming_error,
    relative_error,
)

__all__ = [
    "CONTENDERS",
    "Comparison",
    "InformativeLatents",
    "Leakage",
    "MutualInformation",
    "RedatumingError",
    "Row",
    "Sizes",
    "checkerboard",
    "compare",
    "exposures_limit",
    "informative_latents",
    "leakage",
    "linear_mean_swap",
    "mutual_information",
    "probe",
    "probe_labels",
    "reconstruction_error",
    "redatuming_error",
    "relative_error",
]
