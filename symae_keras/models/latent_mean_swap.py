"""Wrapper that uses an autoencoder of single instances for groups."""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import ops

from symae_keras._utils.arrays import Codes, Tensor
from symae_keras.layers.normalization import MedianNormalization
from symae_keras.layers.penalties import over_axes
from symae_keras.layers.per_instance import PerInstance
from symae_keras.layers.pooling import DeepSetsPooling
from symae_keras.models.groups import GroupedAutoencoder
from symae_keras.models.instances import InstanceAutoencoder, PixelwiseModel


@keras.saving.register_keras_serializable(package="symae_keras")
class LatentMeanSwap(GroupedAutoencoder):
    """Redatuming with an autoencoder of single instances.

    The autoencoder is trained on all instances, without their groups. The coherent code
    of a group is then the mean of its instances' codes, `C = mean_t z[t]`. The nuisance
    code is the remainder, `N[t] = z[t] - C`, and `D(C + N[t])` is the reconstruction.
    This is the linear mean swap in code space. Both codes have the size of the
    autoencoder's code.

    This model represents the autoencoders of single instances in comparisons with
    grouped models.

    Args:
        autoencoder: An autoencoder of single instances, such as
            `Autoencoder((256,), code_dim=16)` or `VAE((256,), code_dim=16)`.

    Call arguments:
        inputs: Tensor `(batch, instances, *instance_shape)`, or a dict with
            `"instances"` and `"mask"` (boolean `(batch, instances)`, True = present).
        training: Passed on to the autoencoder.

    Output shape:
        `(batch, instances, *instance_shape)`.

    Example:
    >>> import numpy as np
    >>> from symae_keras.models import VAE
    >>> x = np.random.default_rng(0).normal(size=(32, 4, 64)).astype("float32")
    >>> model = LatentMeanSwap(VAE((64,), code_dim=3, seed=0))
    >>> model.compile(optimizer="adam", loss="mse")
    >>> history = model.fit(x, x, verbose=0)
    >>> tuple(model.redatum(coherent_from=x[:5], nuisance_from=x[5:10]).shape)
    (5, 4, 64)
    """

    def __init__(self, autoencoder: InstanceAutoencoder, **kwargs: Any) -> None:
        if not isinstance(autoencoder, InstanceAutoencoder) or isinstance(
            autoencoder, PixelwiseModel
        ):
            raise ValueError(
                "Invalid value received for argument `autoencoder`. Expected a model "
                "of single instances such as `symae_keras.models.VAE`. Received: "
                f"{autoencoder!r}"
            )
        if isinstance(autoencoder.normalization, MedianNormalization):
            raise ValueError(
                "The codes of this autoencoder do not encode brightness, so swapping "
                "codes would lose it. Divide the groups by their medians first, and "
                "use an autoencoder with `normalization=None`."
            )
        size = math.prod(autoencoder.code_shape)
        super().__init__(autoencoder.instance_shape, size, size, **kwargs)
        self.autoencoder = autoencoder
        self.each = PerInstance(autoencoder, dtype=self.dtype_policy)
        self.pool = DeepSetsPooling("mean", dtype=self.dtype_policy)
        self.build((None, None, *self.instance_shape))

    def call(self, inputs: Any, training: bool | None = None) -> Tensor:
        x, mask = self._unpack(inputs)
        x, present = self._clean(x, mask)
        if present is None:
            return self.each(x, training=training)
        # Pass the mask on: the autoencoder excludes bad instances from its losses.
        good = ops.broadcast_to(over_axes(mask, x), ops.shape(x))
        rows = (-1, *self.instance_shape)
        flat = {"instances": ops.reshape(x, rows), "mask": ops.reshape(good, rows)}
        decoded = self.autoencoder(flat, training=training)
        decoded = ops.reshape(decoded, ops.shape(x))
        return self.carry_mask(decoded, mask=self.compute_mask(inputs, None))

    def _fill(self, x: Tensor, mask: Tensor) -> Tensor:
        """Fill bad pixels with the mean of the autoencoder, which scales its inputs."""
        return self.autoencoder._fill(x, mask)

    def _normalize(self, x: Tensor) -> Tensor:
        return x  # as above

    def _codes(self, x: Tensor, mask: Tensor | None) -> Codes:
        batch, instances, *shape = ops.shape(x)
        codes = self.autoencoder._encoded(ops.reshape(x, (-1, *shape)))
        codes = ops.reshape(codes, (batch, instances, self.coherent_dim))
        coherent = self.pool(codes, mask=mask)
        return Codes(coherent, codes - coherent[:, None])

    def decode(self, coherent: Tensor, nuisance: Tensor) -> Tensor:
        """Decode the sum of the two codes.

        Args:
            coherent: `(batch, coherent_dim)`.
            nuisance: `(batch, instances, nuisance_dim)`.

        Returns:
            Instances in data units, `(batch, instances, *instance_shape)`.
        """
        return super().decode(coherent, nuisance)

    def _decoded(self, coherent: Tensor, nuisance: Tensor) -> Tensor:
        coherent = ops.convert_to_tensor(coherent, dtype=self.compute_dtype)
        nuisance = ops.convert_to_tensor(nuisance, dtype=self.compute_dtype)
        codes = coherent[:, None] + nuisance
        batch, instances = ops.shape(codes)[:2]
        flat = ops.reshape(codes, (-1, *self.autoencoder.code_shape))
        decoded = self.autoencoder._decoded(flat)
        return ops.reshape(decoded, (batch, instances, *self.instance_shape))
