"""The sparse autoencoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from symae_keras._utils.arrays import Tensor
from symae_keras._utils.validation import choice, not_negative, number, positive
from symae_keras.layers.sparsity import KLSparsity, L1Sparsity, TopK
from symae_keras.models.instances import InstanceAutoencoder

_SPARSITIES = ("l1", "kl", "top_k")


@keras.saving.register_keras_serializable(package="symae_keras")
class SparseAutoencoder(InstanceAutoencoder):
    """Sparse autoencoder with a large code, of which few elements are active at a time.

    The features from the encoder become a sparse code in one of three ways:

    - `"l1"`: `relu(features)`; the sum of the code is added to the loss.
    - `"kl"`: `sigmoid(features)`; a divergence keeps the mean of each code element over
      the batch near `target_rate`.
    - `"top_k"`: the `n_active` largest features are kept and the others set to 0.

    With a linear decoder, `decoder=DenseDecoder(instance_shape, units=())`, an instance
    is a sum of a few atoms of a learned dictionary; `atoms` returns them. A smaller
    code with larger atoms has a smaller L1 loss but contains the same information. To
    prevent this for spectra, use the decoder
    `keras.layers.Dense(n_pixels, kernel_constraint=keras.constraints.UnitNorm(1))`,
    which keeps the length of the atoms at 1.

    Args:
        instance_shape: Shape of one instance, channels last.
        code_dim: Size of the code, which may be larger than the instance. Defaults to
            64.
        encoder: `"dense"` (default), `"conv1d"`, `"conv2d"`, or a `keras.Layer` or
            `keras.Model` from one instance to features, which are followed by a linear
            layer.
        decoder: A layer from a code to one instance. `None` (default) mirrors the
            encoder.
        sparsity: `"l1"` (default), `"kl"` or `"top_k"`.
        sparsity_weight: Weight of the loss of `"l1"` and `"kl"`, relative to a
            reconstruction loss that is usually a mean over pixels. Defaults to 1e-3.
        target_rate: Target mean of a code element with `"kl"`. Defaults to 0.05.
        n_active: Number of code elements that `"top_k"` keeps. Defaults to 8.
        normalization: A `Standardization`, or a `keras.layers.Normalization` with a
            known mean and variance. Defaults to `None`.
        seed: Integer or `None`. Not used: nothing in this model is random.

    Call arguments:
        inputs: Tensor `(batch, *instance_shape)`.

    Output shape:
        `(batch, *instance_shape)`.

    Reference:
        - [Olshausen & Field, Emergence of simple-cell receptive field properties by
          learning a sparse code for natural images,
          1996](https://doi.org/10.1038/381607a0)
        - [Ng, Sparse autoencoder, CS294A lecture
          notes](https://web.stanford.edu/class/cs294a/sparseAutoencoder.pdf)
        - [Makhzani & Frey, k-sparse autoencoders,
          2013](https://arxiv.org/abs/1312.5663)

    Example:
    >>> import numpy as np
    >>> x = np.random.default_rng(0).normal(size=(32, 64)).astype("float32")
    >>> model = SparseAutoencoder((64,), code_dim=100, sparsity="top_k", n_active=5)
    >>> model.compile(optimizer="adam", loss="mse")
    >>> history = model.fit(x, x, verbose=0)
    >>> int((np.asarray(model.encode(x)) != 0.0).sum(axis=1).max())
    5
    """

    _any_code = False

    def __init__(
        self,
        instance_shape: Sequence[int],
        code_dim: int = 64,
        encoder: str | keras.Layer = "dense",
        decoder: keras.Layer | None = None,
        sparsity: str = "l1",
        sparsity_weight: float = 1e-3,
        target_rate: float = 0.05,
        n_active: int = 8,
        normalization: keras.Layer | None = None,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            instance_shape, code_dim, encoder, decoder, normalization, seed, **kwargs
        )
        self.sparsity = choice("sparsity", sparsity, _SPARSITIES)
        self.sparsity_weight = not_negative("sparsity_weight", sparsity_weight)
        self.target_rate = number(
            "target_rate",
            target_rate,
            "0 < target_rate < 1",
            lambda rate: 0.0 < rate < 1.0,
        )
        self.n_active = positive("n_active", n_active)
        dtype = self.dtype_policy
        self.sparsity_penalty: keras.Layer | None = None
        if sparsity == "l1":
            self.sparsity_penalty = L1Sparsity(self.sparsity_weight, dtype=dtype)
            self.activation = keras.layers.ReLU(dtype=dtype)
        elif sparsity == "kl":
            self.sparsity_penalty = KLSparsity(
                self.sparsity_weight, self.target_rate, dtype=dtype
            )
            self.activation = keras.layers.Activation("sigmoid", dtype=dtype)
        else:
            self.activation = TopK(self.n_active, dtype=dtype)
        self._assemble()

    def _code(self, x: Tensor) -> Tensor:
        return self.activation(self._features(x))

    def _training_code(
        self, x: Tensor, training: bool | None = None, mask: Tensor | None = None
    ) -> Tensor:
        code = self._code(x)
        if self.sparsity_penalty is None:
            return code
        return self.sparsity_penalty(code, mask=mask)

    def atoms(self) -> Tensor:
        """Return the contribution of each code element to an instance, in data units.

        It is exact for a linear decoder; otherwise, it is the change from a zero code.

        Returns:
            Tensor `(code_dim, *instance_shape)`.
        """
        unit = ops.eye(self.code_dim)
        return self.decode(unit) - self.decode(ops.zeros_like(unit[:1]))
