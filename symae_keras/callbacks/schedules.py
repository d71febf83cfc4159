"""Schedules of strengths."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras

from symae_keras.layers.noise import GaussianSampling, NuisanceDropout
from symae_keras.training.checkpoint import sync_state


class Schedule(keras.callbacks.Callback):
    """Sets one variable of every layer of one kind before each training step."""

    layer_class: type[keras.Layer]
    setter: str

    def __init__(self, schedule: Callable[[int], Any]) -> None:
        super().__init__()
        self.schedule = schedule
        self._layers: list[keras.Layer] = []

    def on_train_begin(self, logs: Any = None) -> None:
        """Find the layers to steer."""
        layers = self.model._flatten_layers()
        self._layers = [each for each in layers if isinstance(each, self.layer_class)]
        if not self._layers:
            raise ValueError(
                f"`{type(self).__name__}` found no `{self.layer_class.__name__}` in "
                f"the model {self.model.name!r}."
            )

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Set the value for the step about to be taken."""
        sync_state(self.model)
        # The optimiser's counter is saved with it, so a resumed run goes on in step.
        step = int(keras.ops.convert_to_numpy(self.model.optimizer.iterations))
        value = float(self.schedule(step))
        for layer in self._layers:
            getattr(layer, self.setter)(value)


class KLSchedule(Schedule):
    """Anneals the weight of the divergence of every `GaussianSampling` of a model.

    Args:
        schedule: Function from the number of training steps taken to the weight. Any
            `keras.optimizers.schedules.LearningRateSchedule` is one.

    Example:
    >>> callback = KLSchedule(lambda step: 1e-3 * min(1.0, step / 1000))
    """

    layer_class = GaussianSampling
    setter = "set_kl_weight"


class NoiseSchedule(Schedule):
    """Anneals the strength of every `NuisanceDropout` of a model.

    Args:
        schedule: Function from the number of training steps taken to the strength. Any
            `keras.optimizers.schedules.LearningRateSchedule` is one.

    Example:
    >>> import keras
    >>> decay = keras.optimizers.schedules.CosineDecay(0.5, 4000, alpha=0.2)
    >>> callback = NoiseSchedule(decay)  # 0.5 at first, 0.1 from step 4000 on
    """

    layer_class = NuisanceDropout
    setter = "set_strength"
