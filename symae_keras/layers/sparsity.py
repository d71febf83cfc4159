"""Layers for sparse codes."""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import ops

from symae_keras._utils.arrays import Shape, Tensor
from symae_keras._utils.moved import renamed
from symae_keras._utils.validation import number, positive
from symae_keras.layers._random import KeepsShape
from symae_keras.layers.penalties import Penalty, blank_absent, mean_of_present

# Far below any useful rate, but its logarithm is still finite.
_TINY = 1e-12


@keras.saving.register_keras_serializable(package="symae_keras")
@renamed("__call__", instance_mask="mask")
class KLSparsity(Penalty):
    """KL divergence that keeps the mean activation rate of a code in [0, 1] low.

    `rate_j` is the mean of `code_j` over the batch and over any other axes before the
    last one. `target` is the target rate. The loss is

        weight * sum_j  target log(target / rate_j)
                        + (1 - target) log((1 - target) / (1 - rate_j)),

    in float32. The layer returns the code unchanged. Rates are computed per batch, so
    a batch should contain many instances: several times `1 / target`.

    Args:
        weight: Weight of the loss, not negative. Defaults to 1e-3.
        target_rate: Target rate, between 0 and 1. Defaults to 0.05.

    Call arguments:
        inputs: Tensor `(batch, ..., code)` of numbers in [0, 1], such as the output of
            a sigmoid.
        mask: Boolean tensor `(batch,)`, True = present, or `None`. Absent instances
            are excluded from the rates.

    Output shape:
        Same as the input.

    Reference:
        - [Ng, Sparse autoencoder, CS294A lecture
          notes](https://web.stanford.edu/class/cs294a/sparseAutoencoder.pdf)
        - [Lee, Ekanadham & Ng, Sparse deep belief net model for visual area V2,
          2008](https://papers.nips.cc/paper/2007/hash/4daa3db355ef2b0e64b472968cb70f0d-Abstract.html)

    Example:
    >>> from keras import ops
    >>> layer = KLSparsity(weight=1.0, target_rate=0.25)
    >>> code = layer(ops.full((4, 3), 0.25))
    >>> float(layer.losses[0])
    0.0
    """

    def __init__(
        self, weight: float = 1e-3, target_rate: float = 0.05, **kwargs: Any
    ) -> None:
        super().__init__("kl_sparsity_loss", weight, **kwargs)
        self.target_rate = number(
            "target_rate", target_rate, "0 < target_rate < 1", lambda x: 0.0 < x < 1.0
        )

    def call(self, inputs: Tensor, mask: Tensor | None = None) -> Tensor:
        code = blank_absent(ops.cast(inputs, "float32"), mask)
        axes = tuple(range(len(code.shape) - 1))
        rate = mean_of_present(code, mask, axis=axes)
        target = self.target_rate
        on = math.log(target) - ops.log(ops.maximum(rate, _TINY))
        off = math.log1p(-target) - ops.log(ops.maximum(1.0 - rate, _TINY))
        divergence = target * on + (1.0 - target) * off
        total = ops.sum(divergence)
        if mask is not None:
            # Without instances, the mean is 0; this rate must not be penalised.
            total = ops.where(ops.any(mask), total, 0.0)
        self.add_term(self.weight * total)
        return inputs

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "target_rate": self.target_rate}


@keras.saving.register_keras_serializable(package="symae_keras")
@renamed("__call__", instance_mask="mask")
class L1Sparsity(Penalty):
    """L1 penalty that adds the absolute values of a code to the loss.

    The loss is `weight * sum_j |code_j|`, averaged over the batch and over any other
    axes before the last one, in float32. The layer returns the code unchanged.

    Args:
        weight: Weight of the loss, not negative. Defaults to 1e-3.

    Call arguments:
        inputs: Tensor `(batch, ..., code)`.
        mask: Boolean tensor `(batch,)`, True = present, or `None`. Absent instances
            are excluded from the loss.

    Output shape:
        Same as the input.

    Reference:
        - [Olshausen & Field, Emergence of simple-cell receptive field properties by
          learning a sparse code for natural images,
          1996](https://doi.org/10.1038/381607a0)

    Example:
    >>> from keras import ops
    >>> layer = L1Sparsity(weight=0.5)
    >>> code = layer(ops.ones((4, 3)))
    >>> float(layer.losses[0])
    1.5
    """

    def __init__(self, weight: float = 1e-3, **kwargs: Any) -> None:
        super().__init__("l1_loss", weight, **kwargs)

    def call(self, inputs: Tensor, mask: Tensor | None = None) -> Tensor:
        code = blank_absent(ops.cast(inputs, "float32"), mask)
        size = ops.sum(ops.abs(code), axis=-1)
        self.add_term(self.weight * mean_of_present(size, mask))
        return inputs


@keras.saving.register_keras_serializable(package="symae_keras")
@renamed("__init__", n_active="num_active")
class TopK(KeepsShape):
    """Selection of the `num_active` largest values of each code; the others become 0.

    Exactly `num_active` values are kept, even if some values are equal. Only the kept
    values receive gradients.

    Args:
        num_active: Number of values to keep, at least 1.

    Call arguments:
        inputs: Tensor `(batch, ..., code)` with a code of at least `num_active` values.

    Output shape:
        Same as the input.

    Reference:
        - [Makhzani & Frey, k-sparse autoencoders,
          2013](https://arxiv.org/abs/1312.5663)

    Example:
    >>> from keras import ops
    >>> layer = TopK(num_active=2)
    >>> ops.convert_to_numpy(layer(ops.array([[3.0, -1.0, 5.0, 4.0]]))).tolist()
    [[0.0, 0.0, 5.0, 4.0]]
    """

    def __init__(self, num_active: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.num_active = positive("num_active", num_active)

    def build(self, input_shape: Shape) -> None:
        size = input_shape[-1]
        if size is None or size < self.num_active:
            raise ValueError(
                f"`TopK` expects codes of num_active={self.num_active} numbers or "
                f"more. Received: shape {tuple(input_shape)}"
            )

    def call(self, inputs: Tensor) -> Tensor:
        # Use ranks and not a threshold: in bfloat16, many values are equal.
        rank = ops.argsort(ops.argsort(-inputs, axis=-1), axis=-1)
        return ops.where(rank < self.num_active, inputs, ops.zeros_like(inputs))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "num_active": self.num_active}
