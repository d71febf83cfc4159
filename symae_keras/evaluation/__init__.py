"""How well codes and virtual instances do what they are for."""

from symae_keras.evaluation.anomaly import AnomalyDetector, Detection, detection
from symae_keras.evaluation.calibration import Calibration, calibration
from symae_keras.evaluation.checkerboard import checkerboard
from symae_keras.evaluation.compare import compare
from symae_keras.evaluation.comparison import Comparison, Row
from symae_keras.evaluation.compression import (
    RateDistortion,
    compress_codes,
    decompress_codes,
    rate_distortion,
)
from symae_keras.evaluation.contenders import CONTENDERS, Sizes
from symae_keras.evaluation.denoising import snr_gain
from symae_keras.evaluation.disentanglement import (
    Disentanglement,
    DisentanglementSpread,
    disentanglement,
    disentanglement_spread,
)
from symae_keras.evaluation.downstream import Downstream, downstream, virtual_under
from symae_keras.evaluation.error_over_instances import (
    ErrorOverInstances,
    error_over_instances,
)
from symae_keras.evaluation.exposures_limit import exposures_limit
from symae_keras.evaluation.gauge import rotations, shifts
from symae_keras.evaluation.generation import energy_distance
from symae_keras.evaluation.group_codes import coherent_agreement, nuisance_dependence
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
from symae_keras.evaluation.segmentation import (
    dice,
    intersection_over_union,
    mean_iou,
)

__all__ = [
    "AnomalyDetector",
    "CONTENDERS",
    "Calibration",
    "Comparison",
    "Detection",
    "Disentanglement",
    "DisentanglementSpread",
    "Downstream",
    "ErrorOverInstances",
    "InformativeLatents",
    "Leakage",
    "MutualInformation",
    "RateDistortion",
    "RedatumingError",
    "Row",
    "Sizes",
    "calibration",
    "checkerboard",
    "coherent_agreement",
    "compare",
    "compress_codes",
    "decompress_codes",
    "detection",
    "dice",
    "disentanglement",
    "disentanglement_spread",
    "downstream",
    "energy_distance",
    "error_over_instances",
    "exposures_limit",
    "informative_latents",
    "intersection_over_union",
    "leakage",
    "linear_mean_swap",
    "mean_iou",
    "mutual_information",
    "nuisance_dependence",
    "probe",
    "probe_labels",
    "rate_distortion",
    "reconstruction_error",
    "redatuming_error",
    "relative_error",
    "rotations",
    "shifts",
    "snr_gain",
    "virtual_under",
]
