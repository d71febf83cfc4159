"""Keras layers for groups of instances; backend-agnostic (`keras.ops` only)."""

# Keras first: its import runs the registration hook of the package, which imports the
# modules below by their full names while this one is still empty.
import keras  # noqa: F401  isort: skip

from symae_keras.layers.attention_pooling import AttentionPooling
from symae_keras.layers.conv1d_decoder import Conv1DDecoder
from symae_keras.layers.conv1d_encoder import Conv1DEncoder
from symae_keras.layers.conv2d_decoder import Conv2DDecoder
from symae_keras.layers.conv2d_encoder import Conv2DEncoder
from symae_keras.layers.deep_sets_pooling import DeepSetsPooling
from symae_keras.layers.dense_decoder import DenseDecoder
from symae_keras.layers.dense_encoder import DenseEncoder
from symae_keras.layers.gaussian_sampling import GaussianSampling
from symae_keras.layers.nuisance_dropout import NuisanceDropout
from symae_keras.layers.per_instance import PerInstance

__all__ = [
    "AttentionPooling",
    "Conv1DDecoder",
    "Conv1DEncoder",
    "Conv2DDecoder",
    "Conv2DEncoder",
    "DeepSetsPooling",
    "DenseDecoder",
    "DenseEncoder",
    "GaussianSampling",
    "NuisanceDropout",
    "PerInstance",
]
