"""Classical references with the interface of grouped models, as far as it applies.

Inputs and outputs are NumPy arrays. The references use only NumPy, SciPy and
scikit-learn.
"""

from symae_keras.classical.combat import ComBat
from symae_keras.classical.direct_standardization import DirectStandardization
from symae_keras.classical.extended_scatter_correction import ExtendedScatterCorrection
from symae_keras.classical.external_parameter_orthogonalization import (
    ExternalParameterOrthogonalization,
)
from symae_keras.classical.generalized_least_squares_weighting import (
    GeneralizedLeastSquaresWeighting,
)
from symae_keras.classical.grouped_pca import GroupedPCA
from symae_keras.classical.linear_mixed_model import LinearMixedModel
from symae_keras.classical.mean_shift import MeanShift
from symae_keras.classical.mean_swap import MeanSwap
from symae_keras.classical.msc import MSC
from symae_keras.classical.optimal_estimation import OptimalEstimation
from symae_keras.classical.phase_weighted_stack import PhaseWeightedStack
from symae_keras.classical.piecewise_direct_standardization import (
    PiecewiseDirectStandardization,
)
from symae_keras.classical.slope_bias import SlopeBias
from symae_keras.classical.snv import SNV
from symae_keras.classical.spectral_space_transformation import (
    SpectralSpaceTransformation,
)

__all__ = [
    "MSC",
    "SNV",
    "ComBat",
    "DirectStandardization",
    "ExtendedScatterCorrection",
    "ExternalParameterOrthogonalization",
    "GeneralizedLeastSquaresWeighting",
    "GroupedPCA",
    "LinearMixedModel",
    "MeanShift",
    "MeanSwap",
    "OptimalEstimation",
    "PhaseWeightedStack",
    "PiecewiseDirectStandardization",
    "SlopeBias",
    "SpectralSpaceTransformation",
]


def __dir__() -> list[str]:
    return sorted(__all__)
