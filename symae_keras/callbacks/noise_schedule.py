"""Annealing of the noise on nuisance codes."""

from __future__ import annotations

from symae_keras.callbacks.schedule import Schedule
from symae_keras.layers.nuisance_dropout import NuisanceDropout


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
