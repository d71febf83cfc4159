"""Annealing of the weight of divergences."""

from __future__ import annotations

from symae_keras.callbacks.schedule import Schedule
from symae_keras.layers.gaussian_sampling import GaussianSampling


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
