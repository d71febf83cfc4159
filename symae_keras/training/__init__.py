"""Training for the command line, the demo and the benchmarks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from symae_keras.training.checkpoint import Checkpoint
from symae_keras.training.fit import (
    EPOCHS,
    MIN_UPDATES,
    Budget,
    Recipe,
    Training,
    data_variance,
    normalization,
    train,
)

if TYPE_CHECKING:
    from symae_keras.evaluation.search_space import SymAESettings
    from symae_keras.evaluation.study import Trial
    from symae_keras.evaluation.tuning import Tuning, tune

__all__ = [
    "EPOCHS",
    "MIN_UPDATES",
    "Budget",
    "Checkpoint",
    "Recipe",
    "SymAESettings",
    "Training",
    "Trial",
    "Tuning",
    "data_variance",
    "normalization",
    "train",
    "tune",
]


def __getattr__(name: str) -> Any:
    # `tune` needs the estimates of `evaluation`, which itself needs this package.
    if name in ("SymAESettings", "Trial", "Tuning", "tune"):
        from symae_keras.evaluation import tuning

        return getattr(tuning, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
