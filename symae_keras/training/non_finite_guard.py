"""Guard against NaN and infinity during training."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NoReturn

import keras
import numpy as np
from keras import ops

from symae_keras._utils.validation import positive
from symae_keras.errors import NonFiniteError
from symae_keras.layers.penalties import LossTerm
from symae_keras.models.base import AutoencoderBase
from symae_keras.models.groups import GroupedAutoencoder
from symae_keras.training.checkpoint import Snapshot


def bad_data(model: Any, batch: tuple[Any, ...]) -> str | None:
    """Describe the first unmasked non-finite value of a batch, if any."""
    inputs, targets, weights = keras.utils.unpack_x_y_sample_weight(batch)
    mask = None
    if isinstance(inputs, Mapping) and "instances" in inputs:
        mask, inputs = inputs.get("mask"), inputs["instances"]
    named = {"inputs": inputs, "targets": targets, "weights": weights}
    for name, structure in named.items():
        for part in keras.tree.flatten(structure):
            if part is None or np.asarray(part).dtype.kind != "f":
                continue
            array = np.asarray(part)
            bad = ~np.isfinite(array)
            if mask is not None and mask.shape == bad.shape[: mask.ndim]:
                bad &= mask.reshape(mask.shape + (1,) * (bad.ndim - mask.ndim))
            if bad.any():
                index = tuple(int(n) for n in np.argwhere(bad)[0])
                place = f"{name}[{', '.join(map(str, index))}]"
                return f"{place} is {array[index]}, in {_in_words(model, index)}"
    return None


def _in_words(model: Any, index: tuple[int, ...]) -> str:
    """Describe an index of a batch in words."""
    axes = ["row"]
    if isinstance(model, GroupedAutoencoder):
        axes = ["group", "instance"]
    elif isinstance(model, AutoencoderBase):
        axes = ["instance"]
    first, *rest = (f"{n} {i}" for n, i in zip(axes, index, strict=False))
    words = [f"{first} of the batch", *rest]
    pixel = index[len(axes) :]
    if pixel and isinstance(model, AutoencoderBase):
        words.append(f"pixel {pixel[0] if len(pixel) == 1 else pixel}")
    return ", ".join(words)


def bad_layer(model: Any, batch: tuple[Any, ...]) -> str | None:
    """Describe the first layer, in the order of calls, whose output is not finite.

    The model is applied to the batch in training mode, which may change its state, such
    as moving averages.
    """
    tensors = keras.tree.map_structure(ops.convert_to_tensor, tuple(batch))
    inputs, targets, weights = keras.utils.unpack_x_y_sample_weight(tensors)
    found: list[str] = []
    with _watched(model._flatten_layers(include_self=False), found.append):
        training = {"training": True} if model._call_has_training_arg else {}
        outputs = model(inputs, **training)
    if found:
        return found[0]
    if not _finite(outputs):
        return "the output of the model is the first that is not finite"
    loss = model.compute_loss(inputs, targets, outputs, weights)
    return None if _finite(loss) else "it is the loss of a finite reconstruction"


@contextlib.contextmanager
def _watched(
    layers: list[keras.Layer], report: Callable[[str], None]
) -> Iterator[None]:
    """Report each call of a layer with a non-finite output, inner layers first."""

    def watch(layer: keras.Layer) -> Callable[..., Any]:
        # Layers that do not need to be built have no path.
        name = f"the {type(layer).__name__} {layer.path or layer.name!r}"
        call = layer.call

        def watched(*args: Any, **kwargs: Any) -> Any:
            output = call(*args, **kwargs)
            if not _finite(output):
                report(f"{name} is the first layer whose output is not finite")
            elif isinstance(layer, LossTerm) and not _finite(layer._logged):
                report(f"{name} is the first layer whose loss is not finite")
            return output

        return watched

    # Bypasses Keras's `__setattr__`, which would track the state.
    for layer in layers:
        object.__setattr__(layer, "call", watch(layer))
    try:
        yield
    finally:
        for layer in layers:
            object.__delattr__(layer, "call")


def _finite(structure: Any) -> bool:
    return all(
        bool(ops.all(ops.isfinite(each)))
        for each in keras.tree.flatten(structure)
        if keras.backend.is_float_dtype(
            keras.backend.standardize_dtype(getattr(each, "dtype", "int32"))
        )
    )


class NonFiniteGuard(keras.callbacks.Callback):
    """Guard that stops training at NaN or infinity and restores the last finite state.

    After each training step, the guard checks the logged losses. From time to time it
    also checks the weights and the optimiser. If a value is not finite, it restores the
    last good state of both, which it keeps in memory, and raises a `NonFiniteError`.
    The error names the loss term. If `batch_at` is given, it also names the first
    cause: the position of a bad value in the data, or the first layer with a non-finite
    output when the last good model is applied to the batch. If there is neither, the
    gradients were not finite.

    `symae_keras.training.train` always uses this guard. Put it first in the list,
    before callbacks that save the model.

    Args:
        backup_every: Training steps between two good states. A good state is also kept
            at the start of each epoch. Defaults to 50.
        batch_at: Function of the index of an epoch and of a step in it, both from 0,
            that returns the training batch, `(inputs, targets)` or
            `(inputs, targets, weights)`. It is called only for the current epoch.
            Datasets made by `symae_keras.data.batches` provide it as
            `dataset.batch_at(step)`. With `None` (default), the cause is unknown.

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
        self.backup_every = positive("backup_every", backup_every)
        self.batch_at = batch_at
        self._good: Snapshot | None = None
        self._epoch = self._first = self._last = self._since = 0

    def on_train_begin(self, logs: Any = None) -> None:
        """Make the variables of the optimiser, so that they can be restored."""
        self._good = None
        optimizer, variables = self.model.optimizer, self.model.trainable_variables
        if not optimizer.built and variables:
            strategy = getattr(self.model, "distribute_strategy", None)
            with strategy.scope() if strategy else contextlib.nullcontext():
                optimizer.build(variables)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Keep the initial state of the first epoch, including restored states."""
        self._epoch, self._last = epoch, -1
        if self._good is None:
            self._keep()

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Store the index of the first of the steps that are executed together."""
        self._first = batch

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Check the losses, and keep the state from time to time."""
        self._last = batch
        losses = {k: v for k, v in (logs or {}).items() if k.endswith("loss")}
        bad = {name: v for name, v in losses.items() if not math.isfinite(v)}
        if bad:
            terms = [name for name in bad if name != "loss"] or ["loss"]
            # The rest of the loss; it is bad if any of the other terms is bad.
            rest = getattr(self.model, "compiled_loss_name", None)
            if len(terms) > 1 and rest in terms:
                terms.remove(rest)
            self._stop(f"{' and '.join(terms)} became {bad[terms[0]]}")
        self._since += batch - self._first + 1
        if self._since >= self.backup_every:
            self._keep()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Keep the initial state of the next epoch."""
        self._keep()

    def _keep(self) -> None:
        snapshot = Snapshot(self.model)
        # A loss depends on the weights before a step, not on those after it.
        if not snapshot.finite:
            self._stop("the weights or the optimiser became nan or inf")
        self._good, self._since = snapshot, 0

    def _stop(self, what: str) -> NoReturn:
        steps = range(self._first, self._last + 1)
        cause, advice = self._cause(steps)
        self.model.stop_training = True
        if self._good is not None:
            self._good.restore(self.model)
            advice += "; the last finite weights were restored"
        if self._last < 0:
            place = f"before epoch {self._epoch + 1}"
        elif len(steps) == 1:
            place = f"in epoch {self._epoch + 1}, step {self._last + 1}"
        else:
            first, last = self._first + 1, self._last + 1
            place = f"in epoch {self._epoch + 1}, steps {first} to {last}"
        raise NonFiniteError(f"{what} {place}: {cause}; {advice}.")

    def _cause(self, steps: range) -> tuple[str, str]:
        """Return the first cause and advice."""
        milder = "lower the learning rate or clip gradients with clip_norm"
        if self.batch_at is None or self._good is None or self._last < 0:
            return (
                "the cause is unknown without the batch",
                f"look for such values in the data, {milder}",
            )
        # An error here must not hide the failure of training.
        with contextlib.suppress(Exception):
            batches = [self.batch_at(self._epoch, step) for step in steps]
            for batch in batches:
                found = bad_data(self.model, batch)
                if found:
                    return found, "correct or mask the data"
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
