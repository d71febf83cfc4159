"""Errors of virtual instances in the logs of an epoch."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Any, Final

import keras

from symae_keras._utils.arrays import swaps_codes
from symae_keras._utils.validation import positive
from symae_keras.data.groups import GroupedData
from symae_keras.errors import InputError
from symae_keras.evaluation.estimate import estimate_redatuming_error
from symae_keras.evaluation.leakage import check_enough_groups, leakage, mean_score
from symae_keras.evaluation.redatuming import reconstruction_error, redatuming_error
from symae_keras.plotting.redatuming import plot_model_redatuming
from symae_keras.training.checkpoint import sync_state

#: Fewer than by default, to be fast in every epoch; the seed selects the same ones.
_DONORS: Final = 2


class RedatumMonitor(keras.callbacks.Callback):
    """Logging of the redatuming error, and optionally of leakage, during training.

    A low reconstruction loss does not show whether the codes are disentangled. For
    simulated groups, whose ground truth is known, this callback measures
    `val_redatuming_error`. With `leakage`, it also measures the means over all
    parameters of `val_leakage_state` (the state predicted from a nuisance code) and
    `val_leakage_nuisance` (the nuisance predicted from the coherent code), both at
    least 0. For measured groups, it logs `val_reconstruction_error`. If two or more
    groups have several instances, it also logs `val_estimated_redatuming_error`, an
    estimate of the redatuming error that needs no ground truth.

    Put it first in the list of callbacks, so that `EarlyStopping`, `ModelCheckpoint`
    and log files receive its values. `EarlyStopping` and `ModelCheckpoint` need
    `mode="min"`. Between two measurements, the last values are repeated. The first and
    the last epoch are always measured.

    Args:
        groups: Evaluation groups, `GroupedData` that are not used for training.
        every: Epochs between two measurements. Defaults to 1.
        leakage: Whether to probe the codes. This takes some seconds and requires
            scikit-learn and groups of known state. Defaults to False.
        figures: Folder for a redatuming figure per measurement, such as
            `epoch-0010.png` after ten epochs, or `None` (default).

    Example:
    >>> from symae_keras.data import simulate_exposures
    >>> from symae_keras.models import SymAE
    >>> groups = simulate_exposures(n_states=8, n_instances=2, seed=0)
    >>> model = SymAE(groups.instance_shape, seed=0)
    >>> model.compile("adam", "mse")
    >>> monitor = RedatumMonitor(groups)
    >>> stop = keras.callbacks.EarlyStopping(
    ...     "val_redatuming_error", mode="min", patience=3
    ... )
    >>> x = groups.x
    >>> history = model.fit(x, x, verbose=0, callbacks=[monitor, stop])
    >>> sorted(history.history)
    ['loss', 'val_redatuming_error']
    """

    def __init__(
        self,
        groups: GroupedData,
        every: int = 1,
        leakage: bool = False,
        figures: str | PathLike[str] | None = None,
    ) -> None:
        super().__init__()
        self._simulated = groups.render is not None
        if (self._simulated or figures is not None) and len(groups) < 2:
            raise InputError(
                f"Redatuming needs at least two groups to swap; received {len(groups)}."
            )
        if leakage and not groups.state:
            raise InputError(
                "Leakage is measured with true parameters of the state, but these "
                "groups have none: give them a state or leave out leakage."
            )
        if leakage:
            check_enough_groups(groups)
        self.groups = groups
        self.every = positive("every", every)
        self.leakage = leakage
        self.figures = None if figures is None else Path(figures)
        self._values: dict[str, float] = {}

    def on_train_begin(self, logs: Any = None) -> None:
        """Reset the results of an earlier training run."""
        self._values = {}

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Add the values to the logs."""
        done = epoch + 1
        last = done == (self.params or {}).get("epochs")
        if not self._values or last or done % self.every == 0:
            sync_state(self.model)
            self._values = self._measure()
            if self.figures is not None:
                self.figures.mkdir(parents=True, exist_ok=True)
                figure = plot_model_redatuming(self.model, self.groups)
                figure.savefig(self.figures / f"epoch-{done:04d}.png", dpi=150)
        if logs is not None:
            logs.update(self._values)

    def _measure(self) -> dict[str, float]:
        values: dict[str, float | None] = {}
        if self._simulated:
            virtual = redatuming_error(self.model, self.groups)
            values["val_redatuming_error"] = float(virtual)
        else:
            error = reconstruction_error(self.model, self.groups)
            values["val_reconstruction_error"] = error
            if swaps_codes(self.model) and (self.groups.counts > 1).sum() > 1:
                estimate = estimate_redatuming_error(self.model, self.groups, _DONORS)
                values["val_estimated_redatuming_error"] = float(estimate)
        if self.leakage:
            scores = leakage(self.model, self.groups)
            values["val_leakage_state"] = mean_score(scores.state_from_nuisance)
            values["val_leakage_nuisance"] = mean_score(scores.nuisance_from_coherent)
        return {name: value for name, value in values.items() if value is not None}
