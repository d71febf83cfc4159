"""Grouped autoencoders for repeated measurements affected by nuisances.

Importing the package loads neither Keras nor a backend: the public modules are
imported when they are first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import wrapt

from symae_keras._utils import moved

if TYPE_CHECKING:
    from symae_keras import adaptation as adaptation
    from symae_keras import callbacks as callbacks
    from symae_keras import classical as classical
    from symae_keras import data as data
    from symae_keras import distribute as distribute
    from symae_keras import evaluation as evaluation
    from symae_keras import export as export
    from symae_keras import layers as layers
    from symae_keras import losses as losses
    from symae_keras import metrics as metrics
    from symae_keras import models as models
    from symae_keras import plotting as plotting
    from symae_keras import sklearn as sklearn
    from symae_keras import training as training
    from symae_keras import zoo as zoo
    from symae_keras.adaptation import adapt as adapt

__version__ = "0.2.0"

_MODULES = (
    "adaptation",
    "callbacks",
    "classical",
    "data",
    "distribute",
    "evaluation",
    "export",
    "layers",
    "losses",
    "metrics",
    "models",
    "plotting",
    "sklearn",
    "training",
    "zoo",
)

moved.install()

__all__ = ["__version__", "adapt", *_MODULES]


def __getattr__(name: str) -> Any:
    if name == "adapt":
        return importlib.import_module(f"{__name__}.adaptation").adapt
    if name in _MODULES:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)


# `keras.saving.load_model` finds only classes whose decorators have run. Importing
# Keras here would make `symae --help` slow, so registration waits for Keras. The losses
# are registered first and completely, because metrics and models import them.
@wrapt.when_imported(f"{__name__}.losses")
def _register(_: Any) -> None:
    """Register the classes with Keras, in either import order of the two packages."""
    for name in ("layers", "metrics", "models"):
        importlib.import_module(f"{__name__}.{name}")


@wrapt.when_imported("keras")
def _register_losses(_: Any) -> None:
    importlib.import_module(f"{__name__}.losses")
