"""The linear autoencoder."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from symae_keras._utils.validation import boolean
from symae_keras.layers.decoders import DenseDecoder, TiedDense
from symae_keras.layers.encoders import DenseEncoder
from symae_keras.models.instances import InstanceAutoencoder


@keras.saving.register_keras_serializable(package="symae_keras")
class LinearAutoencoder(InstanceAutoencoder):
    """Linear autoencoder: principal component analysis by gradient descent.

    With `code = W x + c` and the reconstruction `D code + b` of a flattened instance, a
    mean squared error has no local minima. At its minimum, `D` spans the first
    `code_dim` principal components, and the biases contain the mean. The elements of
    the code are linear mixtures of the principal components, not the components
    themselves.

    Data far from zero train slowly, because the biases have to reach the mean first.
    Use a normalisation for such data, with one variance for all pixels, which does not
    change principal components. For spectra:

        keras.layers.Normalization(
            mean=x.mean(axis=0), variance=np.full(x.shape[1], x.var()))

    Args:
        instance_shape: Shape of one instance, channels last.
        code_dim: Size of the code. Defaults to 8.
        tied: Whether `D` is the transpose of `W`. Defaults to `True`.
        normalization: A `Standardization`, or a `keras.layers.Normalization` with a
            known mean and variance. With `tied`, if variances differ between pixels,
            the result is neither the components of the data nor those of the normalised
            data. Defaults to `None`.
        seed: Integer or `None`. Not used: nothing in this model is random.

    Call arguments:
        inputs: Tensor `(batch, *instance_shape)`.

    Output shape:
        `(batch, *instance_shape)`.

    Reference:
        - [Bourlard & Kamp, Auto-association by multilayer perceptrons and singular
          value decomposition, 1988](https://doi.org/10.1007/BF00332918)
        - [Baldi & Hornik, Neural networks and principal component analysis,
          1989](https://doi.org/10.1016/0893-6080(89)90014-2)

    Example:
    >>> import numpy as np
    >>> x = np.random.default_rng(0).normal(size=(32, 64)).astype("float32")
    >>> model = LinearAutoencoder(instance_shape=(64,), code_dim=3)
    >>> model.compile(optimizer="adam", loss="mse")
    >>> history = model.fit(x, x, verbose=0)
    >>> model.components().shape
    (3, 64)
    """

    def __init__(
        self,
        instance_shape: Sequence[int],
        code_dim: int = 8,
        tied: bool = True,
        normalization: keras.Layer | None = None,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            instance_shape, code_dim, normalization=normalization, seed=seed, **kwargs
        )
        self.tied = boolean("tied", tied)
        self._assemble()

    def _make_encoder(self, output_dim: int) -> keras.Layer:
        return DenseEncoder(output_dim, units=(), dtype=self.dtype_policy)

    def _make_decoder(self, encoder: keras.Layer) -> keras.Layer:
        shape, dtype = self.instance_shape, self.dtype_policy
        if self.tied:
            return TiedDense(encoder.chain[-1], shape, dtype=dtype)
        return DenseDecoder(shape, units=(), dtype=dtype)

    def components(self) -> np.ndarray[Any, Any]:
        """Return an orthonormal basis of the decoder's range, in data units.

        Returns:
            Array `(code_dim, *instance_shape)`. The order of its rows has no meaning.
            For ordered principal components, apply a principal component analysis to
            `reconstruct(x)`.
        """
        if self.tied:
            matrix = ops.transpose(self.instance_encoder.chain[-1].kernel.value)
        else:
            matrix = self.instance_decoder.chain[-2].kernel.value
        matrix = ops.reshape(matrix, (-1, *self.instance_shape))
        if self.normalization is not None:
            matrix = ops.cast(matrix, self._data_dtype) * self._mean_and_scale()[1]
        rows = ops.convert_to_numpy(matrix).reshape(-1, math.prod(self.instance_shape))
        basis = np.linalg.svd(rows, full_matrices=False)[2]
        return np.asarray(basis.reshape(-1, *self.instance_shape))
