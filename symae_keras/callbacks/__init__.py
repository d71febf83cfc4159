"""Callbacks for `fit`: schedules, a guard against NaN, logs, errors during training.

They can be combined with Keras callbacks. For TensorBoard, with all loss terms as
scalars (`pip install "symae_keras[tensorboard]"`):

    tensorboard = keras.callbacks.TensorBoard("logs")
    model.fit(dataset, epochs=32, callbacks=[monitor, tensorboard])

Put a `RedatumMonitor` first in the list, so that the others receive its values.
"""

from symae_keras.callbacks.json_lines import JSONLines
from symae_keras.callbacks.redatum_monitor import RedatumMonitor
from symae_keras.training.non_finite_guard import NonFiniteGuard
from symae_keras.training.schedules import KLSchedule, NoiseSchedule

__all__ = [
    "JSONLines",
    "KLSchedule",
    "NoiseSchedule",
    "NonFiniteGuard",
    "RedatumMonitor",
]


def __dir__() -> list[str]:
    return sorted(__all__)
