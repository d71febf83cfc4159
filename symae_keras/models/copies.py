"""Copies of encoders, for models and comparisons that use one more than once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras


def copy_of(
    encoder: keras.Layer, instance_shape: Sequence[int] | None = None
) -> keras.Layer:
    """Copy an encoder with its architecture, weights, and what is frozen of them.

    An encoder without weights yet has none to copy, and its copy gets weights of its
    own. Only if it is frozen, which would keep them random, it is built first.

    Args:
        encoder: A layer or model from one instance to features.
        instance_shape: Shape of one instance, on which a frozen encoder is built.
            `None` leaves it as it is.

    Raises:
        ValueError: The copy is not the same network.
    """
    frozen = not all(each.trainable for each in encoder._flatten_layers())
    if frozen and instance_shape is not None and not encoder.built:
        encoder(keras.KerasTensor((None, *instance_shape)))
    try:
        copy = type(encoder).from_config(encoder.get_config())
        if encoder.built and encoder.weights:
            _copy_weights(encoder, copy)
        layers = zip(encoder._flatten_layers(), copy._flatten_layers(), strict=True)
        variables = zip(encoder.variables, copy.variables, strict=True)
        # Parents come first: what they set for their children is set again.
        for original, copied in (*layers, *variables):
            if copied.trainable != original.trainable:
                copied.trainable = original.trainable
    # What a class of the user raises may be anything.
    except Exception as error:
        reason = " ".join(str(error).split("\n\n")[0].split())
        raise ValueError(
            f"`encoder` is used more than once, and {encoder!r} cannot be copied: "
            "`get_config` and `from_config` of its class must rebuild the same network "
            "(a keras.Sequential or functional model of layers without lambdas has "
            f"both). {type(error).__name__}: {reason}"
        ) from error
    return copy


def _copy_weights(encoder: keras.Layer, copy: Any) -> None:
    if not copy.built:
        copy.build_from_config(encoder.get_build_config())
    shapes, copied = ([tuple(v.shape) for v in e.weights] for e in (encoder, copy))
    if shapes != copied:
        raise ValueError(
            f"its weights have the shapes {shapes}, those of the copy {copied}"
        )
    copy.set_weights(encoder.get_weights())
