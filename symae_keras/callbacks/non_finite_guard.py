"""A stop to training where a loss is no longer a number."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from typing import Any, NoReturn

import keras

from symae_keras.callbacks.diagnosis import bad_data, bad_layer
from symae_keras.callbacks.state import Snapshot
from symae_keras.errors import NonFiniteError


class NonFiniteGuard(keras.callbacks.Callback):
    """Stops training at NaN or infinity, tells why, and leaves the last good model.

    After each training step it looks at the logged losses, and now and then at the
    weights and the optimiser. Where one is not finite, it puts back the last good state
    of both, which it keeps in memory, and raises a `NonFiniteError` that names the loss
    term and, as far as `batch_at` lets it find out, the first thing that went wrong:
    the place in the data, or the first layer whose output is not finite when the last
    good model is applied to the batch, or neither, so that the gradients did.

    `symae_keras.training.train` always uses one. It comes first in the list, before
    callbacks that save the model.

    Args:
        backup_every: Training steps between two good states; each epoch begins with one
            too. Defaults to 50.
        batch_at: Function of the numbers of an epoch and of a step in it, both from 0,
            that returns the batch that `fit` trained on, `(inputs, targets)` or
            `(inputs, targets, weights)`; it is only asked for the epoch in progress.
            Data sets made by `symae_keras.data.batches` have it as
            `dataset.batch_at(step)`. Defaults to `None`, which finds out less.

    Example:
    >>> import keras
    >>> import numpy as np
    >>> from symae_keras.errors import NonFiniteError
    >>> x = np.ones((8, 3), "float32")
    >>> x[5, 1] = np.nan
    >>> model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    >>> model.compile("sgd", "mse")
    >>> guard = NonFiniteGuard(batch_at=lambda epoch, step: (x, x[:, :1]))
    >>> try:
    ...     model.fit(x, x[:, :1], batch_size=8, verbose=0, callbacks=[guard])
    ... except NonFiniteError as error:
    ...     print(str(error).partition(";")[0])
    loss became nan in epoch 1, step 1: inputs[5, 1] is nan, in row 5 of the batch
    >>> bool(np.isfinite(model.predict(np.ones((1, 3)), verbose=0)).all())
    True
    """

    def __init__(
        self,
        backup_every: int = 50,
        batch_at: Callable[[int, int], tuple[Any, ...]] | None = None,
    ) -> None:
        super().__init__()
        if backup_every < 1:
            raise ValueError(
                "Invalid value received for argument `backup_every`. Expected a "
                f"positive integer. Received: backup_every={backup_every}"
            )
        self.backup_every = backup_every
        self.batch_at = batch_at
        self._good: Snapshot | None = None
        self._epoch = self._first = self._last = self._since = 0

    def on_train_begin(self, logs: Any = None) -> None:
        """Make the variables of the optimiser, so that they can be put back."""
        self._good = None
        optimizer, variables = self.model.optimizer, self.model.trainable_variables
        if not optimizer.built and variables:
            strategy = getattr(self.model, "distribute_strategy", None)
            with strategy.scope() if strategy else contextlib.nullcontext():
                optimizer.build(variables)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Keep the state that the first epoch begins with, restored ones included."""
        self._epoch, self._last = epoch, -1
        if self._good is None:
            self._keep()

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Note where a step begins, or several that are executed at once."""
        self._first = batch

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Look at the losses; now and then keep the state."""
        self._last = batch
        losses = {k: v for k, v in (logs or {}).items() if k.endswith("loss")}
        bad = {name: v for name, v in losses.items() if not math.isfinite(v)}
        if bad:
            terms = [name for name in bad if name != "loss"] or ["loss"]
            # What the other terms leave of the loss, hence bad where they are.
            rest = getattr(self.model, "compiled_loss_name", None)
            if len(terms) > 1 and rest in terms:
                terms.remove(rest)
            self._stop(f"{' and '.join(terms)} became {bad[terms[0]]}")
        self._since += batch - self._first + 1
        if self._since >= self.backup_every:
            self._keep()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Keep the state that the next epoch begins with."""
        self._keep()

    def _keep(self) -> None:
        snapshot = Snapshot(self.model)
        # A loss tells of the weights that a step began with, not of those it left.
        if not snapshot.finite:
            self._stop("the weights or the optimiser became nan or inf")
        self._good, self._since = snapshot, 0

    def _stop(self, what: str) -> NoReturn:
        steps = range(self._first, self._last + 1)
        cause, advice = self._cause(steps)
        self.model.stop_training = True
        if self._good is not None:
            self._good.restore(self.model)
            advice += "; the model is again as it last was good"
        if self._last < 0:
            place = f"before epoch {self._epoch + 1}"
        elif len(steps) == 1:
            place = f"in epoch {self._epoch + 1}, step {self._last + 1}"
        else:
            first, last = self._first + 1, self._last + 1
            place = f"in epoch {self._epoch + 1}, steps {first} to {last}"
        raise NonFiniteError(f"{what} {place}: {cause}; {advice}.")

    def _cause(self, steps: range) -> tuple[str, str]:
        """What went wrong first, and what to do about it."""
        milder = "lower the learning rate or clip gradients with clip_norm"
        if self.batch_at is None or self._good is None or self._last < 0:
            return (
                "the cause is unknown without the batch",
                f"look for such values in the data, {milder}",
            )
        # Whatever fails in here must not hide that training has failed.
        with contextlib.suppress(Exception):
            batches = [self.batch_at(self._epoch, step) for step in steps]
            for batch in batches:
                found = bad_data(self.model, batch)
                if found:
                    return found, "mend or mask the data"
            for batch in batches:
                self._good.restore(self.model)
                found = bad_layer(self.model, batch)
                if found:
                    return found, f"normalise the data, {milder}"
        return (
            "the batch is finite, and so are the outputs of the last good model on it, "
            "so the gradients have overflowed since",
            milder,
        )
