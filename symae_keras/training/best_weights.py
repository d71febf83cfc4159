"""Restoration of the weights of the best epoch."""

from __future__ import annotations

import math
from typing import Any, Final

import keras
import numpy as np

from symae_keras.training.checkpoint import sync_state
from symae_keras.training.schedules import steps_taken

#: The number of the best epoch if no epoch is better than the start of training.
AT_START: Final = -1
_EPOCH: Final = "best_epoch"
_LOSS: Final = "best_loss"
_WEIGHT: Final = "best_weight_"


class BestWeights(keras.callbacks.Callback):
    """Restoration of the weights of the epoch with the lowest validation loss.

    Small data sets are overfitted at the end of training. Unlike
    `keras.callbacks.EarlyStopping`, this callback does not stop training, because the
    learning rate has to reach its final value. A `Checkpoint` saves its state.

    Args:
        after: Number of training steps before epochs are compared. Losses of annealed
            weights before that are not comparable.

    Attributes:
        epoch: The best epoch, counted from 0; `AT_START` is the start of training.
            `None` before the first comparison.
    """

    def __init__(self, after: int = 0) -> None:
        super().__init__()
        self.after = after
        self.epoch: int | None = None
        self._loss = math.inf
        self._weights: list[Any] = []

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Copy the weights if the validation loss is the lowest so far."""
        if steps_taken(self.model) > self.after:
            self.compare(epoch, (logs or {}).get("val_loss", math.inf), self.model)

    def compare(self, epoch: int, loss: float, model: keras.Model) -> None:
        """Copy the weights of a model if its validation loss is the lowest so far."""
        if loss < self._loss:
            self.epoch, self._loss = epoch, float(loss)
            self._weights = model.get_weights()

    def on_train_end(self, logs: Any = None) -> None:
        """Restore the best weights."""
        if self._weights:
            sync_state(self.model)
            self.model.set_weights(self._weights)

    def state(self) -> dict[str, Any]:
        """Return arrays to save, by name; none before the first compared epoch."""
        if self.epoch is None:
            return {}
        weights = {f"{_WEIGHT}{n:06d}": w for n, w in enumerate(self._weights)}
        numbers = {_EPOCH: np.array(self.epoch), _LOSS: np.array(self._loss)}
        return {**numbers, **weights}

    def restore(self, state: dict[str, Any], model: Any) -> None:
        """Restore arrays that `state` returned.

        Raises:
            KeyError: An array is missing.
            ValueError: A weight has a different shape than in the model.
        """
        weights = [state[f"{_WEIGHT}{n:06d}"] for n in range(len(model.weights))]
        for weight, own in zip(weights, model.weights, strict=True):
            if weight.shape != tuple(own.shape):
                raise ValueError(f"{own.path} has the shape {own.shape}")
        self.epoch, self._loss = int(state[_EPOCH]), float(state[_LOSS])
        self._weights = weights
