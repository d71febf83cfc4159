"""Maximum mean discrepancy between codes and a normal distribution."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from symae_keras.arguments import not_negative
from symae_keras.layers.loss_term import (
    LossTerm,
    blank_absent,
    mean_of_present,
    over_axes,
)
from symae_keras.layers.seed import SeedGenerator
from symae_keras.typing import Shape, Tensor


@keras.saving.register_keras_serializable(package="symae_keras")
class MMDPenalty(LossTerm):
    """Adds the maximum mean discrepancy between codes and draws from N(0, 1) as a loss.

    With as many draws `p` as codes `z`, all in one batch,

        MMD = mean k(z_i, z_j) + mean k(p_i, p_j) - 2 mean k(z_i, p_j),

    with the inverse multiquadratic kernel, summed over some scales,

        k(a, b) = sum_s C_s / (C_s + ||a - b||^2),   C_s = 2 * dim * s.

    The means are over all pairs of a batch of `n`. The estimate of the paper leaves
    out `i = j` in the first two and so differs from this one by the constant
    `k(a, a) = len(scales)` on that diagonal, which adds `2 * len(scales) / n`, and by a
    factor `(n - 1) / n` on the rest of the two. Without bias, it is negative half of
    the time where codes are normal. This one is a squared distance between the two
    samples: never negative (but for rounding), 0 where they coincide, unchanged where
    each occurs twice, and defined for a single code.

    The codes are handed on as they are. The draws are made outside of training too.
    Each replica compares its own part of the batch. Everything is computed in float32.

    Args:
        weight: Weight of the discrepancy, finite and not negative. Defaults to 1.
        scales: The values of `s`, positive. Defaults to
            `(0.1, 0.2, 0.5, 1, 2, 5, 10)`.
        seed: Integer seed of the draws, or `None`.
        term_name: Name of the loss in the history. Defaults to `"mmd_loss"`.

    Call arguments:
        inputs: Tensor `(batch, ..., code)`.
        instance_mask: Boolean tensor `(batch,)`, True = present, or `None`. Absent
            instances do not count, nor do as many draws.

    Output shape:
        Same as the input.

    Reference:
        - [Tolstikhin et al., Wasserstein auto-encoders,
          2018](https://arxiv.org/abs/1711.01558)
        - [Gretton et al., A kernel two-sample test,
          2012](https://jmlr.org/papers/v13/gretton12a.html)

    Example:
    >>> import keras
    >>> z = keras.random.normal((200, 2), seed=0)
    >>> layer = MMDPenalty(seed=1)
    >>> for codes in (z, z + 2.0):
    ...     codes = layer(codes)
    ...     print(float(layer.losses[0]) < 0.1)
    True
    False
    """

    def __init__(
        self,
        weight: float = 1.0,
        scales: Sequence[float] = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0),
        seed: int | None = None,
        term_name: str = "mmd_loss",
        **kwargs: Any,
    ) -> None:
        super().__init__(term_name, **kwargs)
        if not scales or not all(0.0 < s < float("inf") for s in scales):
            raise ValueError(
                "Invalid value received for argument `scales`. Expected at least one "
                f"number, all positive and finite. Received: scales={scales}"
            )
        self.weight = not_negative("weight", weight)
        self.scales = tuple(float(s) for s in scales)
        self.seed = seed
        self.seed_generator = SeedGenerator(seed)
        self.built = True

    def call(self, inputs: Tensor, instance_mask: Tensor | None = None) -> Tensor:
        """Hand on the codes; add the loss."""
        codes = ops.cast(ops.reshape(inputs, (-1, inputs.shape[-1])), "float32")
        pairs = None
        if instance_mask is not None:
            present = over_axes(instance_mask, inputs)
            present = ops.broadcast_to(present, (*ops.shape(inputs)[:-1], 1))
            present = ops.reshape(present, (-1,))
            codes = blank_absent(codes, present)
            pairs = ops.logical_and(present[:, None], present)
        draws = keras.random.normal(
            ops.shape(codes), dtype="float32", seed=self.seed_generator
        )
        within = self._mean_kernel(codes, codes, pairs)
        within = within + self._mean_kernel(draws, draws, pairs)
        discrepancy = within - 2.0 * self._mean_kernel(codes, draws, pairs)
        self.add_term(self.weight * discrepancy)
        return inputs

    def _mean_kernel(self, a: Tensor, b: Tensor, pairs: Tensor | None) -> Tensor:
        """Mean of the kernel over pairs of rows of two matrices, all unless masked."""
        squares = ops.sum(ops.square(a), axis=-1)[:, None]
        squares = squares + ops.sum(ops.square(b), axis=-1)
        # Rounding makes some of them negative.
        squares = ops.maximum(squares - 2.0 * ops.matmul(a, ops.transpose(b)), 0.0)
        constants = (2.0 * a.shape[-1] * s for s in self.scales)
        return mean_of_present(sum(c / (c + squares) for c in constants), pairs)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Same as the codes."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Arguments that rebuild the layer."""
        return {
            **super().get_config(),
            "weight": self.weight,
            "scales": self.scales,
            "seed": self.seed,
            "term_name": self.term_name,
        }
