"""One way of training, for the command line, the demo and the benchmarks."""

from symae_keras.training.checkpoint import Checkpoint
from symae_keras.training.fit import (
    EPOCHS,
    MIN_UPDATES,
    Budget,
    Recipe,
    Training,
    data_variance,
    enough_epochs,
    normalization,
    steps_per_epoch,
    train,
)

__all__ = [
    "EPOCHS",
    "MIN_UPDATES",
    "Budget",
    "Checkpoint",
    "Recipe",
    "Training",
    "data_variance",
    "enough_epochs",
    "normalization",
    "steps_per_epoch",
    "train",
]


def __dir__() -> list[str]:
    return sorted(__all__)
