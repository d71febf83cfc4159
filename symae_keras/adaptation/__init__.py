"""Adaptation of spectra of a new instrument to the instrument of a model."""

from symae_keras.adaptation._adapt import adapt
from symae_keras.adaptation.result import Adaptation

__all__ = ["Adaptation", "adapt"]


def __dir__() -> list[str]:
    return sorted(__all__)
