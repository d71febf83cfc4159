"""Keras layers for groups of instances; backend-agnostic (`keras.ops` only).

Calls take two kinds of boolean mask tensors; True means present or good:

- `mask` marks the instances that are present. It has shape `(batch, instances)` for
  layers that pool groups, and the leading axes of the input for layers that add a
  loss. As usual in Keras, a layer uses the mask that the input carries if the call
  gets none.
- `pixel_mask` marks the good values of an instance. It has the shape of the input or
  one that broadcasts to it.

Arguments that count things are called `num_...`, as in Keras.
"""

# Keras first: its import runs the registration hook of the package. The hook imports
# the modules below by their full names while this module is still empty.
import keras  # noqa: F401  isort: skip

from symae_keras.layers.augmentation import RandomScale, RandomShift
from symae_keras.layers.corruption import (
    BlockCorruption,
    GaussianCorruption,
    MaskingCorruption,
    SaltAndPepper,
)
from symae_keras.layers.decoders import (
    Conv1DDecoder,
    Conv2DDecoder,
    DenseDecoder,
    TiedDense,
)
from symae_keras.layers.encoders import Conv1DEncoder, Conv2DEncoder, DenseEncoder
from symae_keras.layers.fourier_shift import FourierShift
from symae_keras.layers.linear_backbone import LinearBackbone
from symae_keras.layers.noise import GaussianSampling, NuisanceDropout
from symae_keras.layers.normalization import MedianNormalization, Standardization
from symae_keras.layers.penalties import (
    JacobianPenalty,
    LossTerm,
    ReconstructionPenalty,
    WeightPenalty,
)
from symae_keras.layers.per_instance import PerInstance
from symae_keras.layers.pooling import (
    AttentionPooling,
    DeepSetsPooling,
    GaussianPooling,
)
from symae_keras.layers.priors import GradientReversal, MMDPenalty, PriorAdversary
from symae_keras.layers.rytov_kernel import RytovKernel
from symae_keras.layers.shift_estimator import ShiftEstimator
from symae_keras.layers.sparsity import KLSparsity, L1Sparsity, TopK
from symae_keras.layers.unpooling import (
    MaxPoolingWithIndices1D,
    MaxPoolingWithIndices2D,
    MaxUnpooling1D,
    MaxUnpooling2D,
)
from symae_keras.layers.upsampling import (
    BedOfNails,
    SubPixel,
    TransposedConv1D,
    TransposedConv2D,
)
from symae_keras.layers.vector_quantizer import VectorQuantizer

__all__ = [
    "AttentionPooling",
    "BedOfNails",
    "BlockCorruption",
    "Conv1DDecoder",
    "Conv1DEncoder",
    "Conv2DDecoder",
    "Conv2DEncoder",
    "DeepSetsPooling",
    "DenseDecoder",
    "DenseEncoder",
    "FourierShift",
    "GaussianCorruption",
    "GaussianPooling",
    "GaussianSampling",
    "GradientReversal",
    "JacobianPenalty",
    "KLSparsity",
    "L1Sparsity",
    "LinearBackbone",
    "LossTerm",
    "MMDPenalty",
    "MaskingCorruption",
    "MaxPoolingWithIndices1D",
    "MaxPoolingWithIndices2D",
    "MaxUnpooling1D",
    "MaxUnpooling2D",
    "MedianNormalization",
    "NuisanceDropout",
    "PerInstance",
    "PriorAdversary",
    "RandomScale",
    "RandomShift",
    "ReconstructionPenalty",
    "RytovKernel",
    "SaltAndPepper",
    "ShiftEstimator",
    "Standardization",
    "SubPixel",
    "TiedDense",
    "TopK",
    "TransposedConv1D",
    "TransposedConv2D",
    "VectorQuantizer",
    "WeightPenalty",
]


def __dir__() -> list[str]:
    return sorted(__all__)
