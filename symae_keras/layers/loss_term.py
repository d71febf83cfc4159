"""A layer whose `call` adds a named loss, so that models can log it by itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

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
        self.add_loss(value)
        self._logged = (value, *measured)

    def take_logged(self) -> dict[str, Tensor]:
        """The values of the last call by name, once; empty without a call since.

        They are handed over once because they may be tracers, which must not outlive
        the training step that they belong to.
        """
        values, self._logged = self._logged, ()
        return dict(zip(self.logged_names, values, strict=True)) if values else {}
