"""A guard against NaN and infinity in training."""

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
    """Describe the first value of a batch that is not finite and not masked, if any."""
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
    """What an index of a batch stands for."""
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

    The model is applied to the batch as in training, which may change state in it such
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
    """Report each call of a layer that gives what is not finite, inner ones first."""

    def watch(layer: keras.Layer) -> Callable[..., Any]:
        # Layers that need no building have no path.
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

    # Past Keras's own `__setattr__`, which looks for state to track.
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
        self.backup_every = positive("backup_every", backup_every)
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
