"""The weights of the best epoch."""

from __future__ import annotations

import math
from typing import Any, Final

import keras
import numpy as np

from symae_keras.training.checkpoint import sync_state
from symae_keras.training.schedules import steps_taken

_EPOCH: Final = "best_epoch"
_LOSS: Final = "best_loss"
_WEIGHT: Final = "best_weight_"


class BestWeights(keras.callbacks.Callback):
    """Gives the model the weights of the epoch with the least validation loss.

    Small data are overfitted at the end of a training. Unlike
    `keras.callbacks.EarlyStopping`, it does not stop: the learning rate has to fall to
    its end. A `Checkpoint` saves its state.

    Args:
        after: Training steps after which it begins to compare epochs. Before, losses
            that are annealed mean something else.

    Attributes:
        epoch: The best epoch, counted from 0; `None` before there is one.
    """

    def __init__(self, after: int = 0) -> None:
        super().__init__()
        self.after = after
        self.epoch: int | None = None
        self._loss = math.inf
        self._weights: list[Any] = []

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Copy the weights if the validation loss is the least so far."""
        loss = (logs or {}).get("val_loss", math.inf)
        if not loss < self._loss:
            return
        if steps_taken(self.model) > self.after:
            self.epoch, self._loss = epoch, float(loss)
            self._weights = self.model.get_weights()

    def on_train_end(self, logs: Any = None) -> None:
        """Put the best weights back."""
        if self._weights:
            sync_state(self.model)
            self.model.set_weights(self._weights)

    def state(self) -> dict[str, Any]:
        """Return arrays to save, by name; none before the first epoch to compare."""
        if self.epoch is None:
            return {}
        weights = {f"{_WEIGHT}{n:06d}": w for n, w in enumerate(self._weights)}
        numbers = {_EPOCH: np.array(self.epoch), _LOSS: np.array(self._loss)}
        return {**numbers, **weights}

    def restore(self, state: dict[str, Any], model: Any) -> None:
        """Take over arrays from `state`.

        Raises:
            KeyError: An array is missing.
            ValueError: A weight has another shape than that of the model.
        """
        weights = [state[f"{_WEIGHT}{n:06d}"] for n in range(len(model.weights))]
        for weight, own in zip(weights, model.weights, strict=True):
            if weight.shape != tuple(own.shape):
                raise ValueError(f"{own.path} has the shape {own.shape}")
        self.epoch, self._loss = int(state[_EPOCH]), float(state[_LOSS])
        self._weights = weights
