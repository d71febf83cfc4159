"""The contractive autoencoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from symae_keras._utils.arrays import Tensor
from symae_keras._utils.validation import not_negative, positive_or_none
from symae_keras.layers.penalties import JacobianPenalty
from symae_keras.models.instances import InstanceAutoencoder


@keras.saving.register_keras_serializable(package="symae_keras")
class ContractiveAutoencoder(InstanceAutoencoder):
    """Contractive autoencoder, whose code changes little if the instance changes.

    The loss is that of the plain autoencoder plus

        penalty_weight * mean |d code / d x|^2,

    the squared Frobenius norm of the encoder's Jacobian at each (normalised) instance.
    It is estimated from differences of the code between points on either side of the
    instance, see `symae_keras.layers.JacobianPenalty`. Training therefore encodes
    `1 + 2 n_directions` times as many instances as the plain autoencoder. `evaluate`
    includes the penalty, so validation losses are comparable.

    A smaller code with a larger decoder has a smaller penalty and contains the same
    information. The paper prevents this by sharing the kernel of one dense layer:

        dense = keras.layers.Dense(n_hidden, activation="sigmoid")
        ContractiveAutoencoder((n_pixels,), code_dim=None, encoder=dense,
                               decoder=TiedDense(dense, (n_pixels,)))

    With deeper networks, use weight decay: `optimizer=keras.optimizers.AdamW()`.

    Args:
        instance_shape: Shape of one instance, channels last.
        code_dim: Size of the code, or `None` for the output of a custom encoder.
            Defaults to 8.
        encoder: `"dense"` (default), `"conv1d"`, `"conv2d"`, or a `keras.Layer` or
            `keras.Model` from one instance to features. The penalty uses it in
            inference mode, without dropout.
        decoder: A layer from a code to one instance. `None` (default) mirrors the
            encoder.
        penalty_weight: Weight of the penalty. Defaults to 1e-3.
        n_directions: Number of random directions that estimate the norm, per instance.
            `None` uses all unit vectors, for instances of a few dozen values. Defaults
            to 1.
        normalization: A `Standardization`, or a `keras.layers.Normalization` with a
            known mean and variance; needed if the data are far from unit scale.
            Defaults to `None`.
        seed: Integer seed of the directions, or `None`.

    Call arguments:
        inputs: Tensor `(batch, *instance_shape)`.

    Output shape:
        `(batch, *instance_shape)`.

    Reference:
        - [Rifai et al., Contractive auto-encoders,
          2011](https://icml.cc/2011/papers/455_icmlpaper.pdf)

    Example:
    >>> import numpy as np
    >>> x = np.random.default_rng(0).normal(size=(32, 64)).astype("float32")
    >>> model = ContractiveAutoencoder(instance_shape=(64,), code_dim=3, seed=0)
    >>> model.compile(optimizer="adam", loss="mse")
    >>> sorted(model.fit(x, x, verbose=0).history)
    ['contractive_loss', 'loss', 'reconstruction_loss']
    """

    def __init__(
        self,
        instance_shape: Sequence[int],
        code_dim: int | None = 8,
        encoder: str | keras.Layer = "dense",
        decoder: keras.Layer | None = None,
        penalty_weight: float = 1e-3,
        n_directions: int | None = 1,
        normalization: keras.Layer | None = None,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            instance_shape, code_dim, encoder, decoder, normalization, seed, **kwargs
        )
        self.penalty_weight = not_negative("penalty_weight", penalty_weight)
        self.n_directions = positive_or_none("n_directions", n_directions)
        self.jacobian_penalty = JacobianPenalty(
            self.penalty_weight, self.n_directions, seed, dtype=self.dtype_policy
        )
        self._assemble()

    def call(self, inputs: Any, training: bool | None = None) -> Tensor:
        outputs = super().call(inputs, training)
        # Last, because Keras passes `training=False` on to layers called later.
        x, mask = self._unpack(inputs)
        self.jacobian_penalty(
            self._normalize(self._checked(x, mask)),
            function=self._code,
            mask=self._present(mask),
            training=False,
        )
        return outputs
