"""Keras layers for groups of instances; backend-agnostic (`keras.ops` only)."""

# Keras first: its import runs the registration hook of the package, which imports the
# modules below by their full names while this one is still empty.
import keras  # noqa: F401  isort: skip

from symae_keras.layers.attention_pooling import AttentionPooling
from symae_keras.layers.bed_of_nails import BedOfNails
from symae_keras.layers.block_corruption import BlockCorruption
from symae_keras.layers.conv1d_decoder import Conv1DDecoder
from symae_keras.layers.conv1d_encoder import Conv1DEncoder
from symae_keras.layers.conv2d_decoder import Conv2DDecoder
from symae_keras.layers.conv2d_encoder import Conv2DEncoder
from symae_keras.layers.deep_sets_pooling import DeepSetsPooling
from symae_keras.layers.dense_decoder import DenseDecoder
from symae_keras.layers.dense_encoder import DenseEncoder
from symae_keras.layers.gaussian_corruption import GaussianCorruption
from symae_keras.layers.gaussian_pooling import GaussianPooling
from symae_keras.layers.gaussian_sampling import GaussianSampling
from symae_keras.layers.gradient_reversal import GradientReversal
from symae_keras.layers.jacobian_penalty import JacobianPenalty
from symae_keras.layers.kl_sparsity import KLSparsity
from symae_keras.layers.l1_sparsity import L1Sparsity
from symae_keras.layers.loss_term import LossTerm
from symae_keras.layers.masking_corruption import MaskingCorruption
from symae_keras.layers.max_pooling_with_indices1d import MaxPoolingWithIndices1D
from symae_keras.layers.max_pooling_with_indices2d import MaxPoolingWithIndices2D
from symae_keras.layers.max_unpooling1d import MaxUnpooling1D
from symae_keras.layers.max_unpooling2d import MaxUnpooling2D
from symae_keras.layers.median_normalization import MedianNormalization
from symae_keras.layers.mmd_penalty import MMDPenalty
from symae_keras.layers.nuisance_dropout import NuisanceDropout
from symae_keras.layers.per_instance import PerInstance
from symae_keras.layers.prior_adversary import PriorAdversary
from symae_keras.layers.random_scale import RandomScale
from symae_keras.layers.random_shift import RandomShift
from symae_keras.layers.reconstruction_penalty import ReconstructionPenalty
from symae_keras.layers.salt_and_pepper import SaltAndPepper
from symae_keras.layers.standardization import Standardization
from symae_keras.layers.sub_pixel import SubPixel
from symae_keras.layers.tied_dense import TiedDense
from symae_keras.layers.top_k import TopK
from symae_keras.layers.transposed_conv1d import TransposedConv1D
from symae_keras.layers.transposed_conv2d import TransposedConv2D
from symae_keras.layers.vector_quantizer import VectorQuantizer
from symae_keras.layers.weight_penalty import WeightPenalty

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
    "GaussianCorruption",
    "GaussianPooling",
    "GaussianSampling",
    "GradientReversal",
    "JacobianPenalty",
    "KLSparsity",
    "L1Sparsity",
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
    "SaltAndPepper",
    "Standardization",
    "SubPixel",
    "TiedDense",
    "TopK",
    "TransposedConv1D",
    "TransposedConv2D",
    "VectorQuantizer",
    "WeightPenalty",
]
