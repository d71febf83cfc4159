"""Measures of codes, reconstructions and virtual instances."""

from symae_keras._utils.arrays import in_batches
from symae_keras.evaluation.bands import Bands
from symae_keras.evaluation.columns import ColumnScore, probe_columns
from symae_keras.evaluation.compare import compare
from symae_keras.evaluation.comparison import Comparison, Row
from symae_keras.evaluation.compression import (
    RateDistortion,
    compress_codes,
    decompress_codes,
    rate_distortion,
)
from symae_keras.evaluation.confounding import confounded_metadata
from symae_keras.evaluation.contenders import CONTENDERS, Sizes
from symae_keras.evaluation.disentanglement import (
    Disentanglement,
    DisentanglementSpread,
    MutualInformation,
    disentanglement,
    disentanglement_spread,
    mutual_information,
)
from symae_keras.evaluation.estimate import (
    EstimatedRedatumingError,
    estimate_redatuming_error,
)
from symae_keras.evaluation.leaderboard import Leaderboard, LeaderboardEntry
from symae_keras.evaluation.leakage import (
    Leakage,
    coherent_agreement,
    leakage,
    nuisance_dependence,
    probe,
    probe_labels,
)
from symae_keras.evaluation.likelihood import (
    NegativeLogLikelihood,
    negative_log_likelihood,
)
from symae_keras.evaluation.limit import RedatumingLimit, redatuming_limit
from symae_keras.evaluation.mixing import (
    ilisi,
    lisi,
    principal_component_regression,
)
from symae_keras.evaluation.new_data import NewData, NewDataCheck
from symae_keras.evaluation.redatuming import (
    ErrorOverInstances,
    RedatumingError,
    error_over_instances,
    exposures_limit,
    linear_mean_swap,
    reconstruction_error,
    redatuming_error,
    relative_error,
    rotations,
    shifts,
)
from symae_keras.evaluation.replicates import Repeatability, repeatability
from symae_keras.evaluation.segmentation import (
    checkerboard,
    dice,
    intersection_over_union,
    mean_iou,
)
from symae_keras.evaluation.sets import SETS, DataSet
from symae_keras.evaluation.traces import nrms, predictability
from symae_keras.evaluation.uncertainty import (
    Calibration,
    InformativeLatents,
    calibration,
    energy_distance,
    informative_latents,
)
from symae_keras.evaluation.uses import (
    AnomalyDetector,
    Detection,
    Downstream,
    detection,
    downstream,
    snr_gain,
    virtual_under,
)

__all__ = [
    "AnomalyDetector",
    "Bands",
    "CONTENDERS",
    "Calibration",
    "ColumnScore",
    "Comparison",
    "DataSet",
    "Detection",
    "Disentanglement",
    "DisentanglementSpread",
    "Downstream",
    "ErrorOverInstances",
    "EstimatedRedatumingError",
    "InformativeLatents",
    "Leaderboard",
    "LeaderboardEntry",
    "Leakage",
    "MutualInformation",
    "NegativeLogLikelihood",
    "NewData",
    "NewDataCheck",
    "RateDistortion",
    "RedatumingError",
    "RedatumingLimit",
    "Repeatability",
    "Row",
    "SETS",
    "Sizes",
    "calibration",
    "checkerboard",
    "coherent_agreement",
    "compare",
    "compress_codes",
    "decompress_codes",
    "confounded_metadata",
    "detection",
    "dice",
    "disentanglement",
    "disentanglement_spread",
    "downstream",
    "energy_distance",
    "in_batches",
    "error_over_instances",
    "estimate_redatuming_error",
    "exposures_limit",
    "ilisi",
    "informative_latents",
    "intersection_over_union",
    "leakage",
    "linear_mean_swap",
    "lisi",
    "mean_iou",
    "mutual_information",
    "negative_log_likelihood",
    "nrms",
    "nuisance_dependence",
    "predictability",
    "principal_component_regression",
    "probe",
    "probe_columns",
    "probe_labels",
    "rate_distortion",
    "reconstruction_error",
    "redatuming_error",
    "redatuming_limit",
    "relative_error",
    "repeatability",
    "rotations",
    "shifts",
    "snr_gain",
    "virtual_under",
]


def __dir__() -> list[str]:
    return sorted(__all__)
