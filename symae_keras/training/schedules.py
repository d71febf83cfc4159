"""Schedules of noise strengths and divergence weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import keras

from symae_keras.layers.noise import GaussianSampling, NuisanceDropout
from symae_keras.training.checkpoint import sync_state

#: Initial weight of `KLAnnealing`. The losses of `train` are relative to the variance
#: of the data. With this weight, an element of a nuisance code reduces the loss only if
#: it explains more than about 5 % of the variance.
_FIRST_KL_WEIGHT: Final = 0.1


def steps_taken(model: Any) -> int:
    """Return the number of training steps of a model so far, in `fit` on any backend.

    The optimizer's counter is saved with the model, so a resumed run continues it.
    """
    sync_state(model)
    return int(keras.ops.convert_to_numpy(model.optimizer.iterations))


class Schedule(keras.callbacks.Callback):
    """Schedule of one variable of every layer of one kind, per training step."""

    layer_class: type[keras.Layer]
    setter: str

    def __init__(self, schedule: Callable[[int], Any]) -> None:
        super().__init__()
        self.schedule = schedule
        self._layers: list[keras.Layer] = []

    def on_train_begin(self, logs: Any = None) -> None:
        """Find the layers whose variable is scheduled."""
        layers = self.model._flatten_layers()
        self._layers = [each for each in layers if isinstance(each, self.layer_class)]
        if not self._layers:
            raise ValueError(
                f"`{type(self).__name__}` found no `{self.layer_class.__name__}` in "
                f"the model {self.model.name!r}."
            )

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Set the value for the next step."""
        value = float(self.schedule(steps_taken(self.model)))
        for layer in self._layers:
            getattr(layer, self.setter)(value)


class KLSchedule(Schedule):
    """Schedule for the divergence weight of every `GaussianSampling` of a model.

    Args:
        schedule: Function of the number of completed training steps that returns the
            weight, for example a `keras.optimizers.schedules.LearningRateSchedule`.

    Example:
    >>> callback = KLSchedule(lambda step: 1e-3 * min(1.0, step / 1000))
    """

    layer_class = GaussianSampling
    setter = "set_kl_weight"


class NoiseSchedule(Schedule):
    """Schedule for the strength of every `NuisanceDropout` of a model.

    Args:
        schedule: Function of the number of completed training steps that returns the
            strength, for example a `keras.optimizers.schedules.LearningRateSchedule`.

    Example:
    >>> import keras
    >>> decay = keras.optimizers.schedules.CosineDecay(0.5, 4000, alpha=0.2)
    >>> callback = NoiseSchedule(decay)  # 0.5 at first, 0.1 from step 4000 on
    """

    layer_class = NuisanceDropout
    setter = "set_strength"


class KLAnnealing(keras.callbacks.Callback):
    """Annealing of the nuisance codes' divergence weight from 0.1 to the model's.

    Nuisance codes are expensive at first, so the state is encoded in the group code,
    whose divergence has its final weight from the start. Without annealing, some seeds
    end in a minimum in which the nuisance codes contain the state. The reconstruction
    error does not show this (benchmarks/seeds.py). It also happens if the weights of
    both divergences fall together.

    The logarithm of the weight falls linearly. A weight of 0, or of at least 0.1, does
    not change.

    Args:
        model: A model with a group code that is drawn by its `coherent_sampling`. Its
            current weights are the final ones.
        steps: Training steps until the weights are final.

    Attributes:
        steps: The same, or 0 if no weight is annealed.
    """

    def __init__(self, model: Any, steps: int) -> None:
        super().__init__()
        weights = {
            layer: float(keras.ops.convert_to_numpy(layer.kl_weight))
            for layer in model._flatten_layers()
            if isinstance(layer, GaussianSampling)
            and layer is not model.coherent_sampling
        }
        self._final = {
            layer: weight
            for layer, weight in weights.items()
            if 0.0 < weight < _FIRST_KL_WEIGHT
        }
        self.steps = steps if self._final else 0
        self._done = not self._final

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Set the weights for the next step, until they are final."""
        if self._done:
            return
        step = steps_taken(self.model)
        if step >= self.steps:
            self.finish()
            return
        left = 1.0 - step / self.steps
        for layer, weight in self._final.items():
            layer.set_kl_weight(weight * (_FIRST_KL_WEIGHT / weight) ** left)

    def on_train_end(self, logs: Any = None) -> None:
        """Set the final weights, also if training was stopped early."""
        self.finish()

    def finish(self) -> None:
        """Set the final weights."""
        if self.model is not None:
            sync_state(self.model)
        for layer, weight in self._final.items():
            layer.set_kl_weight(weight)
        self._done = True
