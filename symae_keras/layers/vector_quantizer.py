"""Vector quantisation with a learned codebook."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from symae_keras._utils.arrays import Tensor
from symae_keras._utils.moved import renamed
from symae_keras._utils.validation import not_negative, positive
from symae_keras.layers._random import KeepsShape
from symae_keras.layers.penalties import LossTerm, blank_absent, mean_of_present


@keras.saving.register_keras_serializable(package="symae_keras")
@renamed("__init__", n_embeddings="num_embeddings")
@renamed("__call__", instance_mask="mask")
class VectorQuantizer(LossTerm, KeepsShape):
    """Replacement of each vector by the nearest one of a learned codebook.

    A vector `z` along the last axis becomes `e`, the vector of the codebook with the
    smallest `||z - e||`. The gradient passes straight through, as if `e` were `z`.
    `sg` denotes a stopped gradient. The loss

        ||sg[z] - e||^2 + commitment_weight * ||z - sg[e]||^2

    pulls the codebook towards the vectors and keeps the vectors close to the codebook.
    As in the paper, the squared norm is a sum over the components of a vector, and the
    loss is the mean over all vectors. (Other implementations also take the mean over
    components, which multiplies the whole loss by `1 / embedding_dim`.)

    `"perplexity"` in the history is `exp(-sum_k p_k log p_k)`, where `p_k` is the share
    of vectors in a batch that became vector `k`. It measures how many vectors of the
    codebook are in use, between 1 and `num_embeddings`. Each replica counts its own
    part of the batch. Distances, loss and perplexity are computed in float32.

    Args:
        num_embeddings: Number of vectors in the codebook. Defaults to 128.
        embedding_dim: Size of a vector. Defaults to 8.
        commitment_weight: Weight of the second part of the loss, finite and not
            negative. Defaults to 0.25.
        term_name: Name of the loss in the history. Defaults to `"quantization_loss"`.

    Call arguments:
        inputs: Tensor `(batch, ..., embedding_dim)`.
        mask: Boolean tensor `(batch,)`, True = present, or `None`. Absent instances
            are excluded from the loss and the perplexity.

    Output shape:
        Same as the input.

    Reference:
        - [van den Oord et al., Neural discrete representation learning,
          2017](https://arxiv.org/abs/1711.00937)

    Example:
    >>> from keras import ops
    >>> layer = VectorQuantizer(num_embeddings=2, embedding_dim=2)
    >>> _ = layer.codebook.assign([[0.0, 0.0], [1.0, 1.0]])
    >>> z = ops.convert_to_tensor([[0.0, 0.5], [1.0, 0.5]])
    >>> ops.convert_to_numpy(layer(z)).tolist()
    [[0.0, 0.0], [1.0, 1.0]]
    >>> ops.convert_to_numpy(layer.indices(z)).tolist()
    [0, 1]
    >>> float(layer.losses[0])  # 0.25 + 0.25 * 0.25
    0.3125
    """

    def __init__(
        self,
        num_embeddings: int = 128,
        embedding_dim: int = 8,
        commitment_weight: float = 0.25,
        term_name: str = "quantization_loss",
        **kwargs: Any,
    ) -> None:
        super().__init__(term_name, measured=("perplexity",), **kwargs)
        self.num_embeddings = positive("num_embeddings", num_embeddings)
        self.embedding_dim = positive("embedding_dim", embedding_dim)
        self.commitment_weight = not_negative("commitment_weight", commitment_weight)
        # Start close together, so that the direction of a vector decides, and no
        # codebook vector is far from all inputs.
        limit = 1.0 / self.num_embeddings
        self.codebook = self.add_weight(
            name="codebook",
            shape=(self.num_embeddings, self.embedding_dim),
            initializer=keras.initializers.RandomUniform(-limit, limit),
            autocast=False,
        )
        self.built = True

    def indices(self, inputs: Tensor) -> Tensor:
        """Return the index of the nearest codebook vector; adds no loss.

        Args:
            inputs: Tensor `(..., embedding_dim)`.

        Returns:
            Integer tensor `(...)`.
        """
        if inputs.shape[-1] != self.embedding_dim:
            raise ValueError(
                f"Expected vectors of size embedding_dim={self.embedding_dim} on the "
                f"last axis. Received: shape {tuple(inputs.shape)}"
            )
        codebook = ops.cast(self.codebook, "float32")
        # ||z - e||^2 is smallest where z.e - ||e||^2 / 2 is largest, since ||z||^2 is
        # the same for every e.
        nearness = ops.matmul(ops.cast(inputs, "float32"), ops.transpose(codebook))
        nearness = nearness - 0.5 * ops.sum(ops.square(codebook), axis=-1)
        return ops.argmax(nearness, axis=-1)

    def vectors(self, indices: Tensor) -> Tensor:
        """Look up vectors of the codebook.

        Args:
            indices: Integer tensor `(...)`.

        Returns:
            Tensor `(..., embedding_dim)`.
        """
        vectors = ops.take(self.codebook, indices, axis=0)
        return ops.cast(vectors, self.compute_dtype)

    def call(self, inputs: Tensor, mask: Tensor | None = None) -> Tensor:
        indices = self.indices(inputs)
        z = ops.cast(inputs, "float32")
        e = ops.cast(ops.take(self.codebook, indices, axis=0), "float32")
        to_codebook = _mean_square(ops.stop_gradient(z) - e, mask)
        to_vectors = _mean_square(z - ops.stop_gradient(e), mask)
        self.add_term(
            to_codebook + self.commitment_weight * to_vectors,
            _perplexity(indices, self.num_embeddings, mask),
        )
        # z - sg[z] is exactly 0, so the result is exactly e in any precision.
        straight_through = ops.stop_gradient(e) + (z - ops.stop_gradient(z))
        return ops.cast(straight_through, self.compute_dtype)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "num_embeddings": self.num_embeddings,
            "embedding_dim": self.embedding_dim,
            "commitment_weight": self.commitment_weight,
            "term_name": self.term_name,
        }


def _mean_square(difference: Tensor, mask: Tensor | None) -> Tensor:
    """Compute the mean over vectors of their squared norms."""
    difference = blank_absent(difference, mask)
    return mean_of_present(ops.sum(ops.square(difference), axis=-1), mask)


def _perplexity(indices: Tensor, num_embeddings: int, mask: Tensor | None) -> Tensor:
    """Compute the exponential of the entropy of the indices."""
    chosen = ops.one_hot(indices, num_embeddings, dtype="float32")
    axes = tuple(range(len(chosen.shape) - 1))
    share = mean_of_present(chosen, mask, axis=axes)
    # 0 log 0 = 0.
    return ops.exp(-ops.sum(share * ops.log(ops.maximum(share, 1e-30))))
