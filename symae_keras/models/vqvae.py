"""The vector-quantised autoencoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from symae_keras._utils.arrays import Tensor
from symae_keras._utils.validation import invalid, positive
from symae_keras.layers._stack import keras_layer
from symae_keras.layers.vector_quantizer import VectorQuantizer
from symae_keras.models.instances import InstanceAutoencoder


@keras.saving.register_keras_serializable(package="symae_keras")
class VQVAE(InstanceAutoencoder):
    """Vector-quantised autoencoder with a code of discrete symbols (VQ-VAE).

    The encoder outputs `n_latents` vectors of size `embedding_dim`. Each vector is
    replaced by the nearest of the `n_embeddings` vectors of a learned codebook, and
    only the replaced vectors reach the decoder. The code of an instance thus contains
    `n_latents * log2(n_embeddings)` bits.

    The history contains a `quantization_loss` and the `perplexity`, which measures how
    many vectors of the codebook a batch uses. If it stays near 1, the codebook has
    collapsed: scale the data to a variance near 1, or reduce the learning rate. The
    norms of the quantisation loss are sums over a vector, as in the paper, where this
    loss is added to a log likelihood; see `symae_keras.layers.VectorQuantizer`.

    Args:
        instance_shape: Shape of one instance, channels last.
        n_latents: Number of vectors in the code of an instance. Defaults to 8. `None`
            uses the output `(..., embedding_dim)` of a custom `encoder` unchanged, such
            as a map of vectors for an image, and requires a custom `decoder`.
        embedding_dim: Size of a vector. Defaults to 8.
        n_embeddings: Number of vectors in the codebook. Defaults to 128.
        commitment_weight: Weight of the part of the loss that keeps the outputs of the
            encoder near the codebook. Defaults to 0.25.
        encoder: `"dense"` (default), `"conv1d"`, `"conv2d"`, or a `keras.Layer` or
            `keras.Model` from one instance to features, which are followed by a linear
            layer to the vectors unless `n_latents` is `None`.
        decoder: A layer from the vectors of a code to one instance. Its input is one
            axis with all vectors, or the unchanged vectors if `n_latents` is `None`.
            `None` (default) mirrors the encoder.
        normalization: A `Standardization`, or a `keras.layers.Normalization` with a
            known mean and variance. Defaults to `None`.
        seed: Integer or `None`. Not used: nothing in this model is random.

    Call arguments:
        inputs: Tensor `(batch, *instance_shape)`.

    Output shape:
        `(batch, *instance_shape)`.

    Reference:
        - [van den Oord et al., Neural discrete representation learning,
          2017](https://arxiv.org/abs/1711.00937)

    Example:
    >>> import numpy as np
    >>> x = np.random.default_rng(0).normal(size=(32, 64)).astype("float32")
    >>> model = VQVAE(instance_shape=(64,), n_latents=4, embedding_dim=2)
    >>> model.compile(optimizer="adam", loss="mse")
    >>> sorted(model.fit(x, x, verbose=0).history)
    ['loss', 'perplexity', 'quantization_loss', 'reconstruction_loss']
    >>> tuple(model.encode(x).shape), tuple(model.indices(x).shape)
    ((32, 4, 2), (32, 4))
    """

    def __init__(
        self,
        instance_shape: Sequence[int],
        n_latents: int | None = 8,
        embedding_dim: int = 8,
        n_embeddings: int = 128,
        commitment_weight: float = 0.25,
        encoder: str | keras.Layer = "dense",
        decoder: keras.Layer | None = None,
        normalization: keras.Layer | None = None,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        if n_latents is None and isinstance(encoder, str):
            expected = "a positive integer, or None with a custom `encoder`"
            raise invalid("n_latents", expected, None)
        size = (
            None
            if n_latents is None
            else positive("n_latents", n_latents)
            * positive("embedding_dim", embedding_dim)
        )
        super().__init__(
            instance_shape, size, encoder, decoder, normalization, seed, **kwargs
        )
        self.n_latents = n_latents
        self.n_embeddings = positive("n_embeddings", n_embeddings)
        self.quantizer = VectorQuantizer(
            self.n_embeddings, embedding_dim, commitment_weight, dtype=self.dtype_policy
        )
        self.embedding_dim = self.quantizer.embedding_dim
        self.commitment_weight = self.quantizer.commitment_weight
        self._assemble()

    def _make_decoder(self, encoder: keras.Layer) -> keras.Layer:
        decoder = super()._make_decoder(encoder)
        if self.n_latents is None:
            return decoder
        # Decoders take a single axis of values.
        dtype = self.dtype_policy
        return keras.Sequential([keras_layer("Flatten", dtype=dtype), decoder])

    def _vectors(self, x: Tensor) -> Tensor:
        """Return vectors of normalised instances before quantisation."""
        x = self._features(x)
        if self.n_latents is None:
            return x
        return ops.reshape(x, (-1, self.n_latents, self.embedding_dim))

    def _code(self, x: Tensor) -> Tensor:
        return self.quantizer.vectors(self.quantizer.indices(self._vectors(x)))

    def _training_code(
        self, x: Tensor, training: bool | None = None, mask: Tensor | None = None
    ) -> Tensor:
        return self.quantizer(self._vectors(x), mask=mask)

    def indices(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Encode instances to symbols.

        Args:
            x: `(batch, *instance_shape)`, or `GroupedData`, see `encode`.
            mask: See `encode`.

        Returns:
            Integer tensor `(batch, n_latents)`: the codebook indices of the vectors
            that `encode` returns. `model.quantizer.vectors(indices)` converts them to
            codes for `decode`.
        """
        return self.quantizer.indices(self._vectors(self._inputs(x, mask)))
