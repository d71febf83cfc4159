"""Autoencoders on groups of instances; compositions of `symae_keras.layers`."""

# Keras first: its import runs the registration hook of the package.
import keras  # noqa: F401  isort: skip

from symae_keras.models.symae import Codes, SymAE

__all__ = ["Codes", "SymAE"]
