"""Contraction of an encoder: the squared norm of its Jacobian as a loss term."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from symae_keras.arguments import not_negative
from symae_keras.layers.loss_term import LossTerm, blank_absent, mean_of_present
from symae_keras.layers.seed import SeedGenerator
from symae_keras.typing import Shape, Tensor

# Spacing of the numbers just above 1.
_PRECISION = {
    "float16": 2.0**-10,
    "bfloat16": 2.0**-7,
    "float32": 2.0**-23,
    "float64": 2.0**-52,
}


@keras.saving.register_keras_serializable(package="symae_keras")
class JacobianPenalty(LossTerm):
    """Adds the squared Frobenius norm of a function's Jacobian to the loss.

    For a function `f`, usually an encoder, the loss is `weight` times the mean over the
    batch of `|df/dx|^2`, the sum of squares of all entries of the Jacobian. Directions
    `v` with random signs have `E[v v^T] = 1`, so that

        E |(f(x + h v) - f(x - h v)) / (2 h)|^2  =  |df/dx|^2 + O(h^2),

    which takes two more calls of `f` for each direction. The step `h` is the cube root
    of the precision that the layer computes in, which balances the error `O(h^2)` with
    rounding for inputs of about unit scale; other inputs are to be scaled before.

    Args:
        weight: Weight of the loss, not negative. Defaults to 1e-3.
        n_directions: How many random directions are drawn for each instance, or `None`
            for all unit vectors, which leaves no randomness but takes memory for two
            copies of an instance for each of its numbers. Defaults to 1.
        seed: Integer seed of the directions, or `None`.

    Call arguments:
        inputs: Tensor `(batch, ...)`.
        function: Callable from a tensor like the inputs, with a batch of any length, to
            a tensor `(batch, ...)`; its value for an instance must be the same in
            every call. Call the layer with `training=False`, and after all others,
            where it holds layers such as dropout.
        instance_mask: Boolean tensor `(batch,)`, True = present, or `None`. Absent
            instances count in no loss.

    Output shape:
        Same as the input, which is handed on.

    Reference:
        - [Rifai et al., Contractive auto-encoders,
          2011](https://icml.cc/2011/papers/455_icmlpaper.pdf)
        - [Hutchinson, 1990](https://doi.org/10.1080/03610919008812866), for the
          estimate of a trace from random signs

    Example:
    >>> from keras import ops
    >>> layer = JacobianPenalty(weight=1.0, n_directions=None)
    >>> x = layer(ops.ones((4, 3)), function=lambda x: 2.0 * x)
    >>> round(float(layer.losses[0]), 2)  # three entries of 2 squared
    12.0
    """

    def __init__(
        self,
        weight: float = 1e-3,
        n_directions: int | None = 1,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__("contractive_loss", **kwargs)
        if n_directions is not None and (
            int(n_directions) != n_directions or n_directions < 1
        ):
            raise ValueError(
                "Invalid value received for argument `n_directions`. Expected a "
                f"positive integer or None. Received: n_directions={n_directions}"
            )
        self.weight = not_negative("weight", weight)
        self.n_directions = None if n_directions is None else int(n_directions)
        self.seed = seed
        self.seed_generator = SeedGenerator(seed)
        self.built = True

    def call(
        self,
        inputs: Tensor,
        function: Callable[[Tensor], Tensor],
        instance_mask: Tensor | None = None,
    ) -> Tensor:
        """Add the penalty; the inputs stay as they are."""
        step = math.cbrt(_PRECISION[self.compute_dtype])
        shift = step * self._directions(inputs)
        middle = blank_absent(inputs, instance_mask)
        points = ops.concatenate([middle + shift, middle - shift])
        values = function(ops.reshape(points, (-1, *inputs.shape[1:])))
        # (either side, direction, instance, number)
        split = (2, shift.shape[0], -1, math.prod(values.shape[1:]))
        values = ops.reshape(ops.cast(values, "float32"), split)
        slopes = (values[0] - values[1]) / (2.0 * step)
        norms = ops.sum(ops.square(slopes), axis=-1)
        of_each = None if instance_mask is None else ops.expand_dims(instance_mask, 0)
        squares = mean_of_present(norms, of_each, axis=-1)
        total = ops.sum if self.n_directions is None else ops.mean
        self.add_term(self.weight * total(squares))
        return inputs

    def _directions(self, inputs: Tensor) -> Tensor:
        """Directions `(n, batch or 1, ...)`."""
        shape = tuple(inputs.shape[1:])
        if self.n_directions is None:
            size = math.prod(shape)
            unit = ops.eye(size, dtype=inputs.dtype)
            return ops.reshape(unit, (size, 1, *shape))
        coins = keras.random.randint(
            (self.n_directions, *ops.shape(inputs)), 0, 2, seed=self.seed_generator
        )
        return 2 * ops.cast(coins, inputs.dtype) - 1

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Same as the input."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Arguments that rebuild the layer."""
        return {
            **super().get_config(),
            "weight": self.weight,
            "n_directions": self.n_directions,
            "seed": self.seed,
        }
