"""The plain autoencoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from symae_keras._utils.arrays import Tensor
from symae_keras._utils.validation import invalid
from symae_keras.layers.penalties import WeightPenalty
from symae_keras.models.instances import InstanceAutoencoder


@keras.saving.register_keras_serializable(package="symae_keras")
class Autoencoder(InstanceAutoencoder):
    """Plain autoencoder, which compresses an instance to a code and reconstructs it.

    With an encoder `f` and a decoder `D`, `code = f(x)` and the reconstruction is
    `D(code)`. The encoder sets the depth: `DenseEncoder(code_dim, units=())` makes a
    shallow autoencoder. If the code is smaller than the instance, the autoencoder is
    undercomplete. An overcomplete one needs weight decay or another model of this
    package.

    Args:
        instance_shape: Shape of one instance, channels last: `(pixels,)`,
            `(pixels, channels)`, `(height, width, channels)`.
        code_dim: Size of the code. Defaults to 8. `None` uses the output of a custom
            `encoder` as the code, with any shape.
        encoder: `"dense"` (default), `"conv1d"`, `"conv2d"`, or a `keras.Layer` or
            `keras.Model` from one instance to features, which are followed by a linear
            layer to the code unless `code_dim` is `None`.
        decoder: A layer from a code to one instance. `None` (default) mirrors the
            encoder, or uses a `DenseDecoder` if the encoder has no `mirror` method.
        weight_decay: A `keras.regularizers.Regularizer` such as
            `keras.regularizers.L1L2(l1=1e-6, l2=1e-5)`, applied to every kernel of
            encoder and decoder, but not to biases. Defaults to `None`.
        normalization: A `Standardization`, or a `keras.layers.Normalization` with a
            known mean and variance. It is applied to the input and undone after the
            decoder, so that outputs are in data units. Defaults to `None`.
        seed: Integer or `None`. Not used: nothing in this model is random.

    Call arguments:
        inputs: Tensor `(batch, *instance_shape)`.

    Output shape:
        `(batch, *instance_shape)`.

    Reference:
        - [Hinton & Salakhutdinov, Reducing the dimensionality of data with neural
          networks, 2006](https://doi.org/10.1126/science.1127647)

    Example:
    >>> import numpy as np
    >>> x = np.random.default_rng(0).normal(size=(32, 64)).astype("float32")
    >>> model = Autoencoder(instance_shape=(64,), code_dim=3)
    >>> model.compile(optimizer="adam", loss="mse")
    >>> history = model.fit(x, x, verbose=0)
    >>> tuple(model.encode(x).shape), tuple(model.reconstruct(x).shape)
    ((32, 3), (32, 64))
    """

    def __init__(
        self,
        instance_shape: Sequence[int],
        code_dim: int | None = 8,
        encoder: str | keras.Layer = "dense",
        decoder: keras.Layer | None = None,
        weight_decay: keras.regularizers.Regularizer | None = None,
        normalization: keras.Layer | None = None,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            instance_shape, code_dim, encoder, decoder, normalization, seed, **kwargs
        )
        try:
            self.weight_decay = keras.regularizers.get(weight_decay)
        except ValueError:
            expected = "a keras.regularizers.Regularizer or None"
            raise invalid("weight_decay", expected, repr(weight_decay)) from None
        self.weight_penalty = None
        if self.weight_decay is not None:
            self.weight_penalty = WeightPenalty(
                self.weight_decay, dtype=self.dtype_policy
            )
        self._assemble()

    def call(self, inputs: Tensor, training: bool | None = None) -> Tensor:
        outputs = super().call(inputs, training)
        if self.weight_penalty is not None:
            self.weight_penalty(
                [v.value for v in self.trainable_variables if len(v.shape) > 1]
            )
        return outputs
