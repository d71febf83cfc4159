"""Layers that pull codes towards a prior distribution."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from symae_keras._utils.arrays import Shape, Tensor
from symae_keras._utils.moved import renamed
from symae_keras._utils.validation import not_negative, positive_numbers, sizes
from symae_keras.layers._random import KeepsShape, SeedGenerator
from symae_keras.layers._stack import build_chain, call_chain
from symae_keras.layers.penalties import (
    LossTerm,
    Penalty,
    blank_absent,
    mean_of_present,
    over_axes,
)


@keras.saving.register_keras_serializable(package="symae_keras")
class GradientReversal(KeepsShape):
    """Identity whose gradient is multiplied by `-strength`.

    Layers after this one are trained to decrease the loss, and layers before it to
    increase the same loss. This is a minimax game in one backward pass; it works with
    any optimizer and with the usual `fit`.

    Args:
        strength: Factor of the reversed gradient, finite and not negative. 0 stops the
            gradient. Defaults to 1.

    Call arguments:
        inputs: Tensor of any shape.

    Output shape:
        Same as the input.

    Reference:
        - [Ganin & Lempitsky, Unsupervised domain adaptation by backpropagation,
          2015](https://arxiv.org/abs/1409.7495)

    Example:
    >>> from keras import ops
    >>> x = ops.convert_to_tensor([1.0, 2.0])
    >>> ops.convert_to_numpy(GradientReversal(strength=0.5)(x)).tolist()
    [1.0, 2.0]
    """

    def __init__(self, strength: float = 1.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.strength = not_negative("strength", strength)
        self.built = True

    def call(self, inputs: Tensor) -> Tensor:
        # The difference is exactly 0, so nothing is rounded, and its gradient is 1. The
        # shorter (1 + s) * sg[x] - s * x would lose precision in float16.
        value = ops.stop_gradient(inputs)
        return value - self.strength * (inputs - value)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "strength": self.strength}


@keras.saving.register_keras_serializable(package="symae_keras")
@renamed("__call__", instance_mask="mask")
class MMDPenalty(Penalty):
    """Maximum mean discrepancy between codes and N(0, 1), added to the loss.

    As many samples `p` are drawn as there are codes `z` in the batch. The loss is

        MMD = mean k(z_i, z_j) + mean k(p_i, p_j) - 2 mean k(z_i, p_j)

    with the inverse multiquadratic kernel, summed over some scales:

        k(a, b) = sum_s C_s / (C_s + ||a - b||^2),   C_s = 2 * dim * s.

    The means are over all pairs of a batch of `n`. The estimate of the paper omits
    `i = j` in the first two means. It differs from this one in two ways: by the
    constant `k(a, a) = len(scales)` on the diagonal, which adds `2 * len(scales) / n`,
    and by a factor `(n - 1) / n` on the rest of the two means. That estimate is
    unbiased, and negative half of the time when the codes are normal. The estimate
    here is a squared distance between the two samples. It is never negative (except
    for rounding errors), it is 0 if the samples coincide, it does not change if each
    value occurs twice, and it is defined for a single code.

    The layer returns the codes unchanged. It also draws samples outside of training.
    Each replica compares its own part of the batch. Everything is computed in float32.

    Args:
        weight: Weight of the discrepancy, finite and not negative. Defaults to 1.
        scales: The values of `s`, positive. Defaults to
            `(0.1, 0.2, 0.5, 1, 2, 5, 10)`.
        seed: Integer seed of the draws, or `None`.
        term_name: Name of the loss in the history. Defaults to `"mmd_loss"`.

    Call arguments:
        inputs: Tensor `(batch, ..., code)`.
        mask: Boolean tensor `(batch,)`, True = present, or `None`. Absent instances
            and the same number of samples are excluded.

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
        super().__init__(term_name, weight, **kwargs)
        self.scales = positive_numbers("scales", scales)
        self.seed = seed
        self.seed_generator = SeedGenerator(seed)

    def call(self, inputs: Tensor, mask: Tensor | None = None) -> Tensor:
        codes = ops.cast(ops.reshape(inputs, (-1, inputs.shape[-1])), "float32")
        pairs = None
        if mask is not None:
            present = over_axes(mask, inputs)
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
        """Compute the mean kernel over the (unmasked) pairs of rows of two matrices."""
        squares = ops.sum(ops.square(a), axis=-1)[:, None]
        squares = squares + ops.sum(ops.square(b), axis=-1)
        # Rounding makes some of them slightly negative.
        squares = ops.maximum(squares - 2.0 * ops.matmul(a, ops.transpose(b)), 0.0)
        constants = (2.0 * a.shape[-1] * s for s in self.scales)
        return mean_of_present(sum(c / (c + squares) for c in constants), pairs)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "scales": self.scales,
            "seed": self.seed,
            "term_name": self.term_name,
        }


@keras.saving.register_keras_serializable(package="symae_keras")
@renamed("__call__", instance_mask="mask")
class PriorAdversary(LossTerm, KeepsShape):
    """Discriminator between codes and N(0, 1), and adversarial training of the codes.

    As many samples `p` are drawn as there are codes `z`. With the discriminator's
    logit `d`, the loss is the binary cross-entropy

        (mean softplus(-d(p)) + mean softplus(d(z))) / 2.

    The discriminator minimises this loss. The encoder maximises it, because codes reach
    the discriminator through a `GradientReversal`. One value is logged: it is
    `log 2 = 0.693` if the discriminator cannot distinguish codes from samples, and
    falls to 0 as the discriminator improves.

    The gradient of `softplus(d(z))` vanishes where the discriminator is certain, so
    codes that it detects would never recover. As is usual for adversaries, the codes
    therefore get the gradient of `-softplus(-d(z))` instead. It has the same direction
    for each code, and it is larger if the discriminator is more certain. The encoder
    thus minimises `strength * mean softplus(-d(z))`.

    The layer returns the codes unchanged. It also draws samples outside of training.
    The losses are computed from the logits in float32.

    Args:
        units: Sizes of the hidden layers of the discriminator. Defaults to `(64, 64)`.
        strength: Factor of the gradient for the codes. It does not change how fast the
            discriminator learns. Defaults to 1.
        seed: Integer seed of the draws, or `None`.
        term_name: Name of the loss in the history. Defaults to `"adversary_loss"`.

    Call arguments:
        inputs: Tensor `(batch, ..., code)`.
        mask: Boolean tensor `(batch,)`, True = present, or `None`. Absent instances
            and the same number of samples are excluded.

    Output shape:
        Same as the input.

    Reference:
        - [Makhzani et al., Adversarial autoencoders,
          2015](https://arxiv.org/abs/1511.05644)
        - [Ganin & Lempitsky, Unsupervised domain adaptation by backpropagation,
          2015](https://arxiv.org/abs/1409.7495): the reversed gradient
        - [Goodfellow et al., Generative adversarial networks,
          2014](https://arxiv.org/abs/1406.2661), section 3: the gradient that does not
          vanish

    Example:
    >>> from keras import ops
    >>> layer = PriorAdversary(units=(), seed=0)
    >>> layer.build((None, 2))
    >>> _ = layer.discriminator[-1].kernel.assign([[0.0], [0.0]])
    >>> codes = layer(ops.ones((4, 2)))
    >>> round(float(layer.losses[0]), 4)
    0.6931
    """

    def __init__(
        self,
        units: Sequence[int] = (64, 64),
        strength: float = 1.0,
        seed: int | None = None,
        term_name: str = "adversary_loss",
        **kwargs: Any,
    ) -> None:
        super().__init__(term_name, **kwargs)
        dtype = self.dtype_policy
        self.units = sizes("units", units, "(64, 64)", or_empty=True)
        self.reversal = GradientReversal(strength, dtype=dtype)
        self.strength = self.reversal.strength
        self.seed = seed
        self.seed_generator = SeedGenerator(seed)
        dense = keras.layers.Dense
        hidden = (dense(n, activation="gelu", dtype=dtype) for n in self.units)
        self.discriminator = [*hidden, dense(1, dtype=dtype)]

    def build(self, input_shape: Shape) -> None:
        build_chain(self.discriminator, tuple(input_shape))

    def call(self, inputs: Tensor, mask: Tensor | None = None) -> Tensor:
        codes = blank_absent(inputs, mask)
        draws = keras.random.normal(
            ops.shape(inputs), dtype="float32", seed=self.seed_generator
        )
        of_draws = self._logits(ops.cast(draws, self.compute_dtype))
        of_codes = self._logits(ops.stop_gradient(codes))
        again = self._logits(self.reversal(codes))
        # Softplus, because the logarithm of a sigmoid that rounds to 0 is infinite.
        cross_entropy = ops.softplus(-of_draws) + ops.softplus(of_codes)
        # This term is 0, and so is its gradient for the discriminator. Only its
        # gradient for the codes remains.
        misled = ops.softplus(-of_codes) - ops.softplus(-again)
        self.add_term(mean_of_present(0.5 * cross_entropy + misled, mask))
        return inputs

    def _logits(self, codes: Tensor) -> Tensor:
        return ops.cast(call_chain(self.discriminator, codes), "float32")

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "units": self.units,
            "strength": self.strength,
            "seed": self.seed,
            "term_name": self.term_name,
        }
