"""What encoders and decoders share: chains of layers, and one step of a conv stack."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import keras

from symae_keras.typing import Shape, Tensor


def keras_layer(
    name: str, *arguments: Any, rank: int = 1, dtype: Any = None, **options: Any
) -> keras.Layer:
    """Make a layer of Keras that takes channels last, whatever the global setting is.

    Args:
        name: Name of the class, with braces for the rank: `"Conv{}D"`.
        *arguments: Arguments of the class.
        rank: How many axes of pixels there are.
        dtype: Dtype policy.
        **options: More arguments of the class.
    """
    cls = getattr(keras.layers, name.format(rank))
    if "data_format" in inspect.signature(cls).parameters:
        options["data_format"] = "channels_last"
    return cls(*arguments, dtype=dtype, **options)


def build_chain(chain: Sequence[keras.Layer], shape: Shape) -> Shape:
    """Build layers one on the output of the other and return the last shape."""
    for layer in chain:
        if not layer.built:
            layer.build(shape)
        shape = layer.compute_output_shape(shape)
    return shape


def call_chain(chain: Sequence[keras.Layer], inputs: Tensor) -> Tensor:
    """Call layers one on the output of the other."""
    for layer in chain:
        inputs = layer(inputs)
    return inputs


def activation_config(activation: Any) -> Any:
    """Serialised form of an activation for `get_config`."""
    return keras.activations.serialize(activation)


def activation_layer(activation: Any, dtype: Any) -> keras.Layer:
    """An activation as a layer of its own.

    One that is a layer is copied, since its weights, if it has any, belong to one place
    in a network.
    """
    if not isinstance(activation, keras.Layer):
        return keras.layers.Activation(activation, dtype=dtype)
    config = activation.get_config()
    del config["name"]
    return type(activation).from_config({**config, "dtype": dtype})


def normalization_layer(kind: str | None, filters: int, dtype: Any) -> keras.Layer:
    """Normalisation after a convolution; per instance, never over the batch.

    Args:
        kind: `"layer"` (over the channels of each pixel), `"group"` (eight channels a
            group, over all pixels) or `None`.
        filters: Number of channels.
        dtype: Dtype policy of the layer.

    Raises:
        ValueError: `kind` is none of these.
    """
    if kind is None:
        return keras.layers.Identity(dtype=dtype)
    if kind == "layer":
        return keras.layers.LayerNormalization(dtype=dtype)
    if kind == "group":
        groups = filters // 8 if filters % 8 == 0 else 1
        return keras.layers.GroupNormalization(groups, dtype=dtype)
    raise ValueError(
        "Invalid value received for argument `normalization`. "
        f"Expected 'layer', 'group' or None. Received: normalization={kind!r}"
    )


def strided(size: int, strides: Sequence[int]) -> list[int]:
    """Lengths of an axis before and after each convolution, all "same" padded.

    >>> strided(13, (2, 1, 3))
    [13, 7, 7, 3]
    """
    sizes = [size]
    for stride in strides:
        sizes.append(-(-sizes[-1] // stride))
    return sizes


def halved(size: int, times: int) -> list[int]:
    """Lengths of an axis before and after each convolution of stride 2, "same" padded.

    >>> halved(13, 3)
    [13, 7, 4, 2]
    """
    return strided(size, (2,) * times)
