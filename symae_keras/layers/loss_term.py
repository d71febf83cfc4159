"""A layer whose `call` adds a named loss, so that models can log it by itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from symae_keras.typing import Tensor


class LossTerm(keras.Layer):
    """Base of the layers that add a loss: divergences, penalties, adversaries.

    `add_loss` alone gives a loss without a name. A subclass calls `add_term` in its
    `call`; models of this package log the value under `term_name`, beside the
    reconstruction loss, so that the terms in the history add up to the loss.

    What a layer measures on the way, and what is no part of the loss, is logged too.
    The layer only hands the values over, and the model averages them in its
    `compute_loss`: on JAX a metric cannot be updated in `call`.

    Args:
        term_name: Name in the history, which ends in `_loss`.
        measured: Names in the history of the values that are only measured.
            Defaults to `()`.
    """

    def __init__(
        self, term_name: str, measured: Sequence[str] = (), **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.term_name = term_name
        self.logged_names = (term_name, *measured)
        # A tuple: Keras wraps dictionaries, and keeps track of each one that it wraps.
        self._logged: tuple[Tensor, ...] = ()

    def add_term(self, value: Tensor, *measured: Tensor) -> None:
        """Add a scalar, weighted as it is to count, to the loss of the model.

        Args:
            value: The loss.
            measured: Scalars, in the order of their names.
        """
        # Keras adds up losses in this dtype, that of its own losses.
        self.add_loss(ops.cast(value, keras.config.floatx()))
        self._logged = (value, *measured)

    def take_logged(self) -> dict[str, Tensor]:
        """The values of the last call by name, once; empty without a call since.

        They are handed over once because they may be tracers, which must not outlive
        the training step that they belong to.
        """
        values, self._logged = self._logged, ()
        return dict(zip(self.logged_names, values, strict=True)) if values else {}


def over_axes(instance_mask: Tensor, values: Tensor) -> Tensor:
    """The mask with axes of length 1 for those of the values that it does not have."""
    mask = ops.cast(instance_mask, "bool")
    rest = (1,) * (len(values.shape) - len(mask.shape))
    return ops.reshape(mask, (*ops.shape(mask), *rest))


def blank_absent(values: Tensor, instance_mask: Tensor | None) -> Tensor:
    """Put 0 where an instance is absent.

    What is there may be anything, NaN included, which no weight of 0 would stop, and
    gets no gradient.

    Args:
        values: Tensor whose leading axes are those of the mask.
        instance_mask: Boolean tensor, True = present, or `None` if all are.
    """
    if instance_mask is None:
        return values
    return ops.where(over_axes(instance_mask, values), values, 0.0)


def mean_of_present(
    values: Tensor, instance_mask: Tensor | None, axis: Any = None
) -> Tensor:
    """Mean over present instances, 0 where there are none.

    Args:
        values: Finite tensor in float32 whose leading axes are those of the mask.
        instance_mask: Boolean tensor, True = present, or `None` if all are.
        axis: Axes to reduce, which must be all that the mask tells apart. Defaults to
            all axes.
    """
    if instance_mask is None:
        return ops.mean(values, axis=axis)
    weights = ops.cast(over_axes(instance_mask, values), "float32")
    # The share of those present, which is exactly 1 where all are, is no less than one
    # over their number.
    share = ops.maximum(ops.mean(weights), 1e-12)
    return ops.mean(values * weights, axis=axis) / share
