"""Where a batch, or what a model makes of it, is first not finite."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import keras
import numpy as np
from keras import ops

from symae_keras.layers.loss_term import LossTerm
from symae_keras.models.base import AutoencoderBase
from symae_keras.models.grouped_autoencoder import GroupedAutoencoder


def bad_data(model: Any, batch: tuple[Any, ...]) -> str | None:
    """Find the first value of a batch that is not finite and not masked.

    Args:
        model: The model, which tells what the axes are.
        batch: `(inputs, targets)` or `(inputs, targets, weights)`, NumPy arrays.

    Returns:
        What to say about it, or `None`.
    """
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
    """Find the first layer, in the order of calls, whose output is not finite.

    The model is applied to the batch as in training, which may change state in it such
    as moving averages.

    Args:
        model: A compiled model.
        batch: `(inputs, targets)` or `(inputs, targets, weights)`, finite arrays.

    Returns:
        What to say about it, or `None`.
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
