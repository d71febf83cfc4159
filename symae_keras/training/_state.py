"""State that a training step changes: reading, copying and restoring it."""

from __future__ import annotations

from typing import Any

import numpy as np
from keras import backend


def sync_state(model: Any) -> None:
    """Make the variables of a model those of the last training step.

    On JAX, `fit` holds the variables itself; syncing hands them to us and makes it read
    them again before the next step.
    """
    if hasattr(model, "jax_state_sync"):
        model.jax_state_sync()


class Snapshot:
    """Copies, in memory, of the variables of a model and of its optimiser.

    Attributes:
        finite: Whether all of what is trained, and the optimiser, is finite.
    """

    def __init__(self, model: Any) -> None:
        sync_state(model)
        trained = [*model.trainable_variables, *model.optimizer.variables]
        variables = [*trained, *model.non_trainable_variables]
        self._copies = [(each, each.numpy()) for each in variables]
        self.finite = all(
            np.isfinite(copy).all()
            for each, copy in self._copies[: len(trained)]
            if backend.is_float_dtype(each.dtype)
        )

    def restore(self, model: Any) -> None:
        """Put the copies back."""
        sync_state(model)
        for variable, copy in self._copies:
            variable.assign(copy)
